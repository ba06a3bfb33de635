//! WebSocket frames (RFC 6455 section 5) to and from haul's frames. Headers are tungstenite's; buffers are ours: its own
//! read buffer is zeroed at each read and reserves an announced length before a byte of it came.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use haul_core::wire::{self, Frame, WriteBuf};
use haul_core::{CloseReason, Encoder, Error, ErrorKind, Kind, Packet, Result};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// What the messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Each binary message is a haul frame.
    Haul,
    /// Each message is a payload.
    Plain,
}

/// What the two directions of a WebSocket know of one another.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    /// The peer pings in binary messages, as pages do: browsers show them no others.
    pings_in_messages: AtomicBool,
    /// A close frame was encoded here.
    close_said: AtomicBool,
    /// The peer's came.
    close_heard: AtomicBool,
}

impl Talk {
    /// Whether the stream below may end: after a close frame the peer's is waited for (RFC 6455 section 7.1.1).
    pub(crate) fn is_over(&self) -> bool {
        self.close_said.load(Ordering::Relaxed) && self.close_heard.load(Ordering::Relaxed)
    }
}

/// Encodes haul's frames as WebSocket frames.
pub(crate) struct WsEncoder {
    role: Role,
    speech: Speech,
    head: Vec<u8>,
    talk: Arc<Talk>,
}

impl WsEncoder {
    pub(crate) fn new(role: Role, speech: Speech) -> Self {
        Self { role, speech, head: Vec::new(), talk: Arc::default() }
    }

    /// The encoder that answers what `decoder` hears.
    pub(crate) fn answering(mut self, decoder: &WsDecoder) -> Self {
        self.talk = decoder.talk.clone();
        self
    }

    #[inline]
    fn put_message(&mut self, frame: &Frame, out: &mut WriteBuf) -> Result<()> {
        let payload = wire::encode_head(frame, &mut self.head)?;
        self.put(OpCode::Data(Data::Binary), payload, out);
        Ok(())
    }

    /// Appends a frame whose payload is `self.head` and then `payload`.
    #[inline]
    fn put(&mut self, opcode: OpCode, payload: &Bytes, out: &mut WriteBuf) {
        let mask = (self.role == Role::Client).then(rand::random::<[u8; 4]>);
        let header = FrameHeader { opcode, mask, ..FrameHeader::default() };
        let tail = out.tail();
        let len = (self.head.len() + payload.len()) as u64;
        header.format(len, tail).expect("writing to a vector cannot fail");
        let start = tail.len();
        tail.extend_from_slice(&self.head);
        match mask {
            None => out.put_ref(payload),
            Some(mask) => {
                tail.extend_from_slice(payload);
                apply_mask(&mut tail[start..], mask);
            }
        }
    }

    #[inline]
    fn put_packet(&mut self, packet: &Packet, out: &mut WriteBuf) -> Result<()> {
        if !packet.metadata().is_empty() {
            return Err(cannot("metadata"));
        }
        let opcode = match packet.kind() {
            Kind::Text => Data::Text,
            Kind::Binary => Data::Binary,
        };
        self.put(OpCode::Data(opcode), packet.payload(), out);
        Ok(())
    }
}

impl Encoder for WsEncoder {
    fn encode(&mut self, frame: &Frame, out: &mut WriteBuf) -> Result<()> {
        self.head.clear();
        match (self.speech, frame) {
            (_, Frame::Ping(bytes)) => self.put(OpCode::Control(Control::Ping), bytes, out),
            (_, Frame::Pong(bytes)) => {
                self.put(OpCode::Control(Control::Pong), bytes, out);
                if self.talk.pings_in_messages.load(Ordering::Relaxed) {
                    self.put_message(frame, out)?;
                }
            }
            (_, Frame::Close(reason)) => {
                if reason.code != 1005 {
                    self.head.extend_from_slice(&reason.code.to_be_bytes());
                    self.head.extend_from_slice(reason.message.as_bytes());
                }
                self.put(OpCode::Control(Control::Close), &Bytes::new(), out);
                self.talk.close_said.store(true, Ordering::Relaxed);
            }
            (Speech::Haul, frame) => self.put_message(frame, out)?,
            (Speech::Plain, Frame::Packet { packet, .. }) => self.put_packet(packet, out)?,
            // A plain WebSocket has no half-close: this begins the close.
            (Speech::Plain, Frame::Finish) => return self.encode(&Frame::Close(CloseReason::NORMAL), out),
            (Speech::Plain, Frame::Receipt { .. } | Frame::Note(_)) => {
                return Err(cannot("receipts or notes"));
            }
        }
        Ok(())
    }
}

fn cannot(what: &str) -> Error {
    let message = format!("a WebSocket without subprotocol haul.v1 carries no {what}");
    Error::new(ErrorKind::Unsupported, message)
}

/// Takes haul's frames out of WebSocket frames, joining fragments.
pub(crate) struct WsDecoder {
    role: Role,
    speech: Speech,
    max_packet: usize,
    /// Largest message: a packet and the head of a haul frame.
    max_message: usize,
    header: Option<(FrameHeader, usize)>,
    /// The message whose fragments are being joined.
    partial: Option<(Data, BytesMut)>,
    talk: Arc<Talk>,
}

impl WsDecoder {
    pub(crate) fn new(role: Role, speech: Speech, max_packet: usize) -> Self {
        let head = if speech == Speech::Haul { wire::MAX_HEAD } else { 0 };
        Self {
            role,
            speech,
            max_packet,
            max_message: max_packet.saturating_add(head),
            header: None,
            partial: None,
            talk: Arc::default(),
        }
    }

    /// What the direction back is to know.
    pub(crate) fn talk(&self) -> Arc<Talk> {
        self.talk.clone()
    }

    /// How many bytes of the frame that has begun are still to come.
    pub(crate) fn missing(&self, bytes: &BytesMut) -> usize {
        self.header.as_ref().map_or(0, |(_, len)| len.saturating_sub(bytes.len()))
    }

    /// The next frame in `bytes`; `None` if more must come.
    #[inline]
    pub(crate) fn next(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>> {
        loop {
            if self.header.is_none() {
                self.header = self.next_header(bytes)?;
            }
            match &self.header {
                Some((_, len)) if bytes.len() >= *len => {}
                _ => return Ok(None),
            }
            let Some((header, len)) = self.header.take() else {
                return Ok(None);
            };
            let mut payload = bytes.split_to(len);
            if let Some(mask) = header.mask {
                apply_mask(&mut payload, mask);
            }
            if let Some(frame) = self.accept(header, payload)? {
                return Ok(Some(frame));
            }
        }
    }

    /// Appends packets that are whole in `bytes`, each a binary message of less than 64 KiB and only a payload, in order and at most
    /// `most`; stops before all else.
    #[inline]
    pub(crate) fn take_arrived(&mut self, bytes: &mut BytesMut, packets: &mut Vec<Packet>, most: usize) {
        if self.header.is_some() || self.partial.is_some() {
            return;
        }
        let masked = self.role == Role::Server;
        for _ in 0..most {
            // A binary message in one frame, with a length of seven or sixteen bits.
            let (masks, len, at) = match bytes[..] {
                [0x82, short, ..] if short & 0x7f < 126 => (short & 0x80 != 0, (short & 0x7f) as usize, 2),
                [0x82, long, a, b, ..] if long & 0x7f == 126 => {
                    (long & 0x80 != 0, u16::from_be_bytes([a, b]) as usize, 4)
                }
                _ => return,
            };
            if masks != masked || len > self.max_packet {
                return;
            }
            let (head, mask) = match bytes[at..] {
                _ if !masked => (at, [0; 4]),
                [a, b, c, d, ..] => (at + 4, [a, b, c, d]),
                _ => return,
            };
            let skip = match self.speech {
                Speech::Plain => 0,
                Speech::Haul if bytes.get(head).is_some_and(|flags| flags ^ mask[0] == 0) => 1,
                Speech::Haul => return,
            };
            if bytes.len() < head + len || len < skip {
                return;
            }
            let mut frame = bytes.split_to(head + len);
            if masked {
                apply_mask(&mut frame[head..], mask);
            }
            let mut payload = frame.freeze();
            payload.advance(head + skip);
            packets.push(Packet::binary(payload));
        }
    }

    #[inline]
    fn next_header(&self, bytes: &mut BytesMut) -> Result<Option<(FrameHeader, usize)>> {
        let mut cursor = Cursor::new(&bytes[..]);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|why| broken(why.to_string()))?;
        let Some((header, len)) = parsed else {
            return Ok(None);
        };
        let read = cursor.position() as usize;
        bytes.advance(read);
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(broken("reserved bits are set and no extension was agreed"));
        }
        match (self.role, header.mask) {
            (Role::Server, None) => return Err(broken("a client's frame is not masked")),
            (Role::Client, Some(_)) => return Err(broken("a server's frame is masked")),
            _ => {}
        }
        match header.opcode {
            OpCode::Control(Control::Reserved(code)) => {
                return Err(broken(format!("unknown control opcode {code}")));
            }
            OpCode::Data(Data::Reserved(code)) => return Err(broken(format!("unknown data opcode {code}"))),
            OpCode::Control(_) if !header.is_final => return Err(broken("a control frame in fragments")),
            OpCode::Control(_) if len > 125 => {
                return Err(broken(format!("a control frame of {len} bytes; at most 125")));
            }
            _ => {}
        }
        let joined = self.partial.as_ref().map_or(0, |(_, begun)| begun.len()) as u64;
        if len.saturating_add(joined) > self.max_message as u64 {
            return Err(self.too_large(len.saturating_add(joined)));
        }
        Ok(Some((header, len as usize)))
    }

    #[inline]
    fn accept(&mut self, header: FrameHeader, payload: BytesMut) -> Result<Option<Frame>> {
        match (header.opcode, header.is_final, self.partial.take()) {
            (OpCode::Control(control), _, partial) => {
                self.partial = partial;
                let frame = control_frame(control, payload.freeze())?;
                if matches!(frame, Frame::Close(_)) {
                    self.talk.close_heard.store(true, Ordering::Relaxed);
                }
                Ok(Some(frame))
            }
            (OpCode::Data(Data::Continue), _, None) => Err(broken("a continuation of nothing")),
            (OpCode::Data(Data::Continue), fin, Some((data, mut begun))) => {
                begun.extend_from_slice(&payload);
                if fin {
                    return self.message(data, begun.freeze()).map(Some);
                }
                self.partial = Some((data, begun));
                Ok(None)
            }
            (OpCode::Data(_), _, Some(_)) => Err(broken("a new message inside another's fragments")),
            (OpCode::Data(data), true, None) => self.message(data, payload.freeze()).map(Some),
            (OpCode::Data(data), false, None) => {
                self.partial = Some((data, payload));
                Ok(None)
            }
        }
    }

    fn too_large(&self, len: u64) -> Error {
        let message = format!("the peer sent a message of {len} bytes or more");
        Error::new(ErrorKind::TooLarge, message).with("max_packet", self.max_packet)
    }

    #[inline]
    fn message(&self, data: Data, payload: Bytes) -> Result<Frame> {
        match (self.speech, data) {
            (Speech::Haul, Data::Binary) => match wire::decode(payload)? {
                Frame::Packet { packet, .. } if packet.len() > self.max_packet => {
                    Err(self.too_large(packet.len() as u64))
                }
                // A WebSocket says its close in a frame of its own (RFC 6455 section 5.5.1).
                Frame::Close(_) => Err(broken("a close in a binary message")),
                frame => {
                    if matches!(frame, Frame::Ping(_)) {
                        self.talk.pings_in_messages.store(true, Ordering::Relaxed);
                    }
                    Ok(frame)
                }
            },
            (Speech::Haul, _) => Err(broken("a text message where subprotocol haul.v1 has binary ones")),
            (Speech::Plain, Data::Text) => Packet::text_from_utf8(payload).map(Frame::packet),
            (Speech::Plain, _) => Ok(Frame::packet(Packet::binary(payload))),
        }
    }
}

/// RFC 6455 sections 5.5 and 7.4.
fn control_frame(control: Control, mut payload: Bytes) -> Result<Frame> {
    match control {
        Control::Ping => return Ok(Frame::Ping(payload)),
        Control::Pong => return Ok(Frame::Pong(payload)),
        _ if payload.is_empty() => return Ok(Frame::Close(CloseReason::new(1005, ""))),
        _ => {}
    }
    let code = payload.try_get_u16().map_err(|_| broken("a close code of one byte"))?;
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(broken(format!("close code {code} may not be sent")));
    }
    let message = String::from_utf8(payload.to_vec());
    let message = message.map_err(|_| Error::new(ErrorKind::Codec, "a close reason is not UTF-8"))?;
    Ok(Frame::Close(CloseReason::new(code, message)))
}

fn broken(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Protocol, format!("malformed WebSocket frame: {why}"))
}

/// RFC 6455 section 5.3, eight bytes at a time.
#[inline]
fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
