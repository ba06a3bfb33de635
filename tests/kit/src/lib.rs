#![doc = include_str!("../README.md")]

mod expect;
mod over;
mod packets;
mod run;

pub mod connection;
pub mod dialer;
pub mod layer;
pub mod listener;
pub mod multiplex;
pub mod sink;
pub mod source;

pub use over::{Over, Pairs, Raw};
pub use packets::{polled, soon};
pub use run::Failure;

/// Starts a task on tokio: what suites and protocols pass to core.
pub fn spawn(task: haul_core::Task) {
    drop(tokio::spawn(task));
}
