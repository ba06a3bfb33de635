#![doc = include_str!("../README.md")]

mod dialer;
mod early;
mod link;
mod listener;
mod options;
pub mod raw;
pub mod socket;

pub use dialer::Dialer;
pub use listener::listen;

use haul_core::{Registry, Task};

/// The schemes that this crate dials and listens on.
pub const SCHEMES: &[&str] = &["quic"];

/// The protocol that both ends name in the TLS handshake (ALPN, RFC 7301).
pub const ALPN: &str = "haul/1";

/// Adds dialer and listener to `registry`.
pub fn register(registry: &mut Registry) {
    registry.dialer(SCHEMES, Dialer::default()).listener(SCHEMES, listen);
}

fn spawn(task: Task) {
    tokio::spawn(task);
}
