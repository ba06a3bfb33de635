#![doc = include_str!("../README.md")]

mod client;
mod config;
mod entry;
mod failure;
mod sink;
mod token;

pub use config::{Format, GcpLoggingConfig};
pub use sink::GcpLoggingSink;

use haul_core::{AnySink, Registry};

/// The schemes that this crate serves.
pub const SCHEMES: &[&str] = &["gcp-logging"];

/// Makes `registry` deliver to [`SCHEMES`].
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        Ok(AnySink::new(GcpLoggingSink::new(GcpLoggingConfig::from_endpoint(&endpoint)?)?))
    });
}
