#![doc = include_str!("../README.md")]

mod config;
mod document;
mod failure;
mod insert;
mod server;
mod sink;

pub use config::{MongoConfig, Payload, Server};
pub use sink::MongoSink;

use haul_core::{AnySink, Registry};

/// The schemes that this crate serves.
pub const SCHEMES: &[&str] = &["mongodb"];

/// Makes `registry` deliver to [`SCHEMES`].
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        Ok(AnySink::new(MongoSink::new(MongoConfig::from_endpoint(&endpoint)?)?))
    });
}
