use std::time::Duration;

use haul_core::{Backoff, Error, ErrorKind, Result, duration_text};
use serde::{Deserialize, Serialize};

/// When and how often to dial again.
///
/// In TOML: `attempts = 10`, `base = "200ms"`, `factor = 2.0`, `cap = "30s"`, `deadline = "10m"`,
/// `connect_timeout = "10s"`, `stable_after = "10s"`, `after_clean_close = false`, `max_unanswered_bytes = 4194304`; all
/// may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReconnectOptions {
    /// Dials in a row, without a stable connection in between, after which the connection fails; at least 1. Default
    /// without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The longest wait before the first dial after a cut. Default 200 ms.
    #[serde(with = "duration_text")]
    pub base: Duration,
    /// What the longest wait is multiplied with each time; at least 1. Default 2.
    pub factor: f64,
    /// The longest wait that is drawn; a peer may ask for a longer one. Default 30 s.
    #[serde(with = "duration_text")]
    pub cap: Duration,
    /// The connection fails when no dial can begin within this time after it was last stable. Default never.
    #[serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// How long one dial may take, the resubscription hook included. Default 10 s.
    #[serde(with = "duration_text")]
    pub connect_timeout: Duration,
    /// A connection that stood this long is stable: the next cut starts with short waits again. Default 10 s.
    #[serde(with = "duration_text")]
    pub stable_after: Duration,
    /// Dials again also when the peer closed with a clean code (1000, 1001). Default no.
    pub after_clean_close: bool,
    /// Bytes kept of packets that wait for their receipts. Beyond it the oldest delivery is answered `Overloaded` with
    /// `Sent::Maybe`; the oldest packet that was only sent is counted in the next gap. Default 4 MiB.
    pub max_unanswered_bytes: usize,
}

impl Default for ReconnectOptions {
    fn default() -> Self {
        Self {
            attempts: None,
            base: Duration::from_millis(200),
            factor: 2.0,
            cap: Duration::from_secs(30),
            deadline: None,
            connect_timeout: Duration::from_secs(10),
            stable_after: Duration::from_secs(10),
            after_clean_close: false,
            max_unanswered_bytes: 4 << 20,
        }
    }
}

impl ReconnectOptions {
    pub(crate) fn check(&self) -> Result<Backoff> {
        let wrong = |what| Err(Error::new(ErrorKind::Config, format!("reconnect: {what}")));
        if self.attempts == Some(0) {
            return wrong("attempts must be at least 1; leave it out to go on without end");
        }
        if !(self.factor >= 1.0 && self.factor.is_finite()) {
            return wrong("factor must be a number of at least 1");
        }
        if self.connect_timeout.is_zero() {
            return wrong("connect_timeout must be more than zero");
        }
        let (base, factor, cap) = (self.base, self.factor, self.cap);
        Ok(Backoff { base, factor, cap })
    }
}
