#![doc = include_str!("../README.md")]

mod answer;
mod catalog;
mod change;
mod cursor;
mod damage;
mod disk;
mod format;
mod inspect;
mod journal;
mod options;
mod pending;
mod queue;
mod reader;
mod recover;
mod retention;
mod scan;
mod segment;
mod seq;
mod shared;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod stats;
mod stuck;
mod view;
mod walk;
mod writer;

pub use cursor::Cursor;
pub use damage::Damage;
pub use disk::{Disk, DiskFile, RealDisk};
pub use inspect::{Report, SegmentInfo};
pub use journal::Journal;
pub use options::{Keep, Options, Retention};
pub use pending::Pending;
pub use reader::Reader;
pub use recover::{Recovery, Torn};
pub use retention::Removed;
pub use seq::Seq;
pub use stats::Stats;
pub use view::{View, ViewReader};
pub use walk::Record;
