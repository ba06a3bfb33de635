#![doc = include_str!("../README.md")]

mod account;
mod failure;
pub mod raw;

pub use account::Account;
