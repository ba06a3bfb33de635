#![doc = include_str!("../README.md")]

mod dialer;
mod link;
mod listener;
mod pipe;
mod session;

pub use dialer::Dialer;
pub use listener::{Mem, listen};
pub use session::{MAX_DATAGRAM, pair, pair_with};

use haul_core::Registry;

/// The schemes that this crate serves.
pub const SCHEMES: &[&str] = &["mem"];

/// Registers dialer and listener of the process-wide names.
pub fn register(registry: &mut Registry) {
    registry.dialer(SCHEMES, Dialer::default()).listener(SCHEMES, async |endpoint| listen(endpoint));
}

fn spawn(task: haul_core::Task) {
    drop(tokio::spawn(task));
}
