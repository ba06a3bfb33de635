use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// After this time an average counts half: a service that was slow once is tried again.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// What the latest answer counts in the average.
const LATEST: f64 = 0.3;

/// A service among others.
#[derive(Clone, Debug)]
pub struct Member<S> {
    pub(crate) service: S,
    pub(crate) weight: u32,
}

impl<S> Member<S> {
    /// A member of weight 1.
    pub fn new(service: S) -> Self {
        Self { service, weight: 1 }
    }

    /// The member, which takes so many times the calls of one of weight 1; 1 to 1000.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }
}

/// What is known of one member.
#[derive(Debug)]
pub(crate) struct Seat<S> {
    pub(crate) service: S,
    weight: u32,
    in_flight: AtomicUsize,
    failed_in_a_row: AtomicU32,
    start: Instant,
    /// Until when it is passed over, in nanoseconds after `start`; zero while it is not.
    ejected_until: AtomicU64,
    latency: Mutex<Option<Average>>,
}

#[derive(Clone, Copy, Debug)]
struct Average {
    seconds: f64,
    at: Instant,
}

impl<S> Seat<S> {
    pub(crate) fn new(member: Member<S>) -> Self {
        Self {
            service: member.service,
            weight: member.weight,
            in_flight: AtomicUsize::new(0),
            failed_in_a_row: AtomicU32::new(0),
            start: Instant::now(),
            ejected_until: AtomicU64::new(0),
            latency: Mutex::default(),
        }
    }

    pub(crate) fn weight(&self) -> i64 {
        i64::from(self.weight)
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected_until.load(Ordering::Relaxed) != 0
    }

    /// Whether it is time to try it again, which is one call's turn for each `readmit`.
    pub(crate) fn is_due(&self, readmit: Duration) -> bool {
        let (until, now) = (self.ejected_until.load(Ordering::Relaxed), self.nanos(Duration::ZERO));
        if until == 0 || until > now {
            return false;
        }
        let next = self.nanos(readmit);
        self.ejected_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Calls under way for its weight.
    pub(crate) fn load(&self) -> f64 {
        self.in_flight.load(Ordering::Relaxed) as f64 / f64::from(self.weight)
    }

    /// How long a call would take, as far as is known; nothing where nothing is.
    pub(crate) fn cost(&self, now: Instant) -> f64 {
        let Some(average) = *self.latency() else { return 0.0 };
        let halvings = now.saturating_duration_since(average.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        let calls = self.in_flight.load(Ordering::Relaxed) + 1;
        average.seconds * 0.5_f64.powf(halvings) * calls as f64 / f64::from(self.weight)
    }

    /// Counts a call as under way until the answer is dropped.
    pub(crate) fn enter(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    pub(crate) fn works(&self, took: Duration) {
        self.failed_in_a_row.store(0, Ordering::Relaxed);
        self.ejected_until.store(0, Ordering::Relaxed);
        let (seconds, at) = (took.as_secs_f64(), Instant::now());
        let mut latency = self.latency();
        let seconds = latency.map_or(seconds, |before| before.seconds + LATEST * (seconds - before.seconds));
        *latency = Some(Average { seconds, at });
    }

    pub(crate) fn failed(&self, eject: u32, pass_over: Duration) {
        let failed = self.failed_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failed >= eject || self.is_ejected() {
            self.ejected_until.store(self.nanos(pass_over), Ordering::Relaxed);
        }
    }

    fn latency(&self) -> MutexGuard<'_, Option<Average>> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nanos(&self, ahead: Duration) -> u64 {
        let nanos = self.start.elapsed().saturating_add(ahead).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
    }
}

pub(crate) struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
