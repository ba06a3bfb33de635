#![doc = include_str!("../README.md")]

mod config;
mod failure;
mod message;
mod reader;
mod server;
mod sink;
mod source;
mod window;

pub use config::{ConsumerConfig, NatsConfig, Server, Start};
pub use sink::NatsSink;
pub use source::NatsSource;

use haul_core::{AnySink, AnySource, Registry};

/// The schemes that this crate serves.
pub const SCHEMES: &[&str] = &["nats", "nats+tls"];

/// Makes `registry` deliver to [`SCHEMES`] and read from them.
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        Ok(AnySink::new(NatsSink::new(NatsConfig::from_endpoint(&endpoint)?)?))
    });
    registry.source(SCHEMES, |endpoint| async move {
        Ok(AnySource::new(NatsSource::new(ConsumerConfig::from_endpoint(&endpoint)?)?))
    });
}
