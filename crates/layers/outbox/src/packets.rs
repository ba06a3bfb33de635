//! What the outbox's records are to its forwarder.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Result, Status};
use haul_journal::{Journal, Record};

use crate::forward::{Counts, Found, Records, Refused};
use crate::letter;
use crate::metrics::Meters;
use crate::record::{Codec, micros};

pub(crate) struct Packets {
    pub(crate) codec: Arc<Codec>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) journal: Journal,
}

impl Records for Packets {
    fn read(&self, record: &Record) -> Result<Found> {
        let (key, packet) = self.codec.decode(record.payload.clone())?;
        Ok(Found::Deliver { key: key.into(), packet })
    }

    fn expired(&self, stored_micros: u64) -> Option<Error> {
        let most = self.max_age?;
        let age = Duration::from_micros(micros(SystemTime::now()).saturating_sub(stored_micros));
        let why = || {
            let message =
                format!("it was not delivered for {} s; max_age is {} s", age.as_secs(), most.as_secs());
            Error::new(ErrorKind::Timeout, message).with_status(Status::Permanent)
        };
        (age > most).then(why)
    }

    fn note(&self, counts: Counts) {
        self.meters.note(counts, &self.journal);
    }

    fn bury(&self, refused: Refused<'_>) -> Result<Bytes> {
        letter::encode(&self.codec, &refused)
    }
}
