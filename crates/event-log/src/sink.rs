//! How events go to a sink.

use std::time::Duration;

use haul_core::{Backoff, Error, ErrorKind, Result};
use serde::Deserialize;

use crate::filter::Filter;

/// What one delivery may hold of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// One event: the next goes when it was accepted, or refused for good. Order holds whatever the sink does, and a
    /// session goes as fast as the sink answers.
    #[default]
    Strict,
    /// As many as there are. Where a sink fails one of them and accepts later ones, those are delivered before it, and
    /// again behind it; a sink that accepts nothing behind what it failed keeps order all the same.
    Batch,
}

/// How events go to one sink.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SinkOptions {
    /// Most events in one delivery. Default 256.
    pub batch: usize,
    /// A delivery is full when its payloads have this many bytes. Default 1 MiB.
    pub batch_bytes: usize,
    /// How many events of a session one delivery may hold. Default one.
    pub order: Order,
    /// How far behind an event that the sink fails those of other sessions go on, in events of the log: after a crash
    /// so many are delivered again at most, and so many are held in memory, up to 16 MiB. Default 4096.
    pub ahead: usize,
    /// Waits between tries. Default 100 ms, doubled up to 30 s.
    pub backoff: Backoff,
    /// Which events it gets. Default all.
    pub filter: Filter,
    /// Whether packets keep their metadata, and get `session_id` if they are in a session of their own. Without it
    /// they go bare, as sinks need that carry none. Default yes.
    pub metadata: bool,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            batch: 256,
            batch_bytes: 1 << 20,
            order: Order::Strict,
            ahead: 4096,
            backoff: Backoff { base: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(30) },
            filter: Filter::default(),
            metadata: true,
        }
    }
}

impl SinkOptions {
    /// The options with this filter.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// The options with these waits between tries.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The options with at most so many events in one delivery.
    #[must_use]
    pub fn batch(mut self, events: usize) -> Self {
        self.batch = events;
        self
    }

    /// The options with deliveries that are full at so many bytes.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// The options with this many events of a session in one delivery.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// The options with other sessions going on so far behind a failed event.
    #[must_use]
    pub fn ahead(mut self, events: usize) -> Self {
        self.ahead = events;
        self
    }

    /// Errors: `Config` for what would deliver nothing, or without any wait.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what: &'static str| Err(Error::new(ErrorKind::Config, what));
        if self.batch == 0 || self.batch_bytes == 0 || self.ahead == 0 {
            return wrong("batch, batch_bytes and ahead are at least 1");
        }
        if !(self.backoff.factor >= 1.0 && self.backoff.factor.is_finite()) {
            return wrong("the backoff's factor is a number of at least 1");
        }
        if self.backoff.base.is_zero() || self.backoff.cap.is_zero() {
            return wrong("the backoff's base and cap are longer than nothing");
        }
        Ok(())
    }

    /// The options, packets going without metadata.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.metadata = false;
        self
    }
}
