//! What the two ends of a connection and its driver share.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use super::driver::Driver;
use super::inbox::Inbox;
use super::outbox::{Outbox, Phase, Writer};
use super::settling::Settling;
use crate::link::ReadHalf;
use crate::wire::Frame;
use crate::{
    CloseReason, Error, ErrorKind, Info, Limits, Link, Multiplex, Packet, Result, Sent, State, StateCell,
    Stats,
};

/// Locks are taken in this order: writer or inbox first, outbox last; never writer and inbox together.
pub(super) struct Hub {
    pub(super) info: Info,
    pub(super) limits: Limits,
    pub(super) multiplex: Option<Arc<dyn Multiplex>>,
    pub(super) state: StateCell,
    pub(super) settling: Option<Settling>,
    /// The link moves the state to and from `Reconnecting` itself.
    moves_state: bool,
    pub(super) outbox: Mutex<Outbox>,
    pub(super) writer: Mutex<Writer>,
    pub(super) inbox: Mutex<Inbox>,
    /// Wakes the driver; it is also the waker that the link's halves see when the driver or a sender polls them.
    pub(super) wake: Arc<DriverWake>,
    pub(super) waker: Waker,
    /// Room in the send buffer, or the end.
    pub(super) space: Notify,
    /// Something was flushed, or the end.
    pub(super) progress: Notify,
    /// Packets handed to the operating system.
    pub(super) sent: AtomicU64,
    /// A `recv` is pending and has its waker with the link.
    pub(super) receiving: AtomicBool,
    /// A packet was received for itself: what is sent now is likely its answer, with nothing to go along.
    pub(super) answering: AtomicBool,
    /// The driver has a timer that will look whether anybody still receives: a `recv` that ends need not wake it.
    pub(super) watched: AtomicBool,
    /// Somebody waits for what only reading can bring.
    read_now: AtomicBool,
    pub(super) receiver_gone: AtomicBool,
    pub(super) receiver: Mutex<Option<Waker>>,
    /// The sending direction is over.
    pub(super) over: AtomicBool,
    pub(super) rtt_us: AtomicU64,
    guard: Mutex<Option<Box<dyn Any + Send>>>,
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// What cut it; `None` for a clean close.
    pub(super) why: Option<Error>,
    pub(super) reason: CloseReason,
    /// Packets accepted and not flushed.
    pub(super) lost: u64,
}

impl Ending {
    /// The error that every later call answers.
    pub(super) fn error(&self) -> Error {
        let error = match &self.why {
            Some(why) => why.clone(),
            None => Error::new(ErrorKind::Closed, format!("the connection was closed: {}", self.reason)),
        };
        if self.lost > 0 { error.with("not_flushed", self.lost) } else { error }
    }
}

/// Wakes the driver task, at most once until it runs.
#[derive(Default)]
pub(super) struct DriverWake {
    scheduled: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl DriverWake {
    /// The driver runs: what is done from now on must wake it again.
    pub(super) fn running(&self, waker: &Waker) {
        let mut task = lock(&self.task);
        if !task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            *task = Some(waker.clone());
        }
        drop(task);
        self.scheduled.swap(false, Ordering::AcqRel);
    }
}

impl Wake for DriverWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.scheduled.swap(true, Ordering::AcqRel)
            && let Some(task) = &*lock(&self.task)
        {
            task.wake_by_ref();
        }
    }
}

impl Hub {
    pub(super) fn new(link: Link) -> (Arc<Self>, Driver) {
        let wake = Arc::new(DriverWake::default());
        let moves_state = link.state.is_some();
        let hub = Arc::new(Self {
            info: link.info,
            limits: link.limits,
            multiplex: link.multiplex,
            settling: link.on_settled.map(Settling::new),
            state: link.state.unwrap_or_else(|| StateCell::new(State::Connected)),
            moves_state,
            outbox: Mutex::new(Outbox::new(link.encoder)),
            writer: Mutex::new(Writer::new(link.write)),
            inbox: Mutex::new(Inbox::new(link.read)),
            waker: Waker::from(wake.clone()),
            wake,
            space: Notify::new(),
            progress: Notify::new(),
            sent: AtomicU64::new(0),
            receiving: AtomicBool::new(false),
            answering: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            read_now: AtomicBool::new(false),
            receiver_gone: AtomicBool::new(false),
            receiver: Mutex::new(None),
            over: AtomicBool::new(false),
            rtt_us: AtomicU64::new(u64::MAX),
            guard: Mutex::new(link.guard),
        });
        (hub.clone(), Driver::new(hub))
    }

    /// Wakes the driver, unless it is about to run anyway. What it is to see was changed under a lock that it takes
    /// after it has begun to run: either it sees the change, or we see that it has begun.
    #[inline]
    pub(super) fn kick(&self) {
        if !self.wake.scheduled.load(Ordering::Acquire) {
            self.wake.wake_by_ref();
        }
    }

    /// A `recv` has ended: the driver reads if no other comes soon.
    #[inline]
    pub(super) fn received(&self) {
        if self.receiving.load(Ordering::Relaxed) {
            // In one order with what `turn` does: a `recv` that was cancelled took no lock.
            self.receiving.swap(false, Ordering::SeqCst);
        }
        if !self.watched.load(Ordering::SeqCst) {
            self.wake.wake_by_ref();
        }
    }

    /// The application has so many more packets, which are settled by that.
    #[inline]
    pub(super) fn settle_received(&self, count: u64) {
        if let Some(settling) = &self.settling {
            settling.received(count);
        }
    }

    /// The caller is about to wait for what only reading can bring, and does not read: the driver does, at once.
    pub(super) fn read_now(&self) {
        self.read_now.store(true, Ordering::Release);
        self.wake.wake_by_ref();
    }

    /// Whether reading was asked for since the last look.
    pub(super) fn must_read(&self) -> bool {
        self.read_now.load(Ordering::Acquire) && self.read_now.swap(false, Ordering::AcqRel)
    }

    /// Nobody will receive any more, and `dropped` packets were taken and not given out; not
    /// even a stream that was dropped while it waited.
    pub(super) fn no_receiver(&self, dropped: usize) {
        if dropped > 0 {
            lock(&self.inbox).stats.packets_discarded += dropped as u64;
        }
        self.receiver_gone.store(true, Ordering::Release);
        self.receiving.store(false, Ordering::Release);
        self.wake.wake_by_ref();
    }

    /// Names what was being done on which connection.
    pub(super) fn doing(&self, deed: &str) -> String {
        format!("{deed} {} {}", self.info.protocol, self.info.peer)
    }

    /// Ends the sending direction, once: whoever waits is answered. Must not be called with the outbox locked.
    pub(super) fn end(&self, why: Option<Error>, reason: CloseReason) {
        let mut outbox = lock(&self.outbox);
        if matches!(outbox.phase, Phase::Over(_)) {
            return;
        }
        let lost = outbox.queued - self.sent.load(Ordering::Acquire);
        let why = why
            .or_else(|| outbox.failure.take())
            .map(|why| why.with_sent(if lost > 0 { Sent::Maybe } else { Sent::No }));
        let why = match (why, lost) {
            (None, 1..) => {
                Some(Error::new(ErrorKind::Closed, format!("closed ({reason}) before all was flushed")))
            }
            (why, _) => why,
        };
        let ending = Ending { why, reason, lost };
        outbox.end(&ending);
        drop(outbox);
        self.over.store(true, Ordering::Release);
        let state = match &ending.why {
            None => State::Disconnected { reason: Some(ending.reason.clone()) },
            Some(_) => State::Failed { why: ending.error() },
        };
        // A link that moves the state itself may have said so already.
        let _ = self.state.set(state);
        self.space.notify_waiters();
        self.progress.notify_waiters();
        self.wake_receiver();
        self.wake.wake_by_ref();
    }

    /// How the connection ended, if it did.
    pub(super) fn ending(&self) -> Option<Ending> {
        match &lock(&self.outbox).phase {
            Phase::Over(ending) => Some(ending.clone()),
            _ => None,
        }
    }

    pub(super) fn wake_receiver(&self) {
        let waker = lock(&self.receiver).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = {
            let inbox = lock(&self.inbox);
            let dropped = inbox.half.as_ref().map_or(0, |half| half.discarded());
            let mut stats = inbox.stats;
            stats.packets_discarded += dropped;
            stats
        };
        stats.path = self.multiplex.as_ref().and_then(|session| session.path());
        let outbox = lock(&self.outbox);
        stats.packets_queued = outbox.queued;
        stats.bytes_queued = outbox.bytes_queued;
        stats.packets_sent = self.sent.load(Ordering::Acquire);
        let rtt = self.rtt_us.load(Ordering::Relaxed);
        let pinged = (rtt != u64::MAX).then(|| Duration::from_micros(rtt));
        stats.rtt = pinged.or(stats.path.map(|path| path.rtt));
        stats
    }

    /// Lets go of halves and guard: the connection is gone. Where an end without a word looks clean to the peer, a failure
    /// cuts.
    pub(super) fn release(&self) {
        let half = lock(&self.writer).half.take();
        match (half, self.ending()) {
            // It may have waited for the peer's last word to end the stream below; where it cannot now, the drop does.
            (Some(mut half), Some(Ending { why: None, .. })) if self.info.close_frames => {
                let _ = half.poll_finish(&mut Context::from_waker(Waker::noop()));
            }
            (Some(mut half), Some(Ending { why: Some(_), reason, .. })) if !self.info.close_frames => {
                half.abort(&reason);
            }
            _ => {}
        }
        let mut inbox = lock(&self.inbox);
        if let Some(half) = inbox.half.take() {
            inbox.stats.packets_discarded += half.discarded();
        }
        drop(inbox);
        lock(&self.guard).take();
    }

    /// Takes everything that a [`Link`] is made of; it begins with `ready`, the next one last.
    pub(super) fn take_link(&self, ready: Vec<Packet>) -> Result<Link> {
        let write = lock(&self.writer).half.take();
        let mut inbox = lock(&self.inbox);
        let mut outbox = lock(&self.outbox);
        let closing = match &outbox.phase {
            Phase::Over(ending) => return Err(ending.error()),
            Phase::Closing(reason) => Some(reason.clone()),
            Phase::Open | Phase::Finishing => None,
        };
        let (read, ahead) = (inbox.half.take(), inbox.take_ahead(closing));
        drop(inbox);
        let (Some(write), Some(read)) = (write, read) else {
            return Err(Error::new(ErrorKind::Closed, self.doing("take the link of")));
        };
        let frames = ready.into_iter().rev().map(|packet| Ok(Frame::packet(packet))).chain(ahead).collect();
        let encoder = outbox.encoder.take();
        let ending = Ending { why: None, reason: CloseReason::NORMAL, lost: 0 };
        outbox.end(&ending);
        // Before the driver learns that it is over, and lets go of what is left.
        let guard = lock(&self.guard).take();
        drop(outbox);
        self.over.store(true, Ordering::Release);
        self.wake.wake_by_ref();
        Ok(Link {
            info: self.info.clone(),
            limits: self.limits.clone(),
            read: Box::new(Ahead { frames, half: read }),
            write,
            encoder,
            multiplex: self.multiplex.clone(),
            state: self.moves_state.then(|| self.state.clone()),
            on_settled: self.settling.as_ref().map(Settling::told),
            guard,
        })
    }
}

/// What was read ahead, then the half it was read from.
struct Ahead {
    frames: VecDeque<Result<Frame>>,
    half: Box<dyn ReadHalf>,
}

impl ReadHalf for Ahead {
    fn poll_read(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<Option<Frame>>> {
        match self.frames.pop_front() {
            Some(frame) => std::task::Poll::Ready(frame.map(Some)),
            None => self.half.poll_read(cx),
        }
    }

    fn take_arrived(&mut self, packets: &mut Vec<Packet>, most: usize) {
        if self.frames.is_empty() {
            self.half.take_arrived(packets, most);
        }
    }

    fn discarded(&self) -> u64 {
        self.half.discarded()
    }
}

/// Held by every sender and receiver: the last one to go closes the connection.
pub(super) struct Handle(pub(super) Arc<Hub>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.begin_close(CloseReason::NORMAL);
    }
}

/// A lock that outlives a panic of another holder: no holder leaves its state half changed.
#[inline]
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
