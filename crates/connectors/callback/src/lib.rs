#![doc = include_str!("../README.md")]

mod sink;

pub use sink::{Answer, Callback};
