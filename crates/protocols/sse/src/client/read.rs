//! Reading halves: haul's frames out of events, and events as packets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use haul_core::wire::{Frame, Framing, SendBuf, StreamDecoder, WriteBuf};
use haul_core::{Encoder, Error, ErrorKind, Packet, ReadHalf, Result, WriteHalf};

use super::Events;
use crate::event::{Event, Item};
use crate::{give_back, words};

/// Frames of a haul peer: `data` is base64 of the next bytes of a stream of frames.
pub(crate) struct HaulRead {
    events: Events,
    bytes: BytesMut,
    decoder: StreamDecoder,
    /// The peer has said its close: there is no session any more.
    closed: Arc<AtomicBool>,
}

impl HaulRead {
    pub(crate) fn new(events: Events, max_packet: usize, closed: Arc<AtomicBool>) -> Self {
        let decoder = StreamDecoder::new(Framing::Haul, max_packet);
        Self { events, bytes: BytesMut::new(), decoder, closed }
    }
}

impl ReadHalf for HaulRead {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.bytes)? {
                if matches!(frame, Frame::Close(_)) {
                    self.closed.store(true, Ordering::Release);
                }
                return Poll::Ready(Ok(Some(frame)));
            }
            let Poll::Ready(next) = self.events.poll_next(cx) else {
                give_back(&mut self.bytes);
                return Poll::Pending;
            };
            match next? {
                Some(Item::Event(event)) if event.name.is_none() => {
                    let wrong =
                        |why| Error::new(ErrorKind::Protocol, format!("an event is not base64: {why}"));
                    let frames = STANDARD.decode(&event.data).map_err(wrong)?;
                    if self.bytes.is_empty() {
                        self.bytes = Bytes::from(frames).into();
                    } else {
                        self.bytes.extend_from_slice(&frames);
                    }
                }
                Some(Item::Event(event)) if event.name.as_deref() == Some(words::CUT) => {
                    self.closed.store(true, Ordering::Release);
                    return Poll::Ready(Err(Error::new(ErrorKind::Closed, "the peer cut the connection")));
                }
                Some(Item::Comment) => return Poll::Ready(Ok(Some(alive()))),
                Some(_) => {}
                None => {
                    let why = "the stream ended without a finish or close";
                    return Poll::Ready(Err(Error::new(ErrorKind::Closed, why)));
                }
            }
        }
    }

    fn take_arrived(&mut self, packets: &mut Vec<Packet>, most: usize) {
        self.decoder.take_arrived(&mut self.bytes, packets, most);
    }
}

/// A comment shows that the peer is there, as an answer to a ping does that nobody sent.
fn alive() -> Frame {
    Frame::Pong(Bytes::new())
}

/// Events of any server.
pub(crate) struct EventRead {
    events: Events,
    /// The names that are wanted; empty wants all.
    wanted: Vec<String>,
    max_packet: usize,
    /// What ends it, after the packets that were taken before.
    failed: Option<Error>,
}

impl EventRead {
    pub(crate) fn new(events: Events, wanted: Vec<String>, max_packet: usize) -> Self {
        Self { events, wanted, max_packet, failed: None }
    }

    /// The packet of an event; `None` for one that is not for the application. Errors: `TooLarge`.
    fn packet(&self, Event { name, data }: Event) -> Result<Option<Packet>> {
        let is = name.as_deref().unwrap_or("message");
        let unwanted = !self.wanted.is_empty() && !self.wanted.iter().any(|wanted| wanted == is);
        if unwanted || is == words::ANNOUNCE {
            return Ok(None);
        }
        if data.len() > self.max_packet {
            let why = format!("an event with {} bytes of data", data.len());
            return Err(Error::new(ErrorKind::TooLarge, why).with("max_packet", self.max_packet));
        }
        let mut packet = Packet::text_checked(data);
        if let Some(name) = name {
            packet = packet.with("event", name);
        }
        if !self.events.last_id().is_empty() {
            packet = packet.with("id", self.events.last_id().to_owned());
        }
        Ok(Some(packet))
    }
}

impl ReadHalf for EventRead {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        if let Some(why) = self.failed.take() {
            return Poll::Ready(Err(why));
        }
        Poll::Ready(match ready!(self.events.poll_next(cx))? {
            None => Ok(None),
            Some(Item::Event(event)) => Ok(Some(self.packet(event)?.map_or_else(alive, Frame::packet))),
            Some(_) => Ok(Some(alive())),
        })
    }

    fn take_arrived(&mut self, packets: &mut Vec<Packet>, most: usize) {
        let most = packets.len() + most;
        while packets.len() < most
            && self.failed.is_none()
            && let Some(item) = self.events.arrived()
        {
            let Item::Event(event) = item else { continue };
            match self.packet(event) {
                Ok(packet) => packets.extend(packet),
                Err(why) => self.failed = Some(why),
            }
        }
    }
}

/// Nothing goes back on an event stream of a server that is not haul's.
pub(crate) struct NoWay;

impl Encoder for NoWay {
    fn encode(&mut self, frame: &Frame, _: &mut WriteBuf) -> Result<()> {
        match frame {
            Frame::Packet { .. } => {
                let why = "this event stream has no way back: its server does not speak haul.v1; send by http:// or ws://";
                Err(Error::new(ErrorKind::Unsupported, why))
            }
            _ => Ok(()),
        }
    }
}

/// The writing half that goes with [`NoWay`].
pub(crate) struct NoWrite;

impl WriteHalf for NoWrite {
    fn poll_write(&mut self, _: &mut Context<'_>, _: &mut SendBuf) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
}
