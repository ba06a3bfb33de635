//! Links that go wrong in one way.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use haul_core::wire::{Frame, SendBuf};
use haul_core::{
    CloseReason, Connection, Error, ErrorKind, Level, Link, Packet, ReadHalf, Receipt, Reliability, Result,
    WriteHalf,
};

/// Packets between two that are spoiled.
const EVERY: usize = 50;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    Sound,
    // Packets.
    Drops,
    Reorders,
    Duplicates,
    Truncates,
    Corrupts,
    LosesTheEmpty,
    LosesKinds,
    LosesMetadata,
    LosesUnreliable,
    LosesLargeUnreliable,
    LosesTheLast,
    MixesConnections,
    WaitsWithDatagrams,
    KeepsDatagrams,
    // Buffers.
    GrowsWithoutBound,
    ForgetsToFlush,
    AnswersOkWithoutSending,
    StallsTogether,
    // Ends.
    HangsOnClose,
    EndsBothOnFinish,
    EndsCleanlyOnAbort,
    EndsTogether,
    ForgetsTheReason,
    SwallowsTheEnd,
    SwallowsFailures,
    // Answers.
    LosesPings,
    Miscounts,
    AnswersForThePeer,
    ClaimsMore,
    ForgetsWhyRefused,
    AcceptsTheRefused,
}

/// What the links of one session or test have in common.
#[derive(Clone, Default)]
pub(crate) struct Common(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The last packet of any link: the next one sends it instead of its own.
    stash: Mutex<Option<Frame>>,
    stalled: AtomicBool,
    cut: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Common {
    /// Cuts all of its links.
    pub(crate) fn cut(&self) {
        self.0.cut.store(true, Ordering::Release);
        self.0.wakers.lock().expect("no panic").drain(..).for_each(Waker::wake);
    }

    fn broken(&self) -> Option<Error> {
        let cut = self.0.cut.load(Ordering::Acquire);
        cut.then(|| Error::new(ErrorKind::Closed, "cut on purpose"))
    }
}

/// Both halves of `link`, with this fault.
pub(crate) fn breaks(mut link: Link, fault: Fault, common: &Common) -> Link {
    let own = Arc::new(Own::default());
    let common = common.clone();
    link.read = Box::new(Reader { inner: link.read, fault, own: own.clone(), common: common.clone() });
    link.write = Box::new(Writer {
        inner: link.write,
        fault,
        own,
        common,
        taken: SendBuf::default(),
        held: None,
        count: 0,
        stalls: false,
    });
    link
}

/// A connection on `link`.
pub(crate) fn connect(link: Link) -> Connection {
    Connection::new(link, haul_kit::spawn)
}

/// What the two halves of one link have in common.
#[derive(Default)]
struct Own {
    finished: AtomicBool,
    answers: Mutex<VecDeque<Frame>>,
    reader: Mutex<Option<Waker>>,
}

struct Reader {
    inner: Box<dyn ReadHalf>,
    fault: Fault,
    own: Arc<Own>,
    common: Common,
}

impl ReadHalf for Reader {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        let mut wakers = self.common.0.wakers.lock().expect("no panic");
        if !wakers.iter().any(|known| known.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        drop(wakers);
        if let Some(why) = self.common.broken() {
            return Poll::Ready(Err(why));
        }
        if self.own.finished.load(Ordering::Acquire) {
            return Poll::Ready(Ok(None));
        }
        *self.own.reader.lock().expect("no panic") = Some(cx.waker().clone());
        if let Some(answer) = self.own.answers.lock().expect("no panic").pop_front() {
            return Poll::Ready(Ok(Some(answer)));
        }
        match (self.fault, ready!(self.inner.poll_read(cx))) {
            (Fault::SwallowsTheEnd, Ok(None | Some(Frame::Finish | Frame::Close(_)))) => Poll::Pending,
            (Fault::SwallowsFailures, Err(_)) => Poll::Pending,
            (fault, Ok(Some(Frame::Receipt { id, outcome }))) => {
                let outcome = match (fault, outcome) {
                    (Fault::ClaimsMore, Ok(receipt)) => Ok(Receipt { level: Level::Stored, ..receipt }),
                    (Fault::ForgetsWhyRefused, Err(_)) => Err(Error::new(ErrorKind::Rejected, "refused")),
                    (Fault::AcceptsTheRefused, Err(_)) => Ok(Receipt::new(Level::Stored, Some(id))),
                    (_, outcome) => outcome,
                };
                Poll::Ready(Ok(Some(Frame::Receipt { id, outcome })))
            }
            (_, read) => Poll::Ready(read),
        }
    }

    fn discarded(&self) -> u64 {
        self.inner.discarded() + u64::from(self.fault == Fault::Miscounts)
    }
}

struct Writer {
    inner: Box<dyn WriteHalf>,
    fault: Fault,
    own: Arc<Own>,
    common: Common,
    /// Spoiled already, and not yet with the inner half.
    taken: SendBuf,
    held: Option<Frame>,
    count: usize,
    /// It is this link that holds up the others.
    stalls: bool,
}

impl Writer {
    fn take(&mut self, frame: Frame) -> Result<()> {
        for frame in self.spoil(frame) {
            self.taken.push(frame, None)?;
        }
        Ok(())
    }

    fn spoil(&mut self, frame: Frame) -> Vec<Frame> {
        let (packet, receipt) = match frame {
            Frame::Packet { packet, receipt } => (packet, receipt),
            frame => return self.spoil_control(frame),
        };
        self.count += 1;
        let turn = self.count.is_multiple_of(EVERY);
        let again = |packet: Packet| Frame::Packet { packet, receipt };
        let cut = packet.len().saturating_sub(1);
        match self.fault {
            Fault::Drops if turn => vec![],
            Fault::AnswersOkWithoutSending => vec![],
            Fault::LosesTheEmpty if packet.is_empty() => vec![],
            Fault::LosesUnreliable if packet.reliability() == Reliability::Unreliable => vec![],
            Fault::LosesLargeUnreliable if packet.len() > haul_mem::MAX_DATAGRAM => vec![],
            Fault::Duplicates if turn => vec![again(packet.clone()), again(packet)],
            Fault::Truncates if turn => vec![again(Packet::binary(packet.payload().slice(..cut)))],
            Fault::Corrupts if turn && cut > 0 => {
                let mut bytes = packet.payload().to_vec();
                bytes[cut] ^= 1;
                vec![again(Packet::binary(bytes))]
            }
            Fault::LosesKinds => vec![again(Packet::binary(packet.into_payload()))],
            Fault::WaitsWithDatagrams | Fault::KeepsDatagrams => {
                vec![again(Packet::binary(packet.into_payload()))]
            }
            Fault::LosesMetadata => vec![again(packet.with_metadata(Default::default()))],
            Fault::Reorders if turn => {
                self.held = Some(again(packet));
                vec![]
            }
            Fault::Reorders => [Some(again(packet)), self.held.take()].into_iter().flatten().collect(),
            Fault::LosesTheLast if self.count > 1 => self.held.replace(again(packet)).into_iter().collect(),
            Fault::MixesConnections => {
                let mut stash = self.common.0.stash.lock().expect("no panic");
                let other = stash.replace(again(packet.clone()));
                vec![other.unwrap_or_else(|| again(packet))]
            }
            Fault::AnswersForThePeer => {
                if let Some(id) = packet.id().filter(|_| receipt) {
                    let outcome = Ok(Receipt::new(Level::Stored, Some(id)));
                    self.own.answers.lock().expect("no panic").push_back(Frame::Receipt { id, outcome });
                    self.own.reader.lock().expect("no panic").take().into_iter().for_each(Waker::wake);
                }
                vec![again(packet)]
            }
            _ => vec![again(packet)],
        }
    }

    fn spoil_control(&mut self, frame: Frame) -> Vec<Frame> {
        match (self.fault, frame) {
            (Fault::LosesPings, Frame::Ping(_)) => vec![],
            (Fault::ForgetsTheReason, Frame::Close(_)) => vec![Frame::Close(CloseReason::NORMAL)],
            (Fault::EndsBothOnFinish, Frame::Finish) => {
                self.own.finished.store(true, Ordering::Release);
                vec![Frame::Finish]
            }
            (Fault::EndsTogether, frame @ Frame::Close(_)) => {
                self.common.cut();
                vec![frame]
            }
            (_, frame) => vec![frame],
        }
    }

    /// Passes on all of `out`.
    fn pass(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        loop {
            if self.inner.poll_write(cx, &mut self.taken)?.is_pending() {
                return Poll::Pending;
            }
            let Some(frame) = out.pop() else {
                return Poll::Ready(Ok(()));
            };
            self.take(frame)?;
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        match self.fault {
            Fault::GrowsWithoutBound | Fault::KeepsDatagrams => {
                while let Some(frame) = out.pop() {
                    self.take(frame)?;
                }
                let _ = self.inner.poll_write(cx, &mut self.taken)?;
                Poll::Ready(Ok(()))
            }
            Fault::ForgetsToFlush => {
                // What came before goes out now; what comes now waits for what comes next.
                let written = self.inner.poll_write(cx, &mut self.taken)?;
                if written.is_ready() {
                    while let Some(frame) = out.pop() {
                        self.take(frame)?;
                    }
                }
                written.map(Ok)
            }
            Fault::StallsTogether => {
                if !self.stalls && self.common.0.stalled.load(Ordering::Acquire) {
                    return Poll::Pending;
                }
                let written = self.pass(cx, out)?;
                self.stalls = written.is_pending();
                self.common.0.stalled.store(self.stalls, Ordering::Release);
                written.map(Ok)
            }
            _ => self.pass(cx, out),
        }
    }
}

impl WriteHalf for Writer {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        if let Some(why) = self.common.broken() {
            return Poll::Ready(Err(why));
        }
        match self.write(cx, out) {
            Poll::Ready(Err(_)) if self.fault == Fault::SwallowsFailures => {
                while out.pop().is_some() {}
                self.taken = SendBuf::default();
                Poll::Ready(Ok(()))
            }
            written => written,
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self.fault {
            Fault::GrowsWithoutBound => drop(self.inner.poll_write(cx, &mut self.taken)?),
            Fault::KeepsDatagrams => ready!(self.inner.poll_write(cx, &mut self.taken))?,
            _ => {}
        }
        self.inner.poll_flush(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.fault == Fault::HangsOnClose {
            return Poll::Pending;
        }
        if self.inner.poll_write(cx, &mut self.taken)?.is_pending() {
            return Poll::Pending;
        }
        self.inner.poll_finish(cx)
    }

    fn abort(&mut self, reason: &CloseReason) {
        if self.fault == Fault::EndsCleanlyOnAbort {
            let mut cx = Context::from_waker(Waker::noop());
            let _ = self.inner.poll_finish(&mut cx);
        } else {
            self.inner.abort(reason);
        }
    }
}
