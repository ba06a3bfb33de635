#![doc = include_str!("../README.md")]

mod dialer;
mod link;
mod listener;
mod options;
pub mod socket;

pub use dialer::Dialer;
pub use listener::listen;

use haul_core::{Registry, Task};

/// The schemes that this crate dials and listens on.
pub const SCHEMES: &[&str] = &["tcp", "unix"];

/// Adds dialer and listener to `registry`.
pub fn register(registry: &mut Registry) {
    registry.dialer(SCHEMES, Dialer).listener(SCHEMES, listen);
}

fn spawn(task: Task) {
    tokio::spawn(task);
}
