//! The sending direction: the bounded buffer, and the writing half that empties it.

use std::collections::HashMap;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::chunk::Chunk;
use super::hub::{Ending, Hub, lock};
use super::lost::Lost;
use crate::link::{Encoder, WriteHalf};
use crate::wire::{Frame, SendBuf};
use crate::{CloseReason, Error, ErrorKind, Limits, PacketId, Receipt, Result, Sent};

/// A sender that finds this much buffered writes it itself, so that large payloads never queue deeper than a socket
/// buffer.
const WRITE_AT: usize = 32 << 10;

/// The same for senders of many packets: one write of this much costs less than several of less.
const WRITE_MANY_AT: usize = 128 << 10;

/// Answers and pongs may take this many times the bound of the buffer, beside what senders put there; a peer that makes
/// us answer more without reading is cut.
const ANSWERS_OVER: usize = 4;

pub(super) struct Outbox {
    pub(super) buf: SendBuf,
    pub(super) encoder: Option<Box<dyn Encoder>>,
    /// Packets accepted.
    pub(super) queued: u64,
    pub(super) bytes_queued: u64,
    pub(super) phase: Phase,
    /// Bytes of answers in `buf`.
    answers: usize,
    /// A sender waits for room.
    pub(super) crowded: bool,
    pub(super) receipts: HashMap<PacketId, (u64, oneshot::Sender<Result<Receipt>>)>,
    pub(super) ping: Option<(Bytes, Instant)>,
    /// Why we are closing, where that is a failure.
    pub(super) failure: Option<Error>,
    /// Packets that the link gave up.
    pub(super) lost: Lost,
}

pub(super) enum Phase {
    Open,
    /// Nothing more from here; the peer may go on.
    Finishing,
    /// A close frame is queued.
    Closing(CloseReason),
    Over(Ending),
}

pub(super) struct Writer {
    pub(super) half: Option<Box<dyn WriteHalf>>,
    /// What is being written.
    current: SendBuf,
    /// The number of the last packet in `current`.
    upto: u64,
    dirty: bool,
    /// The half said `Pending` to the last write: it may hold what it took from `current`.
    blocked: bool,
    pub(super) finished: bool,
}

/// What became of an offered frame.
pub(super) enum Offer {
    /// It has this number among the packets; `true` if enough is buffered to write at once.
    Taken(u64, bool),
    /// There is no room; the frame was left.
    Full,
}

impl Outbox {
    pub(super) fn new(encoder: Option<Box<dyn Encoder>>) -> Self {
        Self {
            buf: SendBuf::default(),
            encoder,
            queued: 0,
            bytes_queued: 0,
            phase: Phase::Open,
            answers: 0,
            crowded: false,
            receipts: HashMap::new(),
            ping: None,
            failure: None,
            lost: Lost::default(),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, frame: Frame) -> Result<()> {
        self.buf.push(frame, self.encoder.as_deref_mut())
    }

    #[inline]
    fn is_full(&self, limits: &Limits) -> bool {
        self.buf.weight() >= limits.send_buffer || self.buf.count() >= limits.send_packets
    }

    /// Takes `frame`, which stays where it is as long as it can be. Errors: the encoder's; nothing was taken then.
    #[inline]
    fn take(&mut self, frame: &mut Option<Frame>) -> Result<()> {
        let bytes = match &frame {
            Some(Frame::Packet { packet, .. }) => Some(packet.len() as u64),
            _ => None,
        };
        self.buf.push_from(frame, self.encoder.as_deref_mut())?;
        if let Some(bytes) = bytes {
            self.queued += 1;
            self.bytes_queued += bytes;
        }
        Ok(())
    }

    pub(super) fn end(&mut self, ending: &Ending) {
        let buffered = self.buf.count() as u64;
        self.phase = Phase::Over(ending.clone());
        self.buf = SendBuf::default();
        for (_, (number, promise)) in self.receipts.drain() {
            // What never left the buffer cannot have been seen.
            let sent = if number > self.queued.saturating_sub(buffered) && ending.lost > 0 {
                Sent::No
            } else {
                Sent::Maybe
            };
            let _ = promise.send(Err(ending.error().with_sent(sent)));
        }
        self.ping = None;
    }
}

impl Writer {
    pub(super) fn new(half: Box<dyn WriteHalf>) -> Self {
        Self {
            half: Some(half),
            current: SendBuf::default(),
            upto: 0,
            dirty: false,
            blocked: false,
            finished: false,
        }
    }
}

impl Hub {
    /// Takes `frame` into the send buffer if there is room. It stays where it is as long as it can be.
    #[inline]
    pub(super) fn offer(&self, frame: &mut Option<Frame>) -> Result<Offer> {
        let mut outbox = self.open_outbox()?;
        if outbox.is_full(&self.limits) {
            return Ok(self.full(outbox));
        }
        outbox.take(frame).map_err(|why| why.while_doing(self.doing("send on")))?;
        Ok(Offer::Taken(outbox.queued, outbox.buf.weight() >= WRITE_AT))
    }

    /// Takes what comes next in `chunk`, until there is no more room or enough to write at once.
    #[inline]
    pub(super) fn offer_chunk(&self, chunk: &mut Chunk) -> Result<Offer> {
        let mut outbox = self.open_outbox()?;
        if outbox.is_full(&self.limits) {
            return Ok(self.full(outbox));
        }
        let mut much = false;
        while let Some(frame) = chunk.first()
            && !much
        {
            outbox.take(frame).map_err(|why| why.while_doing(self.doing("send on")))?;
            chunk.pass();
            much = outbox.buf.weight() >= WRITE_MANY_AT || outbox.is_full(&self.limits);
        }
        Ok(Offer::Taken(outbox.queued, much))
    }

    /// The outbox, where packets are still accepted.
    #[inline]
    fn open_outbox(&self) -> Result<MutexGuard<'_, Outbox>> {
        let outbox = lock(&self.outbox);
        let error = match &outbox.phase {
            Phase::Open => return Ok(outbox),
            Phase::Over(ending) => ending.error(),
            Phase::Finishing | Phase::Closing(_) => {
                Error::new(ErrorKind::Closed, "this end has finished or is closing")
            }
        };
        Err(error.with_sent(Sent::No).while_doing(self.doing("send on")))
    }

    /// A sender will wait for room.
    fn full(&self, mut outbox: MutexGuard<'_, Outbox>) -> Offer {
        outbox.crowded = true;
        drop(outbox);
        self.kick();
        Offer::Full
    }

    /// Queues an answer of our own (pong, receipt) beyond the bound of the buffer, up to a multiple of it.
    pub(super) fn answer(&self, frame: Frame) -> Result<()> {
        let mut outbox = lock(&self.outbox);
        match &outbox.phase {
            Phase::Open | Phase::Finishing => {}
            Phase::Closing(_) => return Ok(()),
            Phase::Over(ending) => return Err(ending.error().with_sent(Sent::No)),
        }
        if outbox.answers >= self.limits.send_buffer.saturating_mul(ANSWERS_OVER) {
            return Err(Error::new(ErrorKind::Overloaded, "the peer reads no answers to what it sends"));
        }
        let before = outbox.buf.weight();
        outbox.push(frame)?;
        outbox.answers += outbox.buf.weight() - before;
        drop(outbox);
        self.kick();
        Ok(())
    }

    /// Begins to close, unless that has begun: what is buffered goes first.
    pub(super) fn begin_close(&self, reason: CloseReason) {
        let mut outbox = lock(&self.outbox);
        if matches!(outbox.phase, Phase::Open | Phase::Finishing) {
            if matches!(outbox.phase, Phase::Open) {
                // A protocol that cannot say goodbye says it by its end.
                let _ = outbox.push(Frame::Close(reason.clone()));
            }
            outbox.phase = Phase::Closing(reason);
            outbox.crowded = false;
        }
        drop(outbox);
        self.space.notify_waiters();
        self.kick();
    }

    /// Writes what is buffered, if nobody else is at it; otherwise sees to it that the driver looks again.
    pub(super) fn write_inline(&self) {
        match self.writer.try_lock() {
            Ok(mut writer) => {
                let written = self.poll_write(&mut writer);
                drop(writer);
                self.note_written(written);
            }
            Err(_) => self.kick(),
        }
    }

    /// What follows from a round of writing. Not to be called with a lock held.
    pub(super) fn note_written(&self, written: Poll<Result<()>>) {
        if let Poll::Ready(Err(why)) = written {
            self.end(Some(why.while_doing(self.doing("write to"))), CloseReason::INTERNAL);
        }
    }

    /// Writes all that is buffered and flushes it.
    pub(super) fn poll_write(&self, writer: &mut Writer) -> Poll<Result<()>> {
        let mut cx = Context::from_waker(&self.waker);
        let Writer { half: Some(half), current, upto, dirty, blocked, .. } = writer else {
            return Poll::Ready(Ok(()));
        };
        loop {
            if current.is_empty() && !*blocked {
                if *dirty {
                    match ready!(half.poll_flush(&mut cx)) {
                        Err(why) if why.kind() == ErrorKind::Gap => {
                            self.give_up(Some(*upto), why);
                            continue;
                        }
                        flushed => flushed?,
                    }
                    *dirty = false;
                    self.sent.store(*upto, Ordering::Release);
                    self.progress.notify_waiters();
                }
                current.reset();
                let mut outbox = lock(&self.outbox);
                if outbox.buf.is_empty() {
                    // Frames that this protocol writes nothing for count as written.
                    let silent = outbox.queued;
                    drop(outbox);
                    if self.sent.swap(silent, Ordering::AcqRel) != silent {
                        self.progress.notify_waiters();
                    }
                    return Poll::Ready(Ok(()));
                }
                std::mem::swap(&mut outbox.buf, current);
                outbox.answers = 0;
                *upto = outbox.queued;
                let crowded = std::mem::take(&mut outbox.crowded);
                drop(outbox);
                *dirty = true;
                if crowded {
                    self.space.notify_waiters();
                }
            }
            *blocked = true;
            match ready!(half.poll_write(&mut cx, current)) {
                Err(why) if why.kind() == ErrorKind::Gap => {
                    self.give_up(Some(*upto), why);
                    continue;
                }
                written => written?,
            }
            *blocked = false;
            debug_assert!(current.is_empty(), "a link said that all is written");
        }
    }

    /// The link goes on, and has given up packets that are not flushed, among those up to `upto` or all of them.
    pub(super) fn give_up(&self, upto: Option<u64>, why: Error) {
        let mut outbox = lock(&self.outbox);
        let last = upto.unwrap_or(outbox.queued);
        outbox.lost.note(self.sent.load(Ordering::Acquire) + 1, last, why);
    }

    /// The application receives this gap.
    pub(super) fn hear_gap<T>(&self, gap: Error) -> Poll<Result<T>> {
        let mut outbox = lock(&self.outbox);
        let queued = outbox.queued;
        outbox.lost.hear(queued);
        Poll::Ready(Err(gap))
    }
}
