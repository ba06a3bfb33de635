#![doc = include_str!("../README.md")]

mod gate;
mod script;
mod sink;

pub use sink::Mock;
