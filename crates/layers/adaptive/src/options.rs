use std::time::Duration;

use haul_core::{Error, ErrorKind, Result, duration_text};
use serde::{Deserialize, Serialize};

/// When the next transport starts, and what is remembered of the last time.
///
/// In TOML: `head_start = "250ms"`, `attempt_timeout = "10s"`, `remember = "10m"`, `probe = "5m"`,
/// `stall_within = "30s"`, `demote = "1m"`, `max_hosts = 1024`; all may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptiveOptions {
    /// How long a transport dials alone before the next one starts beside it; between 10 ms and 2 s, as the connection
    /// attempt delay of RFC 8305 section 8. Default 250 ms.
    #[serde(with = "duration_text")]
    pub head_start: Duration,
    /// How long one transport may dial; more than zero. Default 10 s.
    #[serde(with = "duration_text")]
    pub attempt_timeout: Duration,
    /// How long after its last win a transport starts first at its host. Default 10 min (RFC 6555 section 4.2).
    #[serde(with = "duration_text")]
    pub remember: Duration,
    /// How often the transports that are preferred to the winner get their head start again. At most 30 days. Default
    /// 5 min.
    #[serde(with = "duration_text")]
    pub probe: Duration,
    /// A connection that ends within this time before anything came from the peer has stalled; one that fails with
    /// `Timeout` before anything came has at any time. Default 30 s.
    #[serde(with = "duration_text")]
    pub stall_within: Duration,
    /// How long a transport that stalled starts last at its host, for the first time in a row; each time after it is
    /// twice as long, up to 16 times as long. At most 30 days. Default 1 min.
    #[serde(with = "duration_text")]
    pub demote: Duration,
    /// Hosts that are remembered, at most; beyond it the one that did not win or stall for longest is forgotten.
    /// Between 1 and 65,536. Default 1024.
    pub max_hosts: usize,
}

impl Default for AdaptiveOptions {
    fn default() -> Self {
        Self {
            head_start: Duration::from_millis(250),
            attempt_timeout: Duration::from_secs(10),
            remember: Duration::from_secs(600),
            probe: Duration::from_secs(300),
            stall_within: Duration::from_secs(30),
            demote: Duration::from_secs(60),
            max_hosts: 1024,
        }
    }
}

/// The longest `probe` and `demote`: 30 days.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

impl AdaptiveOptions {
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what| Err(Error::new(ErrorKind::Config, format!("adaptive: {what}")));
        if !(Duration::from_millis(10)..=Duration::from_secs(2)).contains(&self.head_start) {
            return wrong("head_start must be between 10ms and 2s");
        }
        if self.attempt_timeout.is_zero() {
            return wrong("attempt_timeout must be more than zero");
        }
        if self.probe.max(self.demote) > LONGEST {
            return wrong("probe and demote must be at most 30d");
        }
        if !(1..=65_536).contains(&self.max_hosts) {
            return wrong("max_hosts must be between 1 and 65536");
        }
        Ok(())
    }
}
