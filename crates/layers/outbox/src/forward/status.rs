//! What a forwarder is doing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use haul_core::Error;
use haul_journal::Seq;
use serde::Serialize;

use crate::record::micros;

/// One sink at one moment. Counts are since it was attached; times are microseconds since 1970.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Number of the first packet that it has not got: it goes on there after a restart.
    pub position: u64,
    /// Packets that it has not got; of those not read yet its filter may hold some back.
    pub lag: u64,
    /// Deliveries that were begun, of one packet or many.
    pub deliveries: u64,
    /// Packets that it accepted. One that it was given again counts again.
    pub delivered: u64,
    /// Packets that its filter held back.
    pub filtered: u64,
    /// Packets that it refused for good; they are dead letters.
    pub dead: u64,
    /// Times that a delivery was tried again.
    pub retries: u64,
    /// Packets that were lost to it: removed by retention before it got them, or damaged on disk.
    pub lost: u64,
    /// When the oldest delivery that is under way began, if one is: a sink that hangs shows here.
    pub delivering_since: Option<u64>,
    /// The failure it is stuck at, if it is stuck.
    pub stuck: Option<Failure>,
    /// The last failure, also of one that is over.
    pub last_failure: Option<Failure>,
}

/// The numbers of a [`SinkStatus`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// The number that is read next.
    pub read: u64,
    /// Packets before it that the sink has not got.
    pub held: u64,
    /// Deliveries that were begun.
    pub deliveries: u64,
    /// Packets that the sink accepted.
    pub delivered: u64,
    /// Packets that were refused for good.
    pub dead: u64,
    /// Times that a delivery was tried again.
    pub retries: u64,
    /// Packets that were lost to the sink.
    pub lost: u64,
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

/// The counters of one sink; its forwarder alone writes them.
#[derive(Default)]
pub(super) struct Counters {
    done: AtomicU64,
    /// The number that is read next, and packets before it that it has not got.
    read: AtomicU64,
    held: AtomicU64,
    pub(super) deliveries: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) filtered: AtomicU64,
    pub(super) dead: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) lost: AtomicU64,
    /// Microseconds since 1970; 0 while nothing is being delivered.
    delivering: AtomicU64,
    failures: Mutex<(Option<Failure>, Option<Failure>)>,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Relaxed);
    }

    /// Counters of a sink that begins at `position`.
    pub(super) fn from(position: Seq) -> Self {
        let counters = Self::default();
        counters.at(position, position, 0);
        counters
    }

    /// Where it is: the first packet that it has not got, what is read next, and how many before that it has not got.
    pub(super) fn at(&self, done: Seq, read: Seq, held: usize) {
        self.done.store(done.0, Relaxed);
        self.read.store(read.0, Relaxed);
        self.held.store(held as u64, Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            read: self.read.load(Relaxed),
            held: self.held.load(Relaxed),
            deliveries: self.deliveries.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            dead: self.dead.load(Relaxed),
            retries: self.retries.load(Relaxed),
            lost: self.lost.load(Relaxed),
        }
    }

    /// The first packet that it has not got.
    pub(super) fn done(&self) -> Seq {
        Seq(self.done.load(Relaxed))
    }

    /// When the oldest delivery that is under way began.
    pub(super) fn delivering(&self, since: Option<u64>) {
        self.delivering.store(since.unwrap_or(0), Relaxed);
    }

    /// It is stuck at this.
    pub(super) fn failed(&self, why: &Error) {
        let failure = Failure::new(why);
        *self.failures() = (Some(failure.clone()), Some(failure));
    }

    /// This went wrong, and it goes on.
    pub(super) fn happened(&self, why: &Error) {
        self.failures().1 = Some(Failure::new(why));
    }

    pub(super) fn goes_on(&self) {
        self.failures().0 = None;
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.failures().0.is_some()
    }

    /// The failure it is stuck at, and the last.
    fn failures(&self) -> MutexGuard<'_, (Option<Failure>, Option<Failure>)> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self, name: &str, next: u64) -> SinkStatus {
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
