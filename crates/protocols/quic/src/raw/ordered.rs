//! The two halves of an ordered stream and its datagrams, or of a channel of datagrams and its stream.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use haul_core::wire::{Frame, Framing, PREFACE, SendBuf, decode};
use haul_core::{BoxFuture, CloseReason, Error, ErrorKind, Packet, ReadHalf, Result, StreamRead, WriteHalf};
use quinn::{ConnectionError, SendDatagramError, StoppedError, VarInt};
use tokio::io::{AsyncRead, ReadBuf};

use super::bundle::{self, Datagram};
use super::encoder::{Mark, Marks};
use super::lane::Lane;
use super::link::{Rx, Tx, stranger};
use super::session::{Hold, Session};
use super::transport::{RecvStream, Transport};
use super::{failure, varint};

/// Bytes that small datagrams share.
const ROOM: usize = 4096;

/// A stream as core reads it: after its preface.
pub(crate) struct Reader<T: Transport> {
    pub(crate) session: Arc<Session<T>>,
    rx: Rx<T>,
    /// What came of the peer's preface; `None` when it is through.
    preface: Option<([u8; PREFACE.len()], usize)>,
}

impl<T: Transport> Reader<T> {
    /// Whoever opened a stream awaits the other end's preface; the others have read it before.
    pub(crate) fn new(session: Arc<Session<T>>, rx: Rx<T>, opened: bool) -> Self {
        Self { session, rx, preface: opened.then_some(([0; PREFACE.len()], 0)) }
    }

    fn poll_some(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if let Rx::Late(late) = &self.rx {
            self.rx = Rx::Ready(ready!(late.poll_recv(cx))?);
        }
        let Rx::Ready(stream) = &mut self.rx else {
            return Poll::Pending;
        };
        let (stream, transport) = (stream.quic(), &self.session.transport);
        while let Some((theirs, have)) = &mut self.preface {
            let read = ready!(stream.poll_read(cx, &mut theirs[*have..]))
                .map_err(|why| failure::read(transport, why))?;
            if read == 0 {
                let why = "the peer ended the stream before its preface";
                return Poll::Ready(Err(Error::new(ErrorKind::Closed, why)));
            }
            *have += read;
            if theirs[..*have] != PREFACE[..*have] {
                return Poll::Ready(Err(stranger(&theirs[..*have])));
            }
            if *have == theirs.len() {
                self.preface = None;
            }
        }
        stream.poll_read_buf(cx, buf).map_err(|why| failure::read(transport, why))
    }
}

impl<T: Transport> AsyncRead for Reader<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_some(cx, buf).map_err(io::Error::other)
    }
}

pub(crate) struct OrderedRead<T: Transport> {
    stream: StreamRead<Reader<T>>,
    lane: Arc<Lane<T::Recv>>,
    /// Datagrams that were taken from the lane.
    ready: VecDeque<Bytes>,
    /// The one that is being read.
    datagram: Datagram,
    max_packet: usize,
    /// Whose turn it is, so that neither starves the other.
    datagrams_first: bool,
    _hold: Arc<Hold<T>>,
}

impl<T: Transport> OrderedRead<T> {
    pub(crate) fn new(
        reader: Reader<T>,
        lane: Arc<Lane<T::Recv>>,
        max_packet: usize,
        hold: Arc<Hold<T>>,
    ) -> Self {
        let stream = StreamRead::new(reader, Framing::Haul, max_packet);
        Self {
            stream,
            lane,
            ready: VecDeque::new(),
            datagram: Datagram::Read,
            max_packet,
            datagrams_first: false,
            _hold: hold,
        }
    }

    fn poll_datagram(&mut self, cx: &Context<'_>) -> Poll<Result<Frame>> {
        let frame = loop {
            if let Some(frame) = self.datagram.next() {
                break frame;
            }
            match self.ready.pop_front() {
                Some(datagram) => self.datagram = Datagram::new(datagram),
                None => ready!(self.lane.poll_datagrams(cx, &mut self.ready)),
            }
        };
        let frame = decode(frame)?;
        Poll::Ready(match &frame {
            Frame::Packet { packet, .. } if packet.len() > self.max_packet => {
                Err(too_large(packet.len(), self.max_packet))
            }
            Frame::Packet { .. } => Ok(frame),
            _ => Err(Error::new(ErrorKind::Protocol, "a datagram that is no packet")),
        })
    }
}

pub(crate) fn too_large(len: usize, max: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("the peer sent a packet of {len} bytes or more; at most {max}"))
}

impl<T: Transport> ReadHalf for OrderedRead<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        self.datagrams_first = !self.datagrams_first;
        if self.datagrams_first
            && let Poll::Ready(datagram) = self.poll_datagram(cx)
        {
            return Poll::Ready(datagram.map(Some));
        }
        match self.stream.poll_read(cx) {
            Poll::Pending => self.poll_datagram(cx).map_ok(Some),
            read => read,
        }
    }

    fn take_arrived(&mut self, packets: &mut Vec<Packet>, most: usize) {
        let before = packets.len();
        self.stream.take_arrived(packets, most);
        while packets.len() - before < most {
            if let Some(payload) = self.datagram.next_plain(self.max_packet) {
                packets.push(Packet::binary(payload));
            } else if self.datagram.is_read()
                && let Some(next) = self.ready.pop_front()
            {
                self.datagram = Datagram::new(next);
            } else {
                return;
            }
        }
    }

    fn discarded(&self) -> u64 {
        self.lane.dropped()
    }
}

type Sending = BoxFuture<'static, Result<(), SendDatagramError>>;

pub(crate) struct OrderedWrite<T: Transport> {
    session: Arc<Session<T>>,
    send: Tx<T>,
    marks: Arc<Marks>,
    /// Bytes taken so far.
    at: u64,
    /// So many of the first bytes were sent before there was a link.
    said: u64,
    /// What stands before each datagram.
    head: Vec<u8>,
    /// Bytes of a datagram after that, as the path carried them when `due` was filled.
    most: usize,
    /// Where the next datagrams are.
    due: VecDeque<Mark>,
    /// Where the next datagrams are put together.
    room: BytesMut,
    /// A datagram that waits for room.
    datagram: Option<Sending>,
    finishing: Finishing,
    _hold: Arc<Hold<T>>,
}

impl<T: Transport> OrderedWrite<T> {
    pub(crate) fn new(
        session: Arc<Session<T>>,
        id: u64,
        send: Tx<T>,
        marks: Arc<Marks>,
        hold: Arc<Hold<T>>,
    ) -> Self {
        let said = if let Tx::Early(_, said) = &send { *said } else { 0 };
        let mut head = session.transport.datagram_prefix().to_vec();
        varint::put(id, &mut head);
        Self {
            session,
            send,
            marks,
            at: 0,
            said,
            head,
            most: 0,
            due: VecDeque::new(),
            room: BytesMut::new(),
            datagram: None,
            finishing: Finishing::No,
            _hold: hold,
        }
    }

    /// Sends `datagram`, waiting for room: none that was accepted makes room for another.
    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: Bytes) -> Poll<Result<()>> {
        let quic = self.session.transport.quic();
        match pin!(quic.send_datagram_wait(datagram.clone())).poll(cx) {
            Poll::Ready(Err(SendDatagramError::TooLarge)) | Poll::Pending => {}
            Poll::Ready(sent) => return Poll::Ready(sent.map_err(datagram_failed)),
        }
        self.datagram = Some(Box::pin(send_later(quic.clone(), datagram, self.head.len())));
        self.poll_waiting(cx)
    }

    /// Takes up where the next datagrams are, and how large the path lets them be: often more than any path does.
    fn take_due(&mut self) {
        self.marks.take(&mut self.due);
        if !self.due.is_empty() {
            let most = self.session.transport.quic().max_datagram_size();
            self.most = most.unwrap_or_default().saturating_sub(self.head.len());
        }
    }

    /// `frames` as a datagram. Small ones share their memory.
    fn datagram(&mut self, frames: &[u8]) -> Bytes {
        let len = self.head.len() + frames.len();
        if self.room.capacity() < len {
            self.room = BytesMut::with_capacity(ROOM.max(len));
        }
        self.room.extend_from_slice(&self.head);
        bundle::put(frames, &mut self.room);
        self.room.split().freeze()
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(waiting) = &mut self.datagram {
            let sent = ready!(waiting.as_mut().poll(cx));
            self.datagram = None;
            sent.map_err(datagram_failed)?;
        }
        Poll::Ready(Ok(()))
    }
}

/// Sends `datagram`, waiting for room. If the path carries less than it did, the frames after its head go one by one.
async fn send_later(quic: quinn::Connection, datagram: Bytes, head: usize) -> Result<(), SendDatagramError> {
    match quic.send_datagram_wait(datagram.clone()).await {
        Err(SendDatagramError::TooLarge) => {}
        sent => return sent,
    }
    for alone in bundle::apart(&datagram, head) {
        quic.send_datagram_wait(alone).await?;
    }
    Ok(())
}

fn datagram_failed(why: SendDatagramError) -> Error {
    match why {
        SendDatagramError::ConnectionLost(why) => failure::lost(&why),
        SendDatagramError::TooLarge => {
            Error::new(ErrorKind::TooLarge, "the path carries smaller datagrams than it did")
        }
        other => Error::new(ErrorKind::Unsupported, other.to_string()),
    }
}

impl<T: Transport> WriteHalf for OrderedWrite<T> {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        ready!(self.poll_waiting(cx))?;
        while !out.bytes.is_empty() {
            let chunk = out.bytes.chunk();
            if self.at < self.said {
                let said = chunk.len().min((self.said - self.at) as usize);
                out.bytes.advance(said);
                self.at += said as u64;
                continue;
            }
            if self.due.is_empty() {
                self.take_due();
            }
            match self.due.front_mut() {
                Some(mark) if mark.at == self.at => {
                    // Of what came since, the bytes may be in the next buffer.
                    let frames = &chunk[..mark.len.min(chunk.len())];
                    let frames = &frames[..bundle::fill(frames, self.most)];
                    mark.at += frames.len() as u64;
                    mark.len -= frames.len();
                    if mark.len == 0 {
                        self.due.pop_front();
                    }
                    let (datagram, len) = (self.datagram(frames), frames.len());
                    out.bytes.advance(len);
                    self.at += len as u64;
                    ready!(self.poll_send(cx, datagram))?;
                }
                mark => {
                    let before = mark.map_or(usize::MAX, |mark| (mark.at - self.at) as usize);
                    let chunk = &chunk[..chunk.len().min(before)];
                    let stream = Pin::new(ready!(self.send.poll(cx))?);
                    let written = ready!(stream.poll_write(cx, chunk))
                        .map_err(|why| failure::write(&self.session.transport, why))?;
                    out.bytes.advance(written);
                    self.at += written as u64;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// quinn has it, and sends it as fast as the path and the peer allow.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.finishing.poll(cx, &mut self.send)
    }

    fn abort(&mut self, reason: &CloseReason) {
        self.session.note(reason.clone());
        self.send.cut(&self.session, reason);
    }
}

impl<T: Transport> Drop for OrderedWrite<T> {
    fn drop(&mut self) {
        if !self.finishing.is_done() {
            self.send.cut(&self.session, &CloseReason::INTERNAL);
        }
    }
}

/// The peer's acknowledgement of all that a stream carried, or the code with which it stopped it.
pub(crate) type Stopped = BoxFuture<'static, Result<Option<VarInt>, StoppedError>>;

/// The end of a sending direction: said, and acknowledged by the peer.
pub(crate) enum Finishing {
    No,
    Said(Stopped),
    Done,
}

impl Finishing {
    pub(crate) fn poll<T: Transport>(&mut self, cx: &mut Context<'_>, send: &mut Tx<T>) -> Poll<Result<()>> {
        loop {
            match self {
                Self::No => {
                    let stream = ready!(send.poll(cx))?;
                    stream.finish().map_err(|_| Error::new(ErrorKind::Closed, "the stream was cut"))?;
                    *self = Self::Said(Box::pin(stream.stopped()));
                }
                Self::Said(stopped) => {
                    let stopped = ready!(stopped.as_mut().poll(cx));
                    *self = Self::Done;
                    acknowledged(stopped)?;
                }
                Self::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// A peer that has read what it wanted stops the stream or closes the session: whether it said so before, or cut it,
/// the receiving direction tells.
pub(crate) fn acknowledged(stopped: Result<Option<VarInt>, StoppedError>) -> Result<()> {
    match stopped {
        Ok(_) | Err(StoppedError::ConnectionLost(ConnectionError::ApplicationClosed(_))) => Ok(()),
        Err(StoppedError::ConnectionLost(why)) => Err(failure::lost(&why)),
        Err(why @ StoppedError::ZeroRttRejected) => Err(Error::new(ErrorKind::Closed, why.to_string())),
    }
}
