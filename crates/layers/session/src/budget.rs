//! The bound on what all sessions of an acceptor keep together.

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Budget {
    used: AtomicU64,
    max: u64,
}

impl Budget {
    pub(crate) fn new(max: u64) -> Self {
        Self { used: AtomicU64::new(0), max }
    }

    /// One session keeps `after` bytes now, and `before` until now.
    pub(crate) fn change(&self, before: u64, after: u64) {
        if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.max
    }
}
