#![doc = include_str!("../README.md")]

mod client;
mod config;
mod failure;
mod group;
mod record;
mod reports;
mod server;
mod sink;
mod source;
mod transaction;

pub use config::{Compression, GroupConfig, KafkaConfig, Start};
pub use server::{Sasl, Server};
pub use sink::KafkaSink;
pub use source::KafkaSource;

use haul_core::{AnySink, AnySource, Registry};

/// The schemes that this crate serves: `kafkas` with the feature `tls`.
pub const SCHEMES: &[&str] = if cfg!(feature = "tls") { &["kafka", "kafkas"] } else { &["kafka"] };

/// Makes `registry` deliver to [`SCHEMES`] and read from them.
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        Ok(AnySink::new(KafkaSink::new(KafkaConfig::from_endpoint(&endpoint)?)?))
    });
    registry.source(SCHEMES, |endpoint| async move {
        Ok(AnySource::new(KafkaSource::new(GroupConfig::from_endpoint(&endpoint)?)?))
    });
}
