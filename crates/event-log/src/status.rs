//! What a log and its sinks are doing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use haul_core::Error;
use haul_journal::Seq;
use serde::Serialize;

use crate::record::micros;

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

/// One sink at one moment. Counts are since it was attached.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Number of the first event that it has not got: it goes on there after a restart.
    pub position: u64,
    /// Events that it has not got; of those not read yet its filter may hold some back.
    pub lag: u64,
    /// Deliveries that were begun, of one event or many.
    pub deliveries: u64,
    /// Events that it accepted. One that it was given again counts again.
    pub delivered: u64,
    /// Events that its filter held back.
    pub filtered: u64,
    /// Events that it refused for good; they are dead letters.
    pub dead: u64,
    /// Times that a delivery was tried again.
    pub retries: u64,
    /// Events that were lost to it: removed by retention before it got them, or damaged on disk.
    pub lost: u64,
    /// When the delivery that is under way began, if one is: a sink that hangs shows here.
    pub delivering_since: Option<u64>,
    /// The failure it is stuck at, if it is stuck.
    pub stuck: Option<Failure>,
    /// The last failure, also of one that is over.
    pub last_failure: Option<Failure>,
}

/// Something that went wrong at a sink.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// What.
    pub message: String,
    /// The kind of the error.
    pub kind: &'static str,
    /// When.
    pub at: u64,
}

impl Failure {
    fn new(why: &Error) -> Self {
        Self { message: why.to_string(), kind: why.kind().as_str(), at: micros(SystemTime::now()) }
    }
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

/// The counters of one sink; its forwarder alone writes them.
#[derive(Default)]
pub(crate) struct Counters {
    done: AtomicU64,
    /// The number that is read next, and events before it that it has not got.
    read: AtomicU64,
    held: AtomicU64,
    pub(crate) deliveries: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) filtered: AtomicU64,
    pub(crate) dead: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// Microseconds since 1970; 0 while nothing is being delivered.
    delivering: AtomicU64,
    failures: Mutex<(Option<Failure>, Option<Failure>)>,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Relaxed);
    }

    /// Counters of a sink that begins at `position`.
    pub(crate) fn from(position: Seq) -> Self {
        let counters = Self::default();
        counters.at(position, position, 0);
        counters
    }

    /// Where it is: the first event that it has not got, what is read next, and how many before that it has not got.
    pub(crate) fn at(&self, done: Seq, read: Seq, held: usize) {
        self.done.store(done.0, Relaxed);
        self.read.store(read.0, Relaxed);
        self.held.store(held as u64, Relaxed);
    }

    /// The first event that it has not got.
    pub(crate) fn done(&self) -> Seq {
        Seq(self.done.load(Relaxed))
    }

    pub(crate) fn delivering(&self, yes: bool) {
        let since = if yes { micros(SystemTime::now()) } else { 0 };
        self.delivering.store(since, Relaxed);
    }

    /// It is stuck at this.
    pub(crate) fn failed(&self, why: &Error) {
        let failure = Failure::new(why);
        *self.failures() = (Some(failure.clone()), Some(failure));
    }

    /// This went wrong, and it goes on.
    pub(crate) fn happened(&self, why: &Error) {
        self.failures().1 = Some(Failure::new(why));
    }

    pub(crate) fn goes_on(&self) {
        self.failures().0 = None;
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.failures().0.is_some()
    }

    /// The failure it is stuck at, and the last.
    fn failures(&self) -> MutexGuard<'_, (Option<Failure>, Option<Failure>)> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self, name: &str, next: u64) -> SinkStatus {
        let (stuck, last_failure) = self.failures().clone();
        SinkStatus {
            name: name.to_owned(),
            position: self.done().0,
            lag: next.saturating_sub(self.read.load(Relaxed)) + self.held.load(Relaxed),
            deliveries: self.deliveries.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            filtered: self.filtered.load(Relaxed),
            dead: self.dead.load(Relaxed),
            retries: self.retries.load(Relaxed),
            lost: self.lost.load(Relaxed),
            delivering_since: Some(self.delivering.load(Relaxed)).filter(|since| *since > 0),
            stuck,
            last_failure,
        }
    }
}
