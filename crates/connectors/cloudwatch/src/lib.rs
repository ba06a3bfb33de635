#![doc = include_str!("../README.md")]

mod config;
mod event;
mod failure;
mod group;
mod sink;

pub use config::{CloudwatchConfig, Format};
pub use sink::CloudwatchSink;

pub use haul_aws::Account;

use haul_core::{AnySink, Registry};

/// The schemes that this crate serves.
pub const SCHEMES: &[&str] = &["cloudwatch"];

/// Makes `registry` deliver to [`SCHEMES`].
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        Ok(AnySink::new(CloudwatchSink::new(CloudwatchConfig::from_endpoint(&endpoint)?)?))
    });
}
