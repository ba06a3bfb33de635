use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Until when a service is passed over.
#[derive(Debug)]
pub(crate) struct Health {
    start: Instant,
    /// In nanoseconds after `start`; zero while it works.
    down_until: AtomicU64,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), down_until: AtomicU64::new(0) }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.down_until.load(Ordering::Relaxed) == 0
    }

    /// Whether this call is to try it: it works, or it is this call's turn to find out, and no other's for `probe`.
    pub(crate) fn admits(&self, probe: Duration) -> bool {
        let (until, now) = (self.down_until.load(Ordering::Relaxed), self.nanos(Duration::ZERO));
        if until == 0 || until > now {
            return until == 0;
        }
        let next = self.nanos(probe);
        self.down_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn works(&self) {
        self.down_until.store(0, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, pass_over: Duration) {
        self.down_until.store(self.nanos(pass_over), Ordering::Relaxed);
    }

    fn nanos(&self, ahead: Duration) -> u64 {
        let nanos = self.start.elapsed().saturating_add(ahead).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
    }
}
