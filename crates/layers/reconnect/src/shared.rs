//! What the two halves share: whether a link stands, and everything that outlives it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use haul_core::wire::{Frame, SendBuf};
use haul_core::{BoxFuture, Error, ErrorKind, Info, Link, PacketId, ReadHalf, Result, Sent, State, Status};
use tokio::time::{Sleep, sleep};

use crate::course::{Course, Dialed, Streak};
use crate::unanswered::Unanswered;
use crate::up::Up;

/// How long the reader may look for a clean close after a write failed, before the link counts as cut.
const GRACE: Duration = Duration::from_millis(100);

/// The lock is held for one poll of a dial, or one batch of writes, and never while waiting.
pub(crate) struct Shared {
    core: Mutex<Core>,
    pub(crate) wakers: Arc<Wakers>,
    /// Wakes both halves: what dials and writes for either is polled with it.
    waker: Waker,
    /// The reader is to look into the core before it reads on.
    attention: AtomicBool,
}

/// The wakers of both halves, as they were last polled.
#[derive(Default)]
pub(crate) struct Wakers {
    pub(crate) read: AtomicWaker,
    pub(crate) write: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.read.wake();
        self.write.wake();
    }
}

pub(crate) struct Core {
    pub(crate) phase: Phase,
    course: Arc<Course>,
    /// The abilities that the connection was made with; a new link must have them too.
    info: Info,
    /// Counts the links.
    pub(crate) epoch: u64,
    /// The reading half of a new link, until the reader fetches it.
    fresh: Option<Box<dyn ReadHalf>>,
    /// Told to the reader before anything of the new link, and how many packets it counts.
    gap: Option<(Error, u64)>,
    /// Frames of our own making for the reader.
    pub(crate) inbound: VecDeque<Frame>,
    /// Frames to be sent before anything new.
    backlog: VecDeque<Frame>,
    unanswered: Unanswered,
    max_unanswered: usize,
    streak: Streak,
    /// Why the last link was cut, and how many of our packets may be lost with it.
    cut: Option<(Error, u64)>,
    /// A write failed.
    broken: Option<(Error, Pin<Box<Sleep>>)>,
    /// Our close was given to the link.
    closing: bool,
    /// Our end of the sending direction was given to the link.
    finishing: bool,
    /// The peer said its last word: a cut is the end.
    peer_done: bool,
}

pub(crate) enum Phase {
    /// No link: waiting, or dialing.
    Down(BoxFuture<'static, Dialed>),
    Up(Box<Up>),
    /// Closed, or failed for this reason.
    Over(Option<Error>),
}

impl Shared {
    pub(crate) fn new(course: Arc<Course>, info: Info, max_unanswered: usize) -> Self {
        let wakers = Arc::new(Wakers::default());
        let first = course.clone().run(Streak::default(), false, None);
        Self {
            waker: Waker::from(wakers.clone()),
            wakers,
            attention: AtomicBool::new(false),
            core: Mutex::new(Core {
                phase: Phase::Down(Box::pin(first)),
                course,
                info,
                epoch: 0,
                fresh: None,
                gap: None,
                inbound: VecDeque::new(),
                backlog: VecDeque::new(),
                unanswered: Unanswered::default(),
                max_unanswered,
                streak: Streak::default(),
                cut: None,
                broken: None,
                closing: false,
                finishing: false,
                peer_done: false,
            }),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the reader look into the core.
    pub(crate) fn call_reader(&self) {
        self.attention.store(true, Ordering::Release);
        self.wakers.read.wake();
    }

    /// Whether the reader was called, once per call.
    pub(crate) fn is_called(&self) -> bool {
        self.attention.load(Ordering::Acquire) && self.attention.swap(false, Ordering::AcqRel)
    }

    /// Whether the reader was called since it last looked.
    pub(crate) fn has_called(&self) -> bool {
        self.attention.load(Ordering::Acquire)
    }

    /// Dials on, while no link stands; ready when one does or none ever will.
    pub(crate) fn poll_link(&self, core: &mut Core) -> Poll<()> {
        while let Phase::Down(dial) = &mut core.phase {
            let dialed = ready!(dial.as_mut().poll(&mut Context::from_waker(&self.waker)));
            core.install(dialed);
            self.call_reader();
            self.wakers.write.wake();
        }
        Poll::Ready(())
    }

    /// Writes the backlog, then `out`, as far as the link takes it. A failure is kept for the reader to judge.
    pub(crate) fn poll_write(&self, core: &mut Core, out: &mut SendBuf) -> Poll<()> {
        if let Some((_, grace)) = &mut core.broken {
            ready!(grace.as_mut().poll(&mut Context::from_waker(&self.waker)));
            core.cut_if_broken();
            self.call_reader();
            return Poll::Ready(());
        }
        let written = core.poll_write(out, &mut Context::from_waker(&self.waker));
        if !core.inbound.is_empty() {
            self.call_reader();
        }
        self.judge(core, written)
    }

    /// Flushes what was written.
    pub(crate) fn poll_flush(&self, core: &mut Core) -> Poll<()> {
        if !core.backlog.is_empty() || core.broken.is_some() {
            ready!(self.poll_write(core, &mut SendBuf::default()));
        }
        let flushed = core.poll_flush(&mut Context::from_waker(&self.waker));
        if !core.inbound.is_empty() {
            self.call_reader();
        }
        self.judge(core, flushed)
    }

    fn judge(&self, core: &mut Core, outcome: Poll<Result<()>>) -> Poll<()> {
        let Err(why) = ready!(outcome) else {
            return Poll::Ready(());
        };
        if why.status() == Status::Permanent {
            core.phase = Phase::Over(Some(why));
            self.call_reader();
            return Poll::Ready(());
        }
        let mut grace = Box::pin(sleep(GRACE));
        let polled = grace.as_mut().poll(&mut Context::from_waker(&self.waker));
        core.broken = Some((why, grace));
        self.call_reader();
        polled
    }
}

impl Core {
    /// Starts with a link that stands.
    pub(crate) fn begin(&mut self, link: Link) {
        self.install(Dialed { link: Ok(link), streak: Streak::default(), tries: 1 });
    }

    fn install(&mut self, dialed: Dialed) {
        self.streak = dialed.streak;
        let first = self.epoch == 0;
        let link = match dialed.link.and_then(|link| self.check(link)) {
            Ok(link) => link,
            Err(why) => {
                let lost = self.cut.take().map_or(0, |(_, lost)| lost);
                let why = if lost > 0 { why.with("ours_maybe_lost", lost) } else { why };
                self.phase = Phase::Over(Some(why));
                return;
            }
        };
        self.epoch += 1;
        if !first && let Some((why, lost)) = self.cut.take() {
            let message = format!(
                "reconnected to {} after {} tries: what it sent meanwhile is unknown",
                self.course.endpoint, dialed.tries
            );
            let gap = Error::new(ErrorKind::Gap, message).with("ours_maybe_lost", lost);
            self.gap = Some((gap.with_source(why), lost));
        }
        let (up, read) = Up::new(link);
        self.fresh = Some(read);
        self.phase = Phase::Up(Box::new(up));
        // A close of ours may have moved the state on already.
        let _ = self.course.state.set(State::Connected);
    }

    /// Refuses a link that cannot do what the connection promised.
    fn check(&self, link: Link) -> Result<Link> {
        let (old, new) = (&self.info, &link.info);
        let lacks = [
            ("receipts", old.receipts && !new.receipts),
            ("metadata", old.metadata && !new.metadata),
            ("kinds of packets", old.kinds && !new.kinds),
            ("reliable packets", !old.datagrams_only && new.datagrams_only),
        ];
        match lacks.into_iter().find(|(_, lacks)| *lacks) {
            None => Ok(link),
            Some((what, _)) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("reconnected to {}: the peer no longer does {what}", self.course.endpoint),
            )),
        }
    }

    fn poll_write(&mut self, out: &mut SendBuf, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            while let Phase::Up(up) = &self.phase
                && up.has_room()
                && let Some(frame) = self.backlog.pop_front().or_else(|| out.pop())
            {
                self.feed(frame)?;
            }
            let Phase::Up(up) = &mut self.phase else {
                return Poll::Ready(Ok(()));
            };
            ready!(up.poll_write(cx))?;
            if self.backlog.is_empty() && out.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn feed(&mut self, frame: Frame) -> Result<()> {
        let Phase::Up(up) = &mut self.phase else { return Ok(()) };
        match &frame {
            Frame::Close(_) => self.closing = true,
            Frame::Finish => self.finishing = true,
            _ => {}
        }
        let waits = match &frame {
            Frame::Packet { packet, receipt } => packet.id().filter(|_| *receipt),
            // What a stranger's protocol has no word for is not said.
            _ => return up.push(frame).or(Ok(())),
        };
        match (up.push(frame), waits) {
            (Err(why), Some(id)) => {
                let outcome = Err(why.with_sent(Sent::No));
                self.inbound.push_back(Frame::Receipt { id, outcome });
                Ok(())
            }
            (pushed, _) => pushed.map_err(|why| why.with_status(Status::Permanent)),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Phase::Up(up) = &mut self.phase else {
            return Poll::Ready(Ok(()));
        };
        let (unanswered, inbound) = (&mut self.unanswered, &mut self.inbound);
        let (max_bytes, max_count) = (self.course.options.max_unanswered_bytes, self.max_unanswered);
        ready!(up.poll_flush(cx, |frame| {
            unanswered.keep(frame, max_bytes, max_count, |id| {
                let message = "too many packets wait for their receipts to be kept for another connection";
                let why = Error::new(ErrorKind::Overloaded, message).with_sent(Sent::Maybe);
                inbound.push_back(Frame::Receipt { id, outcome: Err(why) });
            });
        }))?;
        if self.finishing {
            ready!(up.poll_finish(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// The receipt of `id` came.
    pub(crate) fn answered(&mut self, id: PacketId) {
        if !self.unanswered.remove(id)
            && let Phase::Up(up) = &mut self.phase
        {
            up.answered(id);
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Ends our direction after all that was given.
    pub(crate) fn finish(&mut self) {
        self.finishing = true;
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        self.backlog.push_back(frame);
    }

    /// The reading half of a new link, and the gap before it.
    pub(crate) fn take_fresh(&mut self) -> (Option<Box<dyn ReadHalf>>, Option<Error>) {
        (self.fresh.take(), self.gap.take().map(|(gap, _)| gap))
    }

    /// The peer said its last word on this connection.
    pub(crate) fn peer_done(&mut self) {
        self.peer_done = true;
        if matches!(self.phase, Phase::Down(_)) {
            let why = || Error::new(ErrorKind::Closed, "the peer closed before all was sent");
            self.phase = Phase::Over(self.backlog.iter().any(is_packet).then(why));
        }
    }

    /// Whether a link of this epoch still stands, and no write on it failed.
    pub(crate) fn stands(&self, epoch: u64) -> bool {
        self.epoch == epoch && matches!(self.phase, Phase::Up(_)) && self.broken.is_none()
    }

    /// Whether there is nothing that another link would be dialed for, but a close.
    pub(crate) fn only_closes(&self, out: &SendBuf) -> bool {
        let first_is_close = matches!(out.frames.front(), Some(Frame::Close(_)));
        first_is_close && self.backlog.iter().all(|frame| matches!(frame, Frame::Close(_)))
    }

    fn cut_if_broken(&mut self) {
        if let Some((why, _)) = &self.broken {
            self.cut(self.epoch, why.clone());
        }
    }

    /// The link of `epoch` was cut: dials again, unless that was the end.
    pub(crate) fn cut(&mut self, epoch: u64, why: Error) {
        if epoch != self.epoch || !matches!(self.phase, Phase::Up(_)) {
            return;
        }
        let why = self.broken.take().map_or(why, |(broken, _)| broken);
        let Phase::Up(up) = std::mem::replace(&mut self.phase, Phase::Over(None)) else {
            return;
        };
        self.fresh = None;
        if up.since.elapsed() >= self.course.options.stable_after {
            self.streak = Streak::default();
        }
        let remains = up.remains();
        let unsent = remains.unflushed || self.backlog.iter().any(is_packet);
        if self.peer_done || self.closing {
            if !unsent {
                return;
            }
            if self.peer_done {
                self.phase = Phase::Over(Some(why));
                return;
            }
        }
        // What the reader was not told of in time is told with the next gap.
        let untold = self.gap.take().map_or(0, |(_, lost)| lost);
        let lost = untold + remains.unproved;
        let rest = std::mem::take(&mut self.backlog);
        self.backlog = self.unanswered.take().chain(remains.kept).chain(rest).collect();
        if self.finishing && !self.backlog.iter().any(|frame| matches!(frame, Frame::Finish)) {
            self.backlog.push_back(Frame::Finish);
        }
        self.cut = Some((why.clone(), lost));
        self.phase = Phase::Down(Box::pin(self.course.clone().run(self.streak, true, Some(why))));
    }
}

fn is_packet(frame: &Frame) -> bool {
    matches!(frame, Frame::Packet { .. })
}
