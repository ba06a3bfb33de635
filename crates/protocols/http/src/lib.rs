#![doc = include_str!("../README.md")]

mod client;
mod config;
mod failure;
mod parse;
mod server;
mod sink;

pub use client::{Client, ClientConfig, Version};
pub use config::{BatchAs, HttpConfig, MetadataAs, Method};
pub use server::{Peer, Server, Upgrade, Upgraded, answer, serve, upgrade};
pub use sink::HttpSink;

use haul_core::{AnySink, Registry};

/// The schemes that this crate delivers to.
pub const SCHEMES: &[&str] = &["http", "https"];

/// Makes `registry` deliver to [`SCHEMES`].
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        Ok(AnySink::new(HttpSink::new(HttpConfig::from_endpoint(&endpoint)?)?))
    });
}
