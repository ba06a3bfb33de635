#![doc = include_str!("../README.md")]

mod config;
mod sink;

pub use config::NullConfig;
pub use sink::Null;

use haul_core::{AnySink, Registry};

/// The schemes that this crate serves.
pub const SCHEMES: &[&str] = &["null"];

/// Makes `registry` deliver to [`SCHEMES`].
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        NullConfig::from_endpoint(&endpoint)?;
        Ok(AnySink::new(Null::new()))
    });
}
