use std::time::Duration;

use haul_core::{Error, ErrorKind, Result, duration_text};
use serde::{Deserialize, Serialize};

/// When to ask a silent peer, and when to give it up.
///
/// In TOML: `interval = "15s"`, `timeout = "5s"`, `misses = 3`, `jitter = 0.1`, `adaptive = false`, `prove = "1m"`; all
/// may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeartbeatOptions {
    /// A peer that was silent for this long is asked; more than zero. The endpoint's option `ping` goes before it.
    /// Default 15 s.
    #[serde(with = "duration_text")]
    pub interval: Duration,
    /// How long each question waits for anything from the peer; more than zero. Default 5 s.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
    /// Questions in a row without anything from the peer, after which the link fails; between 1 and 16. Default 3.
    pub misses: u32,
    /// The part of `interval` by which a question may come earlier, drawn evenly, so that links that were made together
    /// do not ask together; between 0 and 1. Default 0.1.
    pub jitter: f64,
    /// Waits for answers as long as round trips take (RFC 6298 section 2), at least 1 s and at most `timeout`, and after
    /// each miss twice as long. Default no.
    pub adaptive: bool,
    /// Asks at least this often although packets come, and takes only the answer for one: finds a peer that is heard and
    /// does not hear. More than zero; only where the peer answers pings. Default never.
    #[serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")]
    pub prove: Option<Duration>,
}

impl Default for HeartbeatOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(5),
            misses: 3,
            jitter: 0.1,
            adaptive: false,
            prove: None,
        }
    }
}

/// The most `misses`.
pub(crate) const MOST_MISSES: u32 = 16;

/// The longest time of any option: 30 days.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

impl HeartbeatOptions {
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what| Err(Error::new(ErrorKind::Config, format!("heartbeat: {what}")));
        let times = [Some(self.interval), Some(self.timeout), self.prove];
        if times.into_iter().flatten().any(|time| time.is_zero() || time > LONGEST) {
            return wrong("interval, timeout and prove must be more than zero and at most 30d");
        }
        if !(1..=MOST_MISSES).contains(&self.misses) {
            return wrong("misses must be between 1 and 16");
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return wrong("jitter must be between 0 and 1");
        }
        Ok(())
    }
}
