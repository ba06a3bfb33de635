//! An event as a record of the journal.
//!
//! `1 u8 | received, microseconds since 1970, u64 | session: u16 length, bytes | protocol: u8 length, bytes | peer:
//! u16 length, bytes | the packet as a haul.v1 frame`; numbers are big-endian, texts UTF-8.

use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use haul_core::wire::{self, Frame};
use haul_core::{Error, ErrorKind, Packet, Result};

use crate::event::{Event, MAX_SESSION};

const VERSION: u8 = 1;

/// Most bytes that a record has beside the payload.
pub(crate) const OVERHEAD: usize = wire::MAX_HEAD + MAX_SESSION + 2048;

const MAX_PEER: usize = 512;

pub(crate) fn encode(event: Event) -> Result<Bytes> {
    if event.session.len() > MAX_SESSION {
        let message = format!("a session id of {} bytes; at most {MAX_SESSION}", event.session.len());
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    let mut out = Vec::with_capacity(64 + event.session.len() + event.peer.len() + event.packet.weight());
    out.push(VERSION);
    out.extend_from_slice(&micros(event.received).to_be_bytes());
    put_long(&mut out, &event.session);
    let protocol = cut(&event.protocol, u8::MAX as usize);
    out.push(protocol.len() as u8);
    out.extend_from_slice(protocol.as_bytes());
    put_long(&mut out, cut(&event.peer, MAX_PEER));
    let frame = Frame::packet(event.packet);
    let payload = wire::encode_head(&frame, &mut out)?;
    out.extend_from_slice(payload);
    Ok(out.into())
}

pub(crate) fn decode(mut record: Bytes) -> Result<Event> {
    match record.first() {
        Some(&VERSION) => record.advance(1),
        Some(version) => {
            let message = format!("event record of version {version}; this haul reads {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        None => return Err(malformed("it is empty")),
    }
    let received = record.try_get_u64().map_err(|_| malformed("it ends inside the time"))?;
    let session = take_long(&mut record)?;
    let protocol = match record.try_get_u8() {
        Ok(len) => text(&mut record, len as usize)?,
        Err(_) => return Err(malformed("it ends before the protocol")),
    };
    let peer = take_long(&mut record)?;
    Ok(Event {
        session,
        packet: decode_packet(record)?,
        received: SystemTime::UNIX_EPOCH + Duration::from_micros(received),
        protocol,
        peer,
    })
}

fn decode_packet(frame: Bytes) -> Result<Packet> {
    match wire::decode(frame)? {
        Frame::Packet { packet, .. } => Ok(packet),
        _ => Err(malformed("its frame is no packet")),
    }
}

pub(crate) fn micros(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The beginning of `text`, at most `most` bytes.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// `text` must be shorter than 64 KiB.
pub(crate) fn put_long(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn take_long(record: &mut Bytes) -> Result<String> {
    let len = record.try_get_u16().map_err(|_| malformed("it ends before a length"))?;
    text(record, len as usize)
}

fn text(record: &mut Bytes, len: usize) -> Result<String> {
    if record.len() < len {
        return Err(malformed("it ends inside a text"));
    }
    let bytes = record.split_to(len);
    std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| malformed("a text is not UTF-8"))
}

pub(crate) fn malformed(why: &str) -> Error {
    Error::new(ErrorKind::Codec, format!("malformed event record: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let mut event =
            Event::new(Packet::text("hi").with("a", "1").with_id(haul_core::PacketId::from_bytes([7; 16])))
                .in_session("../../x");
        (event.protocol, event.peer) = ("ws".into(), "127.0.0.1:9".into());
        event.received = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        event
    }

    #[test]
    fn an_event_comes_back_as_it_was() {
        assert_eq!(decode(encode(event()).unwrap()).unwrap(), event());
    }

    #[test]
    fn the_bytes_are_those_of_the_description() {
        let mut event = Event::new(Packet::text("hi")).in_session("s");
        (event.protocol, event.peer) = ("ws".into(), "p:1".into());
        event.received = SystemTime::UNIX_EPOCH + Duration::from_micros(258);
        let golden = b"\x01\0\0\0\0\0\0\x01\x02\0\x01s\x02ws\0\x03p:1\x01hi";
        assert_eq!(encode(event).unwrap(), &golden[..]);
    }

    #[test]
    fn a_record_cut_anywhere_is_an_error_or_a_shorter_payload_and_never_a_panic() {
        let whole = encode(event()).unwrap();
        for len in 0..whole.len() {
            if let Ok(shorter) = decode(whole.slice(..len)) {
                assert!(shorter.packet.len() < event().packet.len(), "cut at {len}");
            }
        }
    }

    #[test]
    fn a_session_id_that_is_too_long_is_refused() {
        let event = Event::new(Packet::text("")).in_session("x".repeat(MAX_SESSION + 1));
        assert_eq!(encode(event).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
