//! The `haul.v1` frame: `flags u8 | [id 16 B] | [metadata, MessagePack map] | payload`.

use bytes::{Buf, Bytes};

use super::control::{self, Control};
use super::{Frame, MAX_HEAD, WriteBuf};
use crate::{Error, ErrorKind, Kind, Metadata, Packet, PacketId, Result};

const TEXT: u8 = 0x01;
const ID: u8 = 0x02;
const METADATA: u8 = 0x04;
const WANTS_RECEIPT: u8 = 0x08;
const RECEIPT: u8 = 0x10;
const CONTROL: u8 = 0x20;
static EMPTY: Bytes = Bytes::new();
const KNOWN: u8 = TEXT | ID | METADATA | WANTS_RECEIPT | RECEIPT | CONTROL;

/// Appends `frame` to `out`, for protocols that keep message boundaries.
///
/// Errors: `TooLarge` for metadata above [`MAX_HEAD`]; nothing was appended then.
pub fn encode(frame: &Frame, out: &mut WriteBuf) -> Result<()> {
    let payload = encode_head(frame, out.tail())?;
    out.put_ref(payload);
    Ok(())
}

/// Appends `frame` to `out` after its length as a `u32`, big-endian, for byte streams.
///
/// Errors: as [`encode`], and `TooLarge` for a frame of 4 GiB.
#[inline]
pub fn encode_prefixed(frame: &Frame, out: &mut WriteBuf) -> Result<()> {
    if let Frame::Packet { packet, receipt: false } = frame
        && packet.id().is_none()
        && packet.metadata().is_empty()
        && let Ok(len) = u32::try_from(packet.len() + 1)
    {
        // Most packets are only a payload.
        let flags = if packet.kind() == Kind::Text { TEXT } else { 0 };
        let [a, b, c, d] = len.to_be_bytes();
        out.tail().extend_from_slice(&[a, b, c, d, flags]);
        out.put_ref(packet.payload());
        return Ok(());
    }
    let tail = out.tail();
    let start = tail.len();
    tail.extend_from_slice(&[0; 4]);
    let payload = encode_head(frame, tail).inspect_err(|_| tail.truncate(start))?;
    let len = tail.len() - start - 4 + payload.len();
    let Ok(len) = u32::try_from(len) else {
        tail.truncate(start);
        return Err(Error::new(ErrorKind::TooLarge, format!("a frame of {len} bytes; at most {}", u32::MAX)));
    };
    tail[start..start + 4].copy_from_slice(&len.to_be_bytes());
    out.put_ref(payload);
    Ok(())
}

/// Appends all but the payload to `out`, and answers the payload: for protocols that must know the length first.
///
/// Errors: as [`encode`].
pub fn encode_head<'a>(frame: &'a Frame, out: &mut Vec<u8>) -> Result<&'a Bytes> {
    match frame {
        Frame::Packet { packet, receipt } => encode_packet_head(packet, *receipt, out),
        Frame::Note(text) => {
            out.extend_from_slice(&[CONTROL, Control::Note as u8]);
            out.extend_from_slice(text.as_bytes());
            Ok(&EMPTY)
        }
        Frame::Receipt { id, outcome } => {
            out.push(RECEIPT | ID);
            out.extend_from_slice(id.as_bytes());
            control::encode_outcome(outcome, out);
            Ok(&EMPTY)
        }
        Frame::Ping(bytes) => encode_control(Control::Ping, bytes, out),
        Frame::Pong(bytes) => encode_control(Control::Pong, bytes, out),
        Frame::Finish => encode_control(Control::Finish, &EMPTY, out),
        Frame::Close(reason) => {
            out.push(CONTROL);
            control::encode_close(reason, out);
            Ok(&EMPTY)
        }
    }
}

fn encode_control<'a>(kind: Control, bytes: &'a Bytes, out: &mut Vec<u8>) -> Result<&'a Bytes> {
    out.extend_from_slice(&[CONTROL, kind as u8]);
    Ok(bytes)
}

fn encode_packet_head<'a>(packet: &'a Packet, receipt: bool, out: &mut Vec<u8>) -> Result<&'a Bytes> {
    let mut flags = if packet.kind() == Kind::Text { TEXT } else { 0 };
    if receipt {
        flags |= WANTS_RECEIPT;
    }
    if packet.id().is_some() {
        flags |= ID;
    }
    let metadata = packet.metadata();
    if metadata.is_empty() {
        out.push(flags);
        out.extend_from_slice(packet.id().as_ref().map_or(&[], |id| id.as_bytes().as_slice()));
        return Ok(packet.payload());
    }
    let start = out.len();
    out.push(flags | METADATA);
    out.extend_from_slice(packet.id().as_ref().map_or(&[], |id| id.as_bytes().as_slice()));
    encode_metadata(metadata, out);
    let head = out.len() - start;
    if head > MAX_HEAD {
        out.truncate(start);
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("metadata makes a head of {head} bytes; at most {MAX_HEAD}"),
        ));
    }
    Ok(packet.payload())
}

fn encode_metadata(metadata: &Metadata, out: &mut Vec<u8>) {
    let count = u32::try_from(metadata.len()).unwrap_or(u32::MAX);
    let written = rmp::encode::write_map_len(out, count).map(drop).and_then(|()| {
        metadata.iter().try_for_each(|(name, value)| {
            rmp::encode::write_str(out, name)?;
            rmp::encode::write_str(out, value)
        })
    });
    written.expect("writing to a vector cannot fail");
}

/// Decodes one whole frame.
///
/// Errors: `Protocol` with what is wrong: unknown flag bits, a frame cut short, metadata that is no map of text to
/// text; `Codec` for text that is not UTF-8.
#[inline]
pub fn decode(mut frame: Bytes) -> Result<Frame> {
    if frame.first() == Some(&0) {
        // Most packets are only a payload.
        frame.advance(1);
        return Ok(Frame::packet(Packet::binary(frame)));
    }
    decode_flagged(frame)
}

fn decode_flagged(mut frame: Bytes) -> Result<Frame> {
    let flags = frame.try_get_u8().map_err(|_| malformed("it is empty"))?;
    if flags & !KNOWN != 0 {
        return Err(malformed(format!("unknown flag bits {:#04x}", flags & !KNOWN)));
    }
    if flags & CONTROL != 0 {
        return match flags {
            CONTROL => control::decode(frame),
            _ => Err(malformed("a control frame with further flags")),
        };
    }
    let id = if flags & ID != 0 { Some(decode_id(&mut frame)?) } else { None };
    if flags & RECEIPT != 0 {
        return match (flags, id) {
            (_, Some(id)) if flags == RECEIPT | ID => {
                Ok(Frame::Receipt { id, outcome: control::decode_outcome(id, frame)? })
            }
            _ => Err(malformed("a receipt has an id and no further flags")),
        };
    }
    let receipt = flags & WANTS_RECEIPT != 0;
    if receipt && id.is_none() {
        return Err(malformed("a receipt is wanted but there is no id"));
    }
    let room = MAX_HEAD - 1 - id.map_or(0, |id| id.as_bytes().len());
    let metadata = if flags & METADATA != 0 { decode_metadata(&mut frame, room)? } else { Metadata::new() };
    let packet = if flags & TEXT != 0 { Packet::text_from_utf8(frame)? } else { Packet::binary(frame) };
    let packet = packet.with_metadata(metadata);
    let packet = match id {
        Some(id) => packet.with_id(id),
        None => packet,
    };
    Ok(Frame::Packet { packet, receipt })
}

fn decode_id(frame: &mut Bytes) -> Result<PacketId> {
    if frame.len() < 16 {
        return Err(malformed("it ends inside the id"));
    }
    let mut id = [0; 16];
    frame.copy_to_slice(&mut id);
    Ok(PacketId::from_bytes(id))
}

fn decode_metadata(frame: &mut Bytes, room: usize) -> Result<Metadata> {
    let wrong = |_| malformed("metadata is not a MessagePack map of text to text");
    let whole: &[u8] = &frame[..frame.len().min(room)];
    let mut rest = whole;
    let count = rmp::decode::read_map_len(&mut rest).map_err(|_| wrong(()))?;
    let mut metadata = Metadata::new();
    for _ in 0..count {
        let (name, after) = rmp::decode::read_str_from_slice(rest).map_err(|_| wrong(()))?;
        let (value, after) = rmp::decode::read_str_from_slice(after).map_err(|_| wrong(()))?;
        if metadata.set(name.to_owned(), value.to_owned()).is_some() {
            return Err(malformed(format!("metadata has {name:?} twice")));
        }
        rest = after;
    }
    let read = whole.len() - rest.len();
    frame.advance(read);
    Ok(metadata)
}

pub(super) fn malformed(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Protocol, format!("malformed haul.v1 frame: {why}"))
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
