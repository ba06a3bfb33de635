#![doc = include_str!("../README.md")]

pub mod forward;
mod record;
