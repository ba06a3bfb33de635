//! What the two halves share: the lock on everything that outlives a link, and who is woken.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use haul_core::wire::SendBuf;
use haul_core::{Info, Result, Status};
use tokio::time::{Sleep, sleep};

use crate::course::Course;
use crate::intake::Intake;
use crate::life::{Core, Phase};

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

impl Shared {
    pub(crate) fn new(course: Arc<Course>, info: Info, max_unanswered: usize, intake: Intake) -> Self {
        let wakers = Arc::new(Wakers::default());
        Self {
            waker: Waker::from(wakers.clone()),
            wakers,
            attention: AtomicBool::new(false),
            core: Mutex::new(Core::new(course, info, max_unanswered, intake)),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
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
            let dialed = ready!(dial.as_mut().poll(&mut self.context()));
            core.install(dialed);
            self.call_reader();
            self.wakers.write.wake();
        }
        Poll::Ready(())
    }

    /// Writes the backlog, then `out`, as far as the link takes it. A failure is kept for the reader to judge.
    pub(crate) fn poll_write(&self, core: &mut Core, out: &mut SendBuf) -> Poll<()> {
        ready!(self.poll_sound(core));
        let written = core.poll_write(out, &mut self.context());
        self.judge(core, written)
    }

    /// Writes the backlog and flushes what was written.
    pub(crate) fn poll_flush(&self, core: &mut Core) -> Poll<()> {
        ready!(self.poll_sound(core));
        let flushed = core.poll_flush(&mut self.context());
        self.judge(core, flushed)
    }

    /// Where a write failed, waits a little for the reader to find out why, and then cuts the link.
    fn poll_sound(&self, core: &mut Core) -> Poll<()> {
        if let Some((_, grace)) = &mut core.broken {
            ready!(grace.as_mut().poll(&mut self.context()));
            core.cut_if_broken();
            self.call_reader();
        }
        Poll::Ready(())
    }

    fn judge(&self, core: &mut Core, outcome: Poll<Result<()>>) -> Poll<()> {
        if !core.inbound.is_empty() {
            self.call_reader();
        }
        let Err(why) = ready!(outcome) else {
            return Poll::Ready(());
        };
        self.call_reader();
        if why.status() == Status::Permanent {
            core.phase = Phase::Over(Some(why));
            return Poll::Ready(());
        }
        let mut grace: Pin<Box<Sleep>> = Box::pin(sleep(GRACE));
        let polled = grace.as_mut().poll(&mut self.context());
        core.broken = Some((why, grace));
        polled
    }
}
