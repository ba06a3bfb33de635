use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Round trips that are kept for the percentiles.
pub const SAMPLES: usize = 256;

/// Watches the heartbeat of one link, also beyond its end. Clones watch the same.
#[derive(Clone, Debug, Default)]
pub struct Monitor(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    stats: HeartbeatStats,
    round_trips: VecDeque<Duration>,
}

/// What the heartbeat of one link has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeartbeatStats {
    /// Questions: pings, or probe packets where there are none.
    pub asked: u64,
    /// Pings that were answered.
    pub answered: u64,
    /// Questions that nothing followed in time.
    pub missed: u64,
    /// Questions that were asked again because nobody was there to hear: a clock jump, a process that stood still.
    pub late: u64,
    /// The last round trip.
    pub last: Option<Duration>,
    /// The median of the last [`SAMPLES`] round trips, by nearest rank.
    pub p50: Option<Duration>,
    /// Their 99th percentile, by nearest rank.
    pub p99: Option<Duration>,
}

impl Monitor {
    /// What was seen so far.
    pub fn stats(&self) -> HeartbeatStats {
        let log = self.log();
        let mut sorted: Vec<_> = log.round_trips.iter().copied().collect();
        sorted.sort_unstable();
        let rank =
            |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        HeartbeatStats { last: log.round_trips.back().copied(), p50: rank(50), p99: rank(99), ..log.stats }
    }

    pub(crate) fn asked(&self, missed: bool, late: bool) {
        let stats = &mut self.log().stats;
        stats.asked += 1;
        stats.missed += u64::from(missed);
        stats.late += u64::from(late);
    }

    pub(crate) fn missed(&self) {
        self.log().stats.missed += 1;
    }

    pub(crate) fn answered(&self, took: Duration) {
        let mut log = self.log();
        log.stats.answered += 1;
        if log.round_trips.len() == SAMPLES {
            log.round_trips.pop_front();
        }
        log.round_trips.push_back(took);
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
