use std::time::Duration;

use haul_core::{Error, ErrorKind, Result, duration_text, plain_value};
use serde::{Deserialize, Serialize};

/// When a batch is full, and how many wait.
///
/// In TOML: `count = 256`, `bytes = "1MiB"`, `after = "5ms"`, `in_flight = 1`, `waiting = 4096`; all may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchOptions {
    /// Packets that make a batch full; at least 1. Default 256.
    pub count: usize,
    /// Bytes that make a batch full, as [`Packet::weight`](haul_core::Packet::weight) counts them; at least 1.
    /// Default 1 MiB.
    #[serde(deserialize_with = "plain_value::size")]
    pub bytes: usize,
    /// How long the first packet of a batch waits for others at most; zero takes along only what is there. Default 5 ms.
    #[serde(with = "duration_text")]
    pub after: Duration,
    /// Batches under way at once; at least 1. With one, packets are delivered in the order in which they came. Default 1.
    pub in_flight: usize,
    /// Calls that wait for a batch; at least 1. One more waits for room. Default 4096.
    pub waiting: usize,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { count: 256, bytes: 1 << 20, after: Duration::from_millis(5), in_flight: 1, waiting: 4096 }
    }
}

/// The most of what is counted here, so that a mistake is no memory.
const MANY: usize = 1 << 20;

impl BatchOptions {
    pub(crate) fn check(self) -> Result<Self> {
        let counts = [("count", self.count), ("in_flight", self.in_flight), ("waiting", self.waiting)];
        for (name, count) in counts {
            if !(1..=MANY).contains(&count) {
                let message = format!("batch: {name} = {count} must be between 1 and {MANY}");
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        if self.bytes == 0 {
            return Err(Error::new(ErrorKind::Config, "batch: bytes must be at least 1"));
        }
        Ok(self)
    }
}
