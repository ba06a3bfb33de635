use std::time::Duration;

use haul_core::{Error, ErrorKind, Result, duration_text};
use serde::{Deserialize, Serialize};

/// How much goes through, and what becomes of the rest.
///
/// In TOML: `rate = 100`, `per = "1s"`, `burst = 20`, `concurrency = 8`, `adaptive = true`, `when_full = "refuse"`,
/// `waiting = 1024`; one of `rate` and `concurrency` must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitOptions {
    /// Calls in each `per`; of a batch each packet counts. At least 1. Default no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// The time of `rate`; more than zero. Default 1 s.
    #[serde(with = "duration_text")]
    pub per: Duration,
    /// How many may go at once after a pause; at least 1. The clock has milliseconds: with less than goes in one, the rate
    /// is not reached. Default what goes in one `per`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Calls under way at once, 1 to 1048576. Default no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// Whether the number of calls under way follows the latency, between 1 and `concurrency`: it shrinks while answers
    /// queue, and grows while they do not. Default no.
    pub adaptive: bool,
    /// What becomes of a call that is one too many. Default `wait`.
    pub when_full: WhenFull,
    /// Calls that wait at most; one more is refused. Default 1024.
    pub waiting: usize,
}

/// What becomes of a call that is one too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// It waits for its turn, in the order in which calls came.
    #[default]
    Wait,
    /// It is refused at once: `RateLimited` with the time after which there is room, `Overloaded` where calls under way
    /// are too many.
    Refuse,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            rate: None,
            per: Duration::from_secs(1),
            burst: None,
            concurrency: None,
            adaptive: false,
            when_full: WhenFull::default(),
            waiting: 1024,
        }
    }
}

/// The most of what is counted here, so that a mistake is no memory.
const MANY: usize = 1 << 20;

impl LimitOptions {
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what: &'static str| Err(Error::new(ErrorKind::Config, format!("limit: {what}")));
        if self.rate.is_none() && self.concurrency.is_none() {
            return wrong("it needs a rate, a concurrency, or both");
        }
        if self.rate == Some(0) || self.burst == Some(0) {
            return wrong("rate and burst must be at least 1");
        }
        if self.per.is_zero() || self.rate.is_some_and(|rate| (self.per / rate).is_zero()) {
            return wrong("rate is more than one in a nanosecond");
        }
        if self.rate.is_none() && self.burst.is_some() {
            return wrong("burst is of a rate, and there is none");
        }
        if self.concurrency.is_some_and(|most| !(1..=MANY).contains(&most)) {
            return wrong("concurrency must be between 1 and 1048576");
        }
        if self.adaptive && self.concurrency.is_none() {
            return wrong("adaptive needs a concurrency, which it stays below");
        }
        if self.waiting > MANY {
            return wrong("waiting must be at most 1048576");
        }
        Ok(())
    }
}
