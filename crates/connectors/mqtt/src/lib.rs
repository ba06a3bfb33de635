#![doc = include_str!("../README.md")]

mod broker;
mod config;
mod driver;
mod failure;
mod link;
mod message;
mod sink;
mod source;
mod wire;

pub use config::{MqttConfig, Qos, Server, SubscriptionConfig};
pub use sink::MqttSink;
pub use source::MqttSource;

use haul_core::{AnySink, AnySource, Registry};

/// The schemes that this crate serves.
pub const SCHEMES: &[&str] = &["mqtt", "mqtts"];

/// Makes `registry` deliver to [`SCHEMES`] and read from them.
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        Ok(AnySink::new(MqttSink::new(MqttConfig::from_endpoint(&endpoint)?)?))
    });
    registry.source(SCHEMES, |endpoint| async move {
        Ok(AnySource::new(MqttSource::new(SubscriptionConfig::from_endpoint(&endpoint)?)?))
    });
}
