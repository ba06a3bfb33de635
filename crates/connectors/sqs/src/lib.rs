#![doc = include_str!("../README.md")]

mod config;
mod failure;
mod keep;
mod message;
mod queue;
mod settle;
mod sink;
mod source;

pub use config::{MetadataAs, QueueConfig, SqsConfig};
pub use sink::SqsSink;
pub use source::SqsSource;

pub use haul_aws::Account;

use haul_core::{AnySink, AnySource, Registry};

/// The schemes that this crate serves.
pub const SCHEMES: &[&str] = &["sqs"];

/// Makes `registry` deliver to [`SCHEMES`] and read from them.
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        Ok(AnySink::new(SqsSink::new(SqsConfig::from_endpoint(&endpoint)?)?))
    });
    registry.source(SCHEMES, |endpoint| async move {
        Ok(AnySource::new(SqsSource::new(QueueConfig::from_endpoint(&endpoint)?)?))
    });
}
