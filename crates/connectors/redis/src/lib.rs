#![doc = include_str!("../README.md")]

mod config;
mod entry;
mod failure;
mod server;
mod sink;
mod source;

pub use config::{GroupConfig, RedisConfig, Server, Target};
pub use sink::RedisSink;
pub use source::RedisSource;

use haul_core::{AnySink, AnySource, Registry};

/// The schemes that this crate serves.
pub const SCHEMES: &[&str] = &["redis", "rediss"];

/// Makes `registry` deliver to [`SCHEMES`] and read from them.
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        Ok(AnySink::new(RedisSink::new(RedisConfig::from_endpoint(&endpoint)?)?))
    });
    registry.source(SCHEMES, |endpoint| async move {
        Ok(AnySource::new(RedisSource::new(GroupConfig::from_endpoint(&endpoint)?)?))
    });
}
