//! A packet as a record of the outbox's journal: `docs/wire/outbox.md`.
//!
//! `1 u8 | key: u16 length, bytes | the packet as a haul.v1 frame`, or that sealed.

use std::time::SystemTime;

use bytes::{Buf, Bytes};
use haul_core::wire::{self, Frame};
use haul_core::{Error, ErrorKind, Packet, Result};

use crate::seal::{self, Seal, other_key, sealed_by};

const PLAIN: u8 = 1;

/// Longest key of a packet, in bytes.
pub(crate) const MAX_KEY: usize = 1024;

/// Most bytes that a record has beside the payload.
pub(crate) const OVERHEAD: usize = wire::MAX_HEAD + MAX_KEY + 8 + seal::OVERHEAD;

/// Writes and reads what stands in the journals, sealed if there is a key.
#[derive(Default)]
pub(crate) struct Codec {
    pub(crate) seal: Option<Seal>,
}

impl Codec {
    /// Errors: `TooLarge` for the key or the metadata; nothing was sent.
    pub(crate) fn encode(&self, key: &str, packet: Packet) -> Result<Bytes> {
        if key.len() > MAX_KEY {
            let message = format!("a key of {} bytes; at most {MAX_KEY}", key.len());
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let mut out = Vec::with_capacity(64 + key.len() + packet.weight());
        out.push(PLAIN);
        put_text(&mut out, key);
        let frame = Frame::packet(packet);
        let payload = wire::encode_head(&frame, &mut out)?;
        out.extend_from_slice(payload);
        self.wrap(out)
    }

    pub(crate) fn decode(&self, record: Bytes) -> Result<(String, Packet)> {
        let mut plain = self.unwrap(record)?;
        if plain.try_get_u8() != Ok(PLAIN) {
            return Err(malformed("it is no packet of version 1"));
        }
        let key = take_text(&mut plain)?;
        match wire::decode(plain)? {
            Frame::Packet { packet, .. } => Ok((key, packet)),
            _ => Err(malformed("its frame is no packet")),
        }
    }

    /// `plain`, sealed if there is a key.
    pub(crate) fn wrap(&self, plain: Vec<u8>) -> Result<Bytes> {
        match &self.seal {
            Some(seal) => seal.seal(&plain),
            None => Ok(plain.into()),
        }
    }

    /// Undoes [`wrap`](Self::wrap). What was written before there was a key is plain.
    pub(crate) fn unwrap(&self, record: Bytes) -> Result<Bytes> {
        match (&self.seal, sealed_by(&record)) {
            (_, None) => Ok(record),
            (Some(seal), Some(_)) => seal.open(record),
            (None, Some(id)) => Err(other_key(id, None)),
        }
    }
}

/// `text` must be shorter than 64 KiB.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn take_text(record: &mut Bytes) -> Result<String> {
    let len = record.try_get_u16().map_err(|_| malformed("it ends before a text"))?;
    if record.len() < len as usize {
        return Err(malformed("it ends inside a text"));
    }
    let bytes = record.split_to(len as usize);
    std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| malformed("a text is not UTF-8"))
}

pub(crate) fn malformed(why: &str) -> Error {
    Error::new(ErrorKind::Codec, format!("malformed outbox record: {why}"))
}

/// Microseconds since 1970.
pub(crate) fn micros(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;

    fn sealing() -> Codec {
        let key = SecretKey::parse(&"7".repeat(64)).unwrap();
        Codec { seal: Some(Seal::new(&key).unwrap()) }
    }

    fn packet() -> Packet {
        Packet::text("hi").with("a", "1").with_id(haul_core::PacketId::from_bytes([7; 16]))
    }

    #[test]
    fn a_packet_comes_back_with_its_key_sealed_or_not() {
        for codec in [Codec::default(), sealing()] {
            let record = codec.encode("k", packet()).unwrap();
            assert_eq!(codec.decode(record).unwrap(), ("k".to_owned(), packet()));
        }
    }

    #[test]
    fn what_was_written_before_there_was_a_key_is_read_with_one_and_sealed_is_not_without() {
        let plain = Codec::default().encode("k", packet()).unwrap();
        assert!(sealing().decode(plain).is_ok());
        let sealed = sealing().encode("k", packet()).unwrap();
        assert_eq!(Codec::default().decode(sealed).unwrap_err().kind(), ErrorKind::Unauthorized);
    }

    #[test]
    fn the_bytes_are_those_of_the_description() {
        let record = Codec::default().encode("k", Packet::text("hi")).unwrap();
        assert_eq!(record, &b"\x01\0\x01k\x01hi"[..]);
    }

    #[test]
    fn a_record_cut_anywhere_is_an_error_or_a_shorter_payload_and_never_a_panic() {
        let codec = Codec::default();
        let whole = codec.encode("key", packet()).unwrap();
        for len in 0..whole.len() {
            if let Ok((_, shorter)) = codec.decode(whole.slice(..len)) {
                assert!(shorter.len() < packet().len(), "cut at {len}");
            }
        }
    }

    #[test]
    fn a_key_that_is_too_long_is_refused() {
        let error = Codec::default().encode(&"x".repeat(MAX_KEY + 1), packet()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}
