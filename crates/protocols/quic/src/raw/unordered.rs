//! The two halves of an unordered stream: each frame is a unidirectional stream of its own.
//!
//! Frames are numbered, so that the last one is known to be the last only when all others have come.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use haul_core::wire::{Frame, MAX_HEAD, SendBuf, decode};
use haul_core::{BoxFuture, CloseReason, Error, ErrorKind, ReadHalf, Result, WriteHalf};
use tokio::io::AsyncRead;

use super::lane::{Lane, Part};
use super::link::Tx;
use super::ordered::{Finishing, Reader, Stopped, acknowledged, too_large};
use super::session::{Hold, Session};
use super::transport::{RecvStream, SendStream, Transport};
use super::{failure, varint};

/// Bytes of unfinished frames, beyond those of the oldest, that are held.
const AHEAD: usize = 256 << 10;

/// Most taken of a stream at once.
const CHUNK: usize = 64 << 10;

/// Bytes copied to go out in one write with what stands before them.
const TOGETHER: usize = 4096;

pub(crate) struct UnorderedRead<T: Transport> {
    control: Reader<T>,
    control_ended: bool,
    lane: Arc<Lane<T::Recv>>,
    max_packet: usize,
    arrived: VecDeque<Part<T::Recv>>,
    reading: VecDeque<Reading<T::Recv>>,
    received: u64,
    /// The last frame, and its number.
    last: Option<(u64, Frame)>,
    _hold: Arc<Hold<T>>,
}

/// A frame that is on its way.
struct Reading<R> {
    part: Part<R>,
    bytes: BytesMut,
}

impl<T: Transport> UnorderedRead<T> {
    pub(crate) fn new(
        control: Reader<T>,
        lane: Arc<Lane<T::Recv>>,
        max_packet: usize,
        hold: Arc<Hold<T>>,
    ) -> Self {
        Self {
            control,
            control_ended: false,
            lane,
            max_packet,
            arrived: VecDeque::new(),
            reading: VecDeque::new(),
            received: 0,
            last: None,
            _hold: hold,
        }
    }

    /// The next frame that is complete, whichever it is.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<(u64, Frame)>> {
        self.lane.take_parts(cx, &mut self.arrived);
        let fresh = self.arrived.drain(..).map(|part| Reading { part, bytes: BytesMut::new() });
        self.reading.extend(fresh);
        let mut held = 0;
        for at in 0..self.reading.len() {
            if at > 0 && held >= AHEAD {
                break;
            }
            let reading = &mut self.reading[at];
            if let Poll::Ready(frame) = reading.poll(cx, &self.control.session.transport, self.max_packet) {
                let number = reading.part.number;
                self.reading.remove(at);
                return Poll::Ready(frame.map(|frame| (number, frame)));
            }
            held += self.reading[at].bytes.len();
        }
        Poll::Pending
    }

    /// Whether the stream beside the frames was cut.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.control_ended {
            return Poll::Pending;
        }
        let mut byte = [0; 1];
        let mut buf = tokio::io::ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut self.control).poll_read(cx, &mut buf)).map_err(Error::from)?;
        if !buf.filled().is_empty() {
            let why = "frames of an unordered stream come on streams of their own";
            return Poll::Ready(Err(Error::new(ErrorKind::Protocol, why)));
        }
        self.control_ended = true;
        Poll::Pending
    }
}

impl<R: RecvStream> Reading<R> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        transport: &impl Transport,
        max_packet: usize,
    ) -> Poll<Result<Frame>> {
        let stream = self.part.stream.quic();
        while let Some(chunk) = ready!(pin!(stream.read_chunk(CHUNK, true)).poll(cx))
            .map_err(|why| failure::read(transport, why))?
        {
            self.bytes.extend_from_slice(&chunk.bytes);
            if self.bytes.len() > max_packet.saturating_add(MAX_HEAD) {
                return Poll::Ready(Err(too_large(self.bytes.len(), max_packet)));
            }
        }
        let frame = decode(std::mem::take(&mut self.bytes).freeze())?;
        Poll::Ready(match &frame {
            Frame::Packet { packet, .. } if packet.len() > max_packet => {
                Err(too_large(packet.len(), max_packet))
            }
            _ => Ok(frame),
        })
    }
}

impl<T: Transport> ReadHalf for UnorderedRead<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        loop {
            if self.last.as_ref().is_some_and(|(number, _)| *number < self.received) {
                let last = self.last.take().map(|(_, frame)| frame);
                return Poll::Ready(Ok(last));
            }
            match self.poll_frame(cx)? {
                Poll::Ready((number, frame)) => {
                    self.received += 1;
                    match frame {
                        // The last of `number + 1` frames.
                        Frame::Finish | Frame::Close(_) => self.last = Some((number, frame)),
                        frame => return Poll::Ready(Ok(Some(frame))),
                    }
                }
                Poll::Pending => {
                    ready!(self.poll_control(cx))?;
                    return Poll::Pending;
                }
            }
        }
    }
}

pub(crate) struct UnorderedWrite<T: Transport> {
    session: Arc<Session<T>>,
    id: u64,
    control: Tx<T>,
    priority: i32,
    number: u64,
    step: Step<T>,
    /// Said, and perhaps not yet acknowledged.
    said: VecDeque<T::Send>,
    /// For the acknowledgement of one of them.
    waiting: Option<Stopped>,
    finishing: Finishing,
    _hold: Arc<Hold<T>>,
}

enum Step<T: Transport> {
    Idle,
    /// A stream for the next frame of this many bytes.
    Opening(BoxFuture<'static, Result<T::Send>>, usize),
    /// What stands before the frame and its first bytes, then so many more.
    Writing(T::Send, BytesMut, usize),
}

impl<T: Transport> UnorderedWrite<T> {
    pub(crate) fn new(session: Arc<Session<T>>, id: u64, mut control: Tx<T>, hold: Arc<Hold<T>>) -> Self {
        let priority = match &mut control {
            Tx::Ready(stream) => stream.quic().priority().unwrap_or_default(),
            _ => 0,
        };
        Self {
            session,
            id,
            control,
            priority,
            number: 0,
            step: Step::Idle,
            said: VecDeque::new(),
            waiting: None,
            finishing: Finishing::No,
            _hold: hold,
        }
    }

    fn cut(&mut self, reason: &CloseReason) {
        if let Step::Writing(mut stream, ..) = std::mem::replace(&mut self.step, Step::Idle) {
            // A stream that is gone needs no reset.
            let _ = stream.quic().reset(self.session.transport.code(reason.code));
        }
        self.control.cut(&self.session, reason);
    }

    /// The next frame of `out` gets a stream.
    fn begin(&mut self, out: &mut SendBuf) {
        // A frame's length stands in one piece: it is small, and small pieces are copied together.
        let len = out.bytes.chunk().get_u32() as usize;
        out.bytes.advance(4);
        let session = self.session.clone();
        self.step = Step::Opening(Box::pin(async move { session.transport.open_uni().await }), len);
        // Numbers of streams that the peer has acknowledged are forgotten (RFC 9000 section 3.1, "Data Recvd").
        while let Some(stream) = self.said.front_mut()
            && stream.quic().priority().is_err()
        {
            self.said.pop_front();
        }
    }
}

impl<T: Transport> WriteHalf for UnorderedWrite<T> {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        loop {
            match &mut self.step {
                Step::Idle if out.bytes.is_empty() => return Poll::Ready(Ok(())),
                Step::Idle => self.begin(out),
                Step::Opening(opening, len) => {
                    let mut stream = ready!(opening.as_mut().poll(cx))?;
                    if self.priority != 0 {
                        // A stream that is gone already says so at its first write.
                        let _ = stream.quic().set_priority(self.priority);
                    }
                    let mut head = Vec::with_capacity(16 + TOGETHER.min(*len));
                    varint::put(self.id, &mut head);
                    varint::put(self.number, &mut head);
                    let together = (*len).min(TOGETHER).min(out.bytes.chunk().len());
                    head.extend_from_slice(&out.bytes.chunk()[..together]);
                    out.bytes.advance(together);
                    self.number += 1;
                    let head = BytesMut::from(&head[..]);
                    self.step = Step::Writing(stream, head, *len - together);
                }
                Step::Writing(stream, head, left) => {
                    let quic = stream.quic();
                    while !head.is_empty() {
                        let written = ready!(Pin::new(&mut *quic).poll_write(cx, head))
                            .map_err(|why| failure::write(&self.session.transport, why))?;
                        head.advance(written);
                    }
                    while *left > 0 {
                        let chunk = out.bytes.chunk();
                        let chunk = &chunk[..chunk.len().min(*left)];
                        let written = ready!(Pin::new(&mut *quic).poll_write(cx, chunk))
                            .map_err(|why| failure::write(&self.session.transport, why))?;
                        out.bytes.advance(written);
                        *left -= written;
                    }
                    // A stream that the peer has stopped says so when it is acknowledged.
                    let _ = quic.finish();
                    if let Step::Writing(stream, ..) = std::mem::replace(&mut self.step, Step::Idle) {
                        self.said.push_back(stream);
                    }
                }
            }
        }
    }

    /// quinn has it, and sends it as fast as the path and the peer allow.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.waiting.is_some() || !self.said.is_empty() {
            if let Some(stopped) = &mut self.waiting {
                let stopped = ready!(stopped.as_mut().poll(cx));
                self.waiting = None;
                acknowledged(stopped)?;
            }
            if let Some(mut stream) = self.said.pop_front() {
                self.waiting = Some(Box::pin(stream.quic().stopped()));
            }
        }
        self.finishing.poll(cx, &mut self.control)
    }

    fn abort(&mut self, reason: &CloseReason) {
        self.session.note(reason.clone());
        self.cut(reason);
    }
}

impl<T: Transport> Drop for UnorderedWrite<T> {
    fn drop(&mut self) {
        if !self.finishing.is_done() {
            self.cut(&CloseReason::INTERNAL);
        }
    }
}
