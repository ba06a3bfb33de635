#![doc = include_str!("../README.md")]

mod config;
mod failure;
mod row;
mod server;
mod sink;
mod source;
mod table;
mod tls;

pub use config::{Payload, PostgresConfig, QueueConfig, Server, SslMode};
pub use sink::PostgresSink;
pub use source::PostgresSource;

use haul_core::{AnySink, AnySource, Registry};

/// The schemes that this crate serves.
pub const SCHEMES: &[&str] = &["postgres", "postgresql"];

/// Makes `registry` deliver to [`SCHEMES`] and read from them.
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        Ok(AnySink::new(PostgresSink::new(PostgresConfig::from_endpoint(&endpoint)?)?))
    });
    registry.source(SCHEMES, |endpoint| async move {
        Ok(AnySource::new(PostgresSource::new(QueueConfig::from_endpoint(&endpoint)?)?))
    });
}
