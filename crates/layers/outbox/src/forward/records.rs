use std::sync::Arc;

use bytes::Bytes;
use haul_core::{Error, Packet, Result};
use haul_journal::{Record, Seq};

use super::Counts;

/// What the records of a journal are to a sink.
pub trait Records: Send + Sync + 'static {
    /// What is to be done with `record`. Errors: it cannot be read, and is lost.
    fn read(&self, record: &Record) -> Result<Found>;

    /// Why a packet that was stored then is not to be delivered any more, if so: it is refused with this.
    fn expired(&self, _stored_micros: u64) -> Option<Error> {
        None
    }

    /// Where the forwarder is, each time that it has done something.
    fn note(&self, _counts: Counts) {}

    /// The dead letter of a record that was refused for good. Errors: it cannot be written, and the record waits.
    fn bury(&self, refused: Refused<'_>) -> Result<Bytes>;
}

/// What a record is to a sink.
#[derive(Clone, Debug)]
pub enum Found {
    /// A packet for it, in order behind all before it that have the same key.
    Deliver {
        /// The key.
        key: Arc<str>,
        /// The packet.
        packet: Packet,
    },
    /// Not for it.
    Pass,
}

/// A record that is refused for good.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// The sink's name.
    pub sink: &'a str,
    /// The number of the record.
    pub seq: Seq,
    /// When it was appended, in microseconds since 1970.
    pub stored_micros: u64,
    /// Why.
    pub why: &'a Error,
    /// Deliveries that it was in, since the forwarder read it.
    pub tries: u32,
    /// The record, as it was appended.
    pub record: &'a Bytes,
}
