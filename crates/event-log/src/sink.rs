//! How events go to a sink.

use std::sync::Arc;

use bytes::Bytes;
use haul_core::{Backoff, Packet, Result};
use haul_journal::Record;
use haul_outbox::forward::{DeliveryOptions, Found, Order, Records, Refused};

use crate::dead;
use crate::event::{DEFAULT_SESSION, SESSION_ID};
use crate::filter::Filter;
use crate::record;

/// How events go to one sink. The key that orders them is their session.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SinkOptions {
    /// How they go.
    pub delivery: DeliveryOptions,
    /// Which events it gets. Default all.
    pub filter: Filter,
    /// Whether packets keep their metadata, and get `session_id` if they are in a session of their own. Without it
    /// they go bare, as sinks need that carry none. Default yes.
    pub metadata: bool,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self { delivery: DeliveryOptions::default(), filter: Filter::default(), metadata: true }
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
        self.delivery.backoff = backoff;
        self
    }

    /// The options with at most so many events in one delivery.
    #[must_use]
    pub fn batch(mut self, events: usize) -> Self {
        self.delivery.batch = events;
        self
    }

    /// The options with deliveries that are full at so many bytes.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.delivery.batch_bytes = bytes;
        self
    }

    /// The options with this many events of a session in one delivery.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.delivery.order = order;
        self
    }

    /// The options with other sessions going on so far behind a failed event.
    #[must_use]
    pub fn ahead(mut self, events: usize) -> Self {
        self.delivery.ahead = events;
        self
    }

    /// The options, packets going without metadata.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.metadata = false;
        self
    }

    fn dress(&self, packet: Packet, session: &str) -> Packet {
        if !self.metadata {
            return packet.with_metadata(haul_core::Metadata::new());
        }
        if session == DEFAULT_SESSION || packet.metadata().get(SESSION_ID).is_some() {
            return packet;
        }
        packet.with(SESSION_ID, session.to_owned())
    }
}

/// What events are to a sink with these options.
impl Records for SinkOptions {
    fn read(&self, record: &Record) -> Result<Found> {
        let event = record::decode(record.payload.clone())?;
        if !self.filter.passes(&event.packet) {
            return Ok(Found::Pass);
        }
        let key: Arc<str> = event.session.as_str().into();
        Ok(Found::Deliver { packet: self.dress(event.packet, &event.session), key })
    }

    fn bury(&self, refused: Refused<'_>) -> Result<Bytes> {
        Ok(dead::encode(refused.sink, refused.seq, refused.why, refused.record))
    }
}
