use std::time::Duration;

use haul_core::{Backoff, Error, ErrorKind, Result, duration_text};
use serde::{Deserialize, Serialize};

use crate::Policy;

/// How many calls go at once, how many wait, and how each is tried.
///
/// In TOML: `concurrency = 8`, `capacity = 1024`, `overflow = "refuse"`, `ageing = "1s"`, `priority = 0`,
/// `attempts = 1`, `base = "100ms"`, `factor = 2.0`, `cap = "10s"`; all may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueOptions {
    /// Calls under way at once; at least 1. Default 8.
    pub concurrency: usize,
    /// Calls in the queue: those that wait, pause before another try, or are under way; from `concurrency` to 1048576.
    /// Default 1024.
    pub capacity: usize,
    /// What becomes of a call that finds the queue full. Default `refuse`.
    pub overflow: Overflow,
    /// How long a call must have waited to be as urgent as one of the next higher priority that just came; more than
    /// zero. Default 1 s.
    #[serde(with = "duration_text")]
    pub ageing: Duration,
    /// The priority of a call that has no policy of its own. Default 0.
    pub priority: u8,
    /// Tries of a call that has no policy of its own, the first included; at least 1. Default 1.
    pub attempts: u32,
    /// The longest pause before a second try. Default 100 ms.
    #[serde(with = "duration_text")]
    pub base: Duration,
    /// What the longest pause is multiplied with each time; at least 1. Default 2.
    pub factor: f64,
    /// The longest pause that is drawn; a peer may ask for a longer one. Default 10 s.
    #[serde(with = "duration_text")]
    pub cap: Duration,
}

/// What becomes of a call that finds the queue full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// It is refused at once, as `Overloaded`.
    #[default]
    Refuse,
    /// The least urgent of those that wait is refused, if that is less urgent than the one that came.
    Evict,
    /// It waits for room outside, in the order in which calls came, whatever their priority.
    Wait,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            concurrency: 8,
            capacity: 1024,
            overflow: Overflow::default(),
            ageing: Duration::from_secs(1),
            priority: 0,
            attempts: 1,
            base: Duration::from_millis(100),
            factor: 2.0,
            cap: Duration::from_secs(10),
        }
    }
}

impl QueueOptions {
    pub(crate) fn check(self) -> Result<Self> {
        let wrong = |what| Err(Error::new(ErrorKind::Config, format!("queue: {what}")));
        if self.concurrency == 0 || !(self.concurrency..=1 << 20).contains(&self.capacity) {
            return wrong("concurrency must be at least 1, and capacity between it and 1048576");
        }
        if self.attempts == 0 {
            return wrong("attempts counts the first try, so it is at least 1");
        }
        if !(self.factor >= 1.0 && self.factor.is_finite()) {
            return wrong("factor must be a number of at least 1");
        }
        if self.ageing.is_zero() {
            return wrong("ageing must be more than zero");
        }
        Ok(self)
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy { priority: self.priority, attempts: self.attempts }
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff { base: self.base, factor: self.factor, cap: self.cap }
    }
}
