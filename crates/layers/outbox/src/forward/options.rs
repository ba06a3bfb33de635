use std::time::Duration;

use haul_core::{Backoff, Error, ErrorKind, Result, duration_text, plain_value};
use serde::{Deserialize, Serialize};

/// What one delivery may hold of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// One packet: the next goes when it was accepted, or refused for good. Order holds whatever the sink does, and a
    /// key goes as fast as the sink answers.
    #[default]
    Strict,
    /// As many as there are. Where a sink fails one of them and accepts later ones, those are delivered before it, and
    /// again behind it; a sink that accepts nothing behind what it failed keeps order all the same.
    Batch,
}

/// How packets go from a journal to a sink.
///
/// In TOML: `batch = 256`, `batch_bytes = "1MiB"`, `order = "strict"`, `ahead = 4096`, `parallel = 1`,
/// `backoff = { base = "100ms", factor = 2, cap = "30s" }`; all may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryOptions {
    /// Most packets in one delivery, at least 1. Default 256.
    pub batch: usize,
    /// A delivery is full when its payloads have this many bytes, at least 1. Default 1 MiB.
    #[serde(deserialize_with = "plain_value::size")]
    pub batch_bytes: usize,
    /// How many packets of a key one delivery may hold. Default one.
    pub order: Order,
    /// How far behind a packet that the sink fails those of other keys go on, in records of the journal, at least 1:
    /// after a crash so many are delivered again at most, and so many are held in memory, up to 16 MiB. Default 4096.
    pub ahead: usize,
    /// Deliveries under way at once, 1 to 1024. A key is in one of them at most. Default 1.
    pub parallel: usize,
    /// Waits between tries. Default 100 ms, doubled up to 30 s.
    #[serde(with = "BackoffText")]
    pub backoff: Backoff,
}

/// A [`Backoff`] in configuration.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Backoff", deny_unknown_fields, default = "backoff")]
struct BackoffText {
    #[serde(with = "duration_text")]
    base: Duration,
    factor: f64,
    #[serde(with = "duration_text")]
    cap: Duration,
}

fn backoff() -> Backoff {
    Backoff { base: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(30) }
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            batch: 256,
            batch_bytes: 1 << 20,
            order: Order::Strict,
            ahead: 4096,
            parallel: 1,
            backoff: backoff(),
        }
    }
}

impl DeliveryOptions {
    /// Errors: `Config` for what would deliver nothing, or without any wait.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &'static str| Err(Error::new(ErrorKind::Config, what));
        if self.batch == 0 || self.batch_bytes == 0 || self.ahead == 0 {
            return wrong("batch, batch_bytes and ahead are at least 1");
        }
        if !(1..=1024).contains(&self.parallel) {
            return wrong("parallel is between 1 and 1024");
        }
        if !(self.backoff.factor >= 1.0 && self.backoff.factor.is_finite()) {
            return wrong("the backoff's factor is a number of at least 1");
        }
        if self.backoff.base.is_zero() || self.backoff.cap.is_zero() {
            return wrong("the backoff's base and cap are longer than nothing");
        }
        Ok(())
    }
}
