//! What a log and its sinks are doing.

use haul_outbox::forward::SinkStatus;
use serde::Serialize;

/// A log and its sinks at one moment. Times are microseconds since 1970.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Number of the oldest event.
    pub first: u64,
    /// Number that the next event will have.
    pub next: u64,
    /// Events appended since it was opened.
    pub appended: u64,
    /// Syncs of the disk since it was opened: each answers all who wait.
    pub syncs: u64,
    /// Size on disk in bytes.
    pub bytes: u64,
    /// Bytes that wait for the disk.
    pub queued_bytes: u64,
    /// Why the log takes no more, if it does not.
    pub failure: Option<String>,
    /// The sinks, by name.
    pub sinks: Vec<SinkStatus>,
    /// Sinks that have a position here but are not attached: they hold their events until they come back or are
    /// forgotten.
    pub absent: Vec<Absent>,
}

/// A sink that is not attached.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Absent {
    /// Its name.
    pub name: String,
    /// Number of the first event that it has not got.
    pub position: u64,
    /// Events that it has not got: retention keeps them for it.
    pub events: u64,
}
