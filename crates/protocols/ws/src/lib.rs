#![doc = include_str!("../README.md")]

mod dialer;
mod frame;
mod handshake;
mod link;
mod listener;
mod options;
mod proxy;
mod tls;
mod upgrade;

pub use dialer::Dialer;
pub use listener::listen;
pub use upgrade::{Accepted, Upgrader};

use haul_core::{Registry, Task};

/// The schemes that this crate dials and listens on.
pub const SCHEMES: &[&str] = &["ws", "wss"];

/// Adds dialer and listener to `registry`.
pub fn register(registry: &mut Registry) {
    registry.dialer(SCHEMES, Dialer::default()).listener(SCHEMES, listen);
}

fn spawn(task: Task) {
    tokio::spawn(task);
}
