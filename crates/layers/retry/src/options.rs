use std::time::Duration;

use haul_core::{Backoff, Error, ErrorKind, Result, duration_text};
use serde::{Deserialize, Serialize};

/// How often and how long to try.
///
/// In TOML: `attempts = 3`, `base = "100ms"`, `factor = 2.0`, `cap = "10s"`, `deadline = "1m"`, `budget = 0.1`,
/// `reserve = 10`; all may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryOptions {
    /// Tries in all, the first included; at least 1. Default 4.
    pub attempts: u32,
    /// The longest wait before the second try. Default 100 ms.
    #[serde(with = "duration_text")]
    pub base: Duration,
    /// What the longest wait is multiplied with each time; at least 1. Default 2.
    pub factor: f64,
    /// The longest wait that is drawn; a peer may ask for a longer one. Default 10 s.
    #[serde(with = "duration_text")]
    pub cap: Duration,
    /// No try begins later than this after the call began. Default never.
    #[serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// Retries that each call earns for all calls through this layer: 0.1 is one retry for ten calls. At most what
    /// 1,000 calls earn is saved up. From `attempts - 1` on it never bites. Default 0.1.
    pub budget: f64,
    /// Retries that may be spent before any call earned one. Default 10.
    pub reserve: u32,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            attempts: 4,
            base: Duration::from_millis(100),
            factor: 2.0,
            cap: Duration::from_secs(10),
            deadline: None,
            budget: 0.1,
            reserve: 10,
        }
    }
}

impl RetryOptions {
    pub(crate) fn check(&self) -> Result<Backoff> {
        let wrong = |what| Err(Error::new(ErrorKind::Config, format!("retry: {what}")));
        if self.attempts == 0 {
            return wrong("attempts counts the first try, so it is at least 1");
        }
        if !(self.factor >= 1.0 && self.factor.is_finite()) {
            return wrong("factor must be a number of at least 1");
        }
        if !(0.0..=1e6).contains(&self.budget) {
            return wrong("budget is retries per call, between 0 and 1000000");
        }
        let (base, factor, cap) = (self.base, self.factor, self.cap);
        Ok(Backoff { base, factor, cap })
    }
}
