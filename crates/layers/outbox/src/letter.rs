//! Dead letters: packets that are refused for good, with the reason, in a journal of their own.
//!
//! `1 u8 | when refused, microseconds since 1970, u64 | the packet's number u64 | when it was stored u64 | tries u32 |
//! kind of error: u16 length, bytes | message: u16 length, bytes | the packet's record`, or that sealed; and marks,
//! `3 u8 | number of the letter u64`, which say that a letter was replayed or purged.

use std::time::{Duration, SystemTime};

use bytes::{Buf, BufMut, Bytes};
use haul_core::{Packet, Result};

use crate::forward::Refused;
use crate::record::{Codec, malformed, micros, put_text, take_text};

const VERSION: u8 = 1;
const MARK: u8 = 3;

/// Longest reason that is kept, in bytes.
const MAX_MESSAGE: usize = 4096;

/// Most bytes that a dead letter has beside the packet's record.
pub(crate) const OVERHEAD: usize = MAX_MESSAGE + 1024;

/// A packet that the sink refused for good, or that has waited too long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its number among the dead letters.
    pub id: u64,
    /// The number that the packet had in the outbox.
    pub seq: u64,
    /// When the packet was stored.
    pub stored: SystemTime,
    /// When it was refused.
    pub at: SystemTime,
    /// Deliveries that it was in, since the outbox was opened.
    pub tries: u32,
    /// The kind of the error, as [`ErrorKind::as_str`](haul_core::ErrorKind::as_str) has it.
    pub kind: String,
    /// Why it was refused.
    pub message: String,
    /// What orders the packet.
    pub key: String,
    /// The packet.
    pub packet: Packet,
}

/// What stands in the journal of dead letters.
pub(crate) enum Record {
    Letter(Box<DeadLetter>, Bytes),
    /// The letter of this number is settled.
    Settled(u64),
}

pub(crate) fn encode(codec: &Codec, refused: &Refused<'_>) -> Result<Bytes> {
    let message = refused.why.to_string();
    let mut out = Vec::with_capacity(64 + message.len().min(MAX_MESSAGE) + refused.record.len());
    out.put_u8(VERSION);
    out.put_u64(micros(SystemTime::now()));
    out.put_u64(refused.seq.0);
    out.put_u64(refused.stored_micros);
    out.put_u32(refused.tries);
    put_text(&mut out, refused.why.kind().as_str());
    put_text(&mut out, &message[..message.floor_char_boundary(MAX_MESSAGE)]);
    out.put_slice(refused.record);
    codec.wrap(out)
}

/// The letter of this number is settled.
pub(crate) fn mark(id: u64) -> Bytes {
    let mut out = vec![MARK];
    out.put_u64(id);
    out.into()
}

pub(crate) fn is_mark(record: &[u8]) -> bool {
    record.first() == Some(&MARK)
}

/// Reads the record `id`; a letter comes with the packet's own record.
pub(crate) fn decode(codec: &Codec, id: u64, record: Bytes) -> Result<Record> {
    if is_mark(&record) {
        let number = record.slice(1..).try_get_u64().map_err(|_| malformed("it ends inside a mark"))?;
        return Ok(Record::Settled(number));
    }
    let mut plain = codec.unwrap(record)?;
    if plain.try_get_u8() != Ok(VERSION) {
        return Err(malformed("it is no dead letter of version 1"));
    }
    let cut = |_| malformed("it ends inside its numbers");
    let at = plain.try_get_u64().map_err(cut)?;
    let seq = plain.try_get_u64().map_err(cut)?;
    let stored = plain.try_get_u64().map_err(cut)?;
    let tries = plain.try_get_u32().map_err(cut)?;
    let (kind, message) = (take_text(&mut plain)?, take_text(&mut plain)?);
    let (key, packet) = codec.decode(plain.clone())?;
    let (stored, at) = (time(stored), time(at));
    let letter = DeadLetter { id, seq, stored, at, tries, kind, message, key, packet };
    Ok(Record::Letter(Box::new(letter), plain))
}

fn time(micros: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use haul_core::{Error, ErrorKind};
    use haul_journal::Seq;

    #[test]
    fn a_dead_letter_comes_back_with_its_reason_and_its_packet() {
        let codec = Codec::default();
        let packet = Packet::binary(vec![0xff, 0]).with("a", "1");
        let record = codec.encode("k", packet.clone()).unwrap();
        let why = Error::new(ErrorKind::Rejected, "no such stream");
        let refused =
            Refused { sink: "s", seq: Seq(7), stored_micros: 5, why: &why, tries: 3, record: &record };
        let Record::Letter(letter, inside) = decode(&codec, 9, encode(&codec, &refused).unwrap()).unwrap()
        else {
            panic!("it is a letter");
        };
        assert_eq!((letter.id, letter.seq, letter.tries, letter.key.as_str()), (9, 7, 3, "k"));
        assert_eq!((letter.kind.as_str(), letter.message.as_str()), ("rejected", "no such stream"));
        assert_eq!((&letter.packet, inside, letter.stored), (&packet, record, time(5)));
    }

    #[test]
    fn a_mark_names_its_letter() {
        assert!(matches!(decode(&Codec::default(), 2, mark(1)).unwrap(), Record::Settled(1)));
        assert!(decode(&Codec::default(), 2, mark(1).slice(..5)).is_err());
    }
}
