use std::time::Duration;

use haul_core::{Error, ErrorKind, Result, duration_text};
use serde::{Deserialize, Serialize};

/// How a call finds its service, and when one is passed over.
///
/// In TOML: `by = "latency"`, `eject = 3`, `readmit = "10s"`; all may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BalanceOptions {
    /// Which service is next. Default `round_robin`.
    pub by: By,
    /// Failures in a row after which a service is passed over; at least 1. Default 3.
    pub eject: u32,
    /// How long it is passed over; then one call tries it. Longer if it asked for longer; more than zero. Default 10 s.
    #[serde(with = "duration_text")]
    pub readmit: Duration,
}

/// Which service is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum By {
    /// In turns, each as often as its weight says, and evenly spread ("smooth weighted round robin", of nginx).
    #[default]
    RoundRobin,
    /// The one with the fewest calls under way for its weight.
    LeastInFlight,
    /// Of two drawn at random, the one whose answers come sooner, by a moving average that halves every 10 s, times
    /// its calls under way (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing").
    Latency,
}

impl Default for BalanceOptions {
    fn default() -> Self {
        Self { by: By::default(), eject: 3, readmit: Duration::from_secs(10) }
    }
}

impl BalanceOptions {
    pub(crate) fn check(self) -> Result<Self> {
        if self.eject == 0 || self.readmit.is_zero() {
            let message = "balance: eject must be at least 1, and readmit more than zero";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(self)
    }
}
