#![doc = include_str!("../README.md")]

mod callsite;
mod config;
mod sink;

pub use config::{BinaryAs, LogConfig, Severity};
pub use sink::Log;

use haul_core::{AnySink, Registry};

/// The schemes that this crate serves.
pub const SCHEMES: &[&str] = &["log"];

/// Makes `registry` deliver to [`SCHEMES`].
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        let config = LogConfig::from_endpoint(&endpoint)?;
        Ok(AnySink::new(Log::new(config)?))
    });
}
