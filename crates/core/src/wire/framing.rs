//! How packets are told apart on a byte stream: haul's frames, or what strangers speak.

use std::fmt;
use std::str::FromStr;

use bytes::{Buf, Bytes, BytesMut};

use super::{Frame, MAX_HEAD, WriteBuf, decode, encode_prefixed};
use crate::link::Encoder;
use crate::{Error, ErrorKind, Info, Packet, Result};

/// How packets are told apart on a byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Framing {
    /// `haul.v1` frames after a preface from both ends: everything a packet has travels.
    #[default]
    Haul,
    /// A packet is a line, ended by LF. Received lines are text if they are UTF-8, binary otherwise; a CR before the
    /// LF is part of the packet. A last line without LF is a packet too.
    Lines,
    /// A packet is its length (`u32`, big-endian) and its bytes; received packets are binary.
    Length,
    /// Bytes as they come: a received packet is what one read gave; packet boundaries are not kept.
    Raw,
}

impl Framing {
    /// The name, as options and `Info` have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Haul => super::PROTOCOL,
            Self::Lines => "lines",
            Self::Length => "length",
            Self::Raw => "raw",
        }
    }

    /// Sets in `info` what this framing can carry.
    pub fn describe(self, info: &mut Info) {
        let haul = self == Self::Haul;
        info.framing = self.as_str();
        (info.receipts, info.metadata, info.kinds, info.pings) = (haul, haul, haul, haul);
        info.close_frames = haul;
        info.half_close = true;
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Framing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Haul, Self::Lines, Self::Length, Self::Raw];
        let found = all.into_iter().find(|framing| framing.as_str() == text);
        found.ok_or_else(|| "a framing is haul.v1, lines, length or raw".to_owned())
    }
}

/// Encodes frames onto a byte stream.
#[derive(Debug)]
pub struct StreamEncoder(Framing);

impl StreamEncoder {
    /// An encoder for `framing`.
    pub fn new(framing: Framing) -> Self {
        Self(framing)
    }
}

impl Encoder for StreamEncoder {
    fn encode(&mut self, frame: &Frame, out: &mut WriteBuf) -> Result<()> {
        if self.0 == Framing::Haul {
            return encode_prefixed(frame, out);
        }
        let packet = match frame {
            Frame::Packet { packet, .. } => packet,
            // A stranger's stream ends by its own end.
            Frame::Finish | Frame::Close(_) => return Ok(()),
            Frame::Receipt { .. } | Frame::Note(_) | Frame::Ping(_) | Frame::Pong(_) => {
                return Err(self.cannot("receipts, notes or pings"));
            }
        };
        if !packet.metadata().is_empty() {
            return Err(self.cannot("metadata"));
        }
        let payload = packet.payload();
        match self.0 {
            Framing::Lines if memchr::memchr(b'\n', payload).is_some() => {
                return Err(Error::new(
                    ErrorKind::Codec,
                    "a packet with a line feed would arrive as two on framing lines; use length or haul.v1",
                ));
            }
            Framing::Lines => {
                out.put_ref(payload);
                out.tail().push(b'\n');
            }
            Framing::Length => {
                let len = u32::try_from(payload.len())
                    .map_err(|_| Error::new(ErrorKind::TooLarge, "framing length carries less than 4 GiB"))?;
                out.tail().extend_from_slice(&len.to_be_bytes());
                out.put_ref(payload);
            }
            Framing::Raw | Framing::Haul => out.put_ref(payload),
        }
        Ok(())
    }
}

impl StreamEncoder {
    fn cannot(&self, what: &str) -> Error {
        let message = format!("framing {} carries no {what}; haul.v1 does", self.0);
        Error::new(ErrorKind::Unsupported, message)
    }
}

/// Takes frames out of the bytes of a stream.
#[derive(Debug)]
pub struct StreamDecoder {
    framing: Framing,
    max_packet: usize,
    /// Bytes of an unfinished line that were searched already.
    searched: usize,
}

impl StreamDecoder {
    /// A decoder for `framing` that refuses packets above `max_packet` bytes.
    pub fn new(framing: Framing, max_packet: usize) -> Self {
        Self { framing, max_packet, searched: 0 }
    }

    /// The next frame in `bytes`; `None` if more must come.
    ///
    /// Errors: `TooLarge` as soon as a length is announced that is above the bound, and [`decode`]'s.
    #[inline]
    pub fn next(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>> {
        match self.framing {
            Framing::Haul => self.next_prefixed(bytes, self.max_packet.saturating_add(MAX_HEAD), decode),
            Framing::Length => self
                .next_prefixed(bytes, self.max_packet, |payload| Ok(Frame::packet(Packet::binary(payload)))),
            Framing::Lines => self.next_line(bytes),
            Framing::Raw if bytes.is_empty() => Ok(None),
            Framing::Raw => {
                let len = bytes.len().min(self.max_packet);
                Ok(Some(Frame::packet(Packet::binary(bytes.split_to(len)))))
            }
        }
    }

    /// Appends packets that are whole in `bytes` and only a payload, in order and at most `most`; stops before all else.
    #[inline]
    pub fn take_arrived(&mut self, bytes: &mut BytesMut, packets: &mut Vec<Packet>, most: usize) {
        if self.framing != Framing::Haul {
            return;
        }
        for _ in 0..most {
            let Some(&[a, b, c, d, 0]) = bytes.first_chunk() else { return };
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            if len == 0 || len > self.max_packet || bytes.len() < 4 + len {
                return;
            }
            let mut payload = bytes.split_to(4 + len).freeze();
            payload.advance(5);
            packets.push(Packet::binary(payload));
        }
    }

    /// What is left when the stream ends: a last line. Errors: `Closed` if it ended inside a packet.
    pub fn finish(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>> {
        match self.framing {
            Framing::Haul if bytes.is_empty() => {
                Err(Error::new(ErrorKind::Closed, "the stream ended without a finish or close"))
            }
            _ if bytes.is_empty() => Ok(None),
            Framing::Lines => Ok(Some(line(bytes.split().freeze()))),
            _ => Err(Error::new(
                ErrorKind::Closed,
                format!("the stream ended {} bytes into a packet", bytes.len()),
            )),
        }
    }

    /// How many bytes of the packet that has begun are still to come, as far as is known.
    pub fn missing(&self, bytes: &BytesMut) -> usize {
        match self.framing {
            Framing::Haul | Framing::Length if bytes.len() >= 4 => {
                let len = (&bytes[..4]).get_u32() as usize;
                (len + 4).saturating_sub(bytes.len())
            }
            _ => 0,
        }
    }

    #[inline]
    fn next_prefixed(
        &self,
        bytes: &mut BytesMut,
        max: usize,
        decode: impl FnOnce(Bytes) -> Result<Frame>,
    ) -> Result<Option<Frame>> {
        if bytes.len() < 4 {
            return Ok(None);
        }
        let len = (&bytes[..4]).get_u32() as usize;
        if len > max {
            return Err(self.too_large(len));
        }
        if bytes.len() < 4 + len {
            return Ok(None);
        }
        bytes.advance(4);
        let frame = decode(bytes.split_to(len).freeze())?;
        match &frame {
            Frame::Packet { packet, .. } if packet.len() > self.max_packet => {
                Err(self.too_large(packet.len()))
            }
            _ => Ok(Some(frame)),
        }
    }

    fn next_line(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>> {
        match memchr::memchr(b'\n', &bytes[self.searched..]).map(|at| self.searched + at) {
            Some(end) if end <= self.max_packet => {
                self.searched = 0;
                let payload = bytes.split_to(end).freeze();
                bytes.advance(1);
                Ok(Some(line(payload)))
            }
            None if bytes.len() <= self.max_packet => {
                self.searched = bytes.len();
                Ok(None)
            }
            found => Err(self.too_large(found.unwrap_or(bytes.len()))),
        }
    }

    fn too_large(&self, len: usize) -> Error {
        let max = self.max_packet;
        Error::new(
            ErrorKind::TooLarge,
            format!("the peer sent a packet of {len} bytes or more; at most {max}"),
        )
    }
}

/// A line is text where it can be: nothing is lost either way.
fn line(payload: Bytes) -> Frame {
    let packet = Packet::text_from_utf8(payload.clone()).unwrap_or_else(|_| Packet::binary(payload));
    Frame::packet(packet)
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
