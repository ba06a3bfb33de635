//! Dead letters: events that a sink refused for good, with the reason, in a journal of their own.
//!
//! Record: `1 u8 | when refused, microseconds since 1970, u64 | the event's number u64 | sink: u16 length, bytes | kind
//! of error: u16 length, bytes | message: u16 length, bytes | the event's record`.

use std::time::{Duration, SystemTime};

use bytes::{Buf, BufMut, Bytes};
use haul_core::{Error, Result};
use haul_journal::Seq;

use crate::event::Event;
use crate::record::{self, cut, malformed, micros, put_long, take_long};

const VERSION: u8 = 1;

/// Longest reason that is kept, in bytes.
const MAX_MESSAGE: usize = 4096;

/// Most bytes that a dead letter has beside the event's record.
pub(crate) const OVERHEAD: usize = MAX_MESSAGE + 1024;

/// An event that a sink refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The sink.
    pub sink: String,
    /// The event's number in the log.
    pub seq: u64,
    /// When it was refused.
    pub at: SystemTime,
    /// The kind of the error, as [`ErrorKind::as_str`](haul_core::ErrorKind::as_str) has it.
    pub kind: String,
    /// Why it was refused.
    pub message: String,
    /// The event.
    pub event: Event,
}

pub(crate) fn encode(sink: &str, seq: Seq, why: &Error, event: &[u8]) -> Bytes {
    let message = why.to_string();
    let mut out = Vec::with_capacity(64 + sink.len() + message.len().min(MAX_MESSAGE) + event.len());
    out.put_u8(VERSION);
    out.put_u64(micros(SystemTime::now()));
    out.put_u64(seq.0);
    put_long(&mut out, sink);
    put_long(&mut out, why.kind().as_str());
    put_long(&mut out, cut(&message, MAX_MESSAGE));
    out.put_slice(event);
    out.into()
}

pub(crate) fn decode(mut bytes: Bytes) -> Result<DeadLetter> {
    if bytes.try_get_u8() != Ok(VERSION) {
        return Err(malformed("it is no dead letter of version 1"));
    }
    let (at, seq) = match (bytes.try_get_u64(), bytes.try_get_u64()) {
        (Ok(at), Ok(seq)) => (at, seq),
        _ => return Err(malformed("it ends inside its numbers")),
    };
    Ok(DeadLetter {
        at: SystemTime::UNIX_EPOCH + Duration::from_micros(at),
        seq,
        sink: take_long(&mut bytes)?,
        kind: take_long(&mut bytes)?,
        message: take_long(&mut bytes)?,
        event: record::decode(bytes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use haul_core::{ErrorKind, Packet};

    #[test]
    fn a_dead_letter_comes_back_with_its_reason_and_its_event() {
        let mut event = Event::new(Packet::binary(vec![0xff, 0]).with("session_id", "s"));
        event.received = SystemTime::UNIX_EPOCH;
        let record = record::encode(event.clone()).unwrap();
        let why = Error::new(ErrorKind::Rejected, "no such stream");
        let letter = decode(encode("redis", Seq(7), &why, &record)).unwrap();
        assert_eq!((letter.sink.as_str(), letter.seq), ("redis", 7));
        assert_eq!((letter.kind.as_str(), letter.message.as_str()), ("rejected", "no such stream"));
        assert_eq!(letter.event, event);
    }
}
