#![doc = include_str!("../README.md")]

mod active;
mod checkpoint;
mod config;
mod parse;
mod record;
mod siblings;
mod sink;
mod source;
mod tail;
mod window;
mod writer;

pub use config::{CheckpointAt, FileConfig, FollowConfig, Format, Fsync, Start};
pub use sink::FileSink;
pub use source::FileSource;

use haul_core::{AnySink, AnySource, Registry};

/// The schemes that this crate serves.
pub const SCHEMES: &[&str] = &["file"];

/// Makes `registry` deliver to [`SCHEMES`] and read from them.
pub fn register(registry: &mut Registry) {
    registry.sink(SCHEMES, |endpoint| async move {
        Ok(AnySink::new(FileSink::new(FileConfig::from_endpoint(&endpoint)?)?))
    });
    registry.source(SCHEMES, |endpoint| async move {
        let config = FollowConfig::from_endpoint(&endpoint)?;
        Ok(AnySource::new(FileSource::open(config).await?))
    });
}
