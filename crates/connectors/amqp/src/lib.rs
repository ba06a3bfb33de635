#![doc = include_str!("../README.md")]

mod broker;
mod config;
mod failure;
mod letter;
mod sink;
mod socket;
mod source;
mod window;

pub use config::{AmqpConfig, ConsumerConfig, DeliveryMode, ExchangeType, Server};
pub use sink::AmqpSink;
pub use source::AmqpSource;

use haul_core::{AnySink, AnySource, Registry};

/// The schemes that this crate serves.
pub const SCHEMES: &[&str] = &["amqp", "amqps"];

/// Makes `registry` deliver to [`SCHEMES`] and read from them.
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        Ok(AnySink::new(AmqpSink::new(AmqpConfig::from_endpoint(&endpoint)?)?))
    });
    registry.source(SCHEMES, |endpoint| async move {
        Ok(AnySource::new(AmqpSource::new(ConsumerConfig::from_endpoint(&endpoint)?)?))
    });
}
