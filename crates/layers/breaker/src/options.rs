use std::time::Duration;

use haul_core::{Error, ErrorKind, Result, Status, duration_text};
use serde::{Deserialize, Serialize};

/// When to open, for how long, and what counts.
///
/// In TOML: `consecutive = 5`, `failure_rate = 0.5`, `window = 100`, `least = 20`, `open = "10s"`, `probes = 1`,
/// `on = ["connect", "timeout"]`; all may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerOptions {
    /// Failures in a row that open it; at least 1. Default 5.
    pub consecutive: u32,
    /// The part of the last calls that opens it when it failed, above 0 and at most 1. Default 0.5.
    pub failure_rate: f64,
    /// The last calls of which the rate is taken, 1 to 65536. Default 100.
    pub window: usize,
    /// Calls that must be in the window before the rate counts; at least 1. Default 20.
    pub least: usize,
    /// How long it refuses before it lets probes through; longer if the peer asked for longer. More than zero.
    /// Default 10 s.
    #[serde(with = "duration_text")]
    pub open: Duration,
    /// Probes at once while it is half open, and successes of theirs that close it; at least 1. Default 1.
    pub probes: u32,
    /// The kinds of errors that count as failures of the peer. Default all, if they are not permanent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<ErrorKind>>,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            consecutive: 5,
            failure_rate: 0.5,
            window: 100,
            least: 20,
            open: Duration::from_secs(10),
            probes: 1,
            on: None,
        }
    }
}

impl BreakerOptions {
    pub(crate) fn check(self) -> Result<Self> {
        let wrong = |what| Err(Error::new(ErrorKind::Config, format!("breaker: {what}")));
        if !(self.failure_rate > 0.0 && self.failure_rate <= 1.0) {
            return wrong("failure_rate must be above 0 and at most 1");
        }
        if !(1..=65_536).contains(&self.window) {
            return wrong("window is a number of calls, 1 to 65536");
        }
        if !(1..=self.window).contains(&self.least) {
            return wrong("least is a number of calls in the window, from 1 to all of it");
        }
        if self.consecutive == 0 || self.probes == 0 {
            return wrong("consecutive and probes must be at least 1");
        }
        if self.open.is_zero() {
            return wrong("open must be more than zero");
        }
        Ok(self)
    }

    /// Whether `why` says that the peer ails. Named kinds count whatever their status.
    pub(crate) fn counts(&self, why: &Error) -> bool {
        match &self.on {
            Some(kinds) => kinds.contains(&why.kind()),
            None => why.status() != Status::Permanent,
        }
    }
}
