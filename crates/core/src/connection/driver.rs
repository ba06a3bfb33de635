//! The driver: one task per connection that writes what senders left, reads ahead while nobody receives, and sees to
//! deadlines and the close.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::hub::{Hub, lock};
use super::inbox::Turn;
use super::outbox::Phase;
use crate::wire::Frame;
use crate::{CloseReason, Error, ErrorKind};

/// How long after a `recv` the driver leaves reading to the next one: an application that receives all the time pays
/// for no hop to the driver and back, one that stops is read for (pings, answers, closes) a moment later.
const GRACE: Duration = Duration::from_millis(10);

pub(super) struct Driver {
    hub: Arc<Hub>,
    /// Runs while the next look at who reads is put off.
    grace: Option<Pin<Box<Sleep>>>,
    gracious: bool,
    /// When it last looked who reads.
    looked: Instant,
    closing: Option<Pin<Box<Sleep>>>,
    alive: Option<Alive>,
}

/// Watches whether the peer is heard of.
struct Alive {
    timer: Pin<Box<Sleep>>,
    period: Duration,
    heard: u64,
    since: Instant,
}

impl Driver {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self { hub, grace: None, gracious: false, looked: Instant::now(), closing: None, alive: None }
    }

    /// Reads ahead, if it is the driver's turn.
    fn read(&mut self, cx: &mut Context<'_>) {
        let at_once = self.hub.must_read();
        if !at_once && !self.gracious && self.hub.receiving.load(Ordering::Acquire) && !self.is_woken_often()
        {
            return;
        }
        loop {
            if self.gracious
                && !at_once
                && let Some(grace) = &mut self.grace
                && grace.as_mut().poll(cx).is_pending()
            {
                return;
            }
            let turn = self.hub.turn(at_once);
            self.gracious = matches!(turn, Turn::Soon);
            match turn {
                Turn::Receiver => return,
                Turn::Driver => return self.hub.read_ahead(),
                Turn::Soon => {
                    let until = Instant::now() + GRACE;
                    self.grace.get_or_insert_with(|| Box::pin(sleep_until(until))).as_mut().reset(until);
                }
            }
        }
    }

    /// Whether it looks again so soon that it had better look by its timer, instead of being woken by each `recv` that ends.
    fn is_woken_often(&mut self) -> bool {
        let looked = std::mem::replace(&mut self.looked, Instant::now());
        self.looked - looked < GRACE
    }

    /// Ends a close that takes too long.
    fn check_close(&mut self, cx: &mut Context<'_>) {
        let reason = match &lock(&self.hub.outbox).phase {
            Phase::Closing(reason) => reason.clone(),
            _ => return,
        };
        let deadline = self.hub.limits.close_deadline;
        let timer = self.closing.get_or_insert_with(|| Box::pin(sleep(deadline)));
        if timer.as_mut().poll(cx).is_ready() {
            // Everything was flushed and only the peer's answer is missing: that is a close all the same.
            self.hub.end(None, reason);
        }
    }

    /// Pings a silent peer, and cuts one that was silent for too long.
    fn check_alive(&mut self, cx: &mut Context<'_>) {
        let (ping, idle) = (self.hub.limits.ping_interval, self.hub.limits.idle_deadline);
        let Some(deadline) = idle.or(ping.map(|ping| ping * 3)) else {
            return;
        };
        let period = ping.unwrap_or(deadline).min(deadline);
        let alive = self.alive.get_or_insert_with(|| Alive {
            timer: Box::pin(sleep(period)),
            period,
            heard: 0,
            since: Instant::now(),
        });
        while alive.timer.as_mut().poll(cx).is_ready() {
            alive.timer.set(sleep_until(Instant::now() + alive.period));
            let (heard, blind) = {
                let inbox = lock(&self.hub.inbox);
                (inbox.heard, inbox.is_full(self.hub.limits.read_ahead))
            };
            if heard != alive.heard || blind {
                (alive.heard, alive.since) = (heard, Instant::now());
            }
            let quiet = alive.since.elapsed();
            if quiet >= deadline {
                let why = Error::new(
                    ErrorKind::Timeout,
                    self.hub.doing(&format!("nothing heard for {deadline:?} from")),
                );
                self.hub.end(Some(why), CloseReason::GOING_AWAY);
            } else if ping.is_some() {
                // Where the protocol has no ping, the deadline alone decides.
                let _ = self.hub.answer(Frame::Ping(bytes::Bytes::from_static(b"haul")));
            }
        }
    }

    /// Writes, then ends the sending direction when all is written and nothing more is to come.
    fn write(&self) {
        let mut writer = lock(&self.hub.writer);
        let mut written = self.hub.poll_write(&mut writer);
        if matches!(written, Poll::Ready(Ok(()))) && !writer.finished {
            let finishing = {
                let outbox = lock(&self.hub.outbox);
                outbox.buf.is_empty() && matches!(outbox.phase, Phase::Finishing | Phase::Closing(_))
            };
            if finishing && let Some(half) = &mut writer.half {
                let mut cx = Context::from_waker(&self.hub.waker);
                written = loop {
                    match half.poll_finish(&mut cx) {
                        Poll::Ready(Err(why)) if why.kind() == ErrorKind::Gap => self.hub.give_up(None, why),
                        finished => break finished,
                    }
                };
                writer.finished = matches!(written, Poll::Ready(Ok(())));
                if writer.finished {
                    self.hub.progress.notify_waiters();
                }
            }
        }
        drop(writer);
        self.hub.note_written(written);
    }

    /// Both directions are done, or ours is and the peer has no word for its end: the connection is over.
    fn check_done(&self) {
        if !lock(&self.hub.writer).finished {
            return;
        }
        let ended = lock(&self.hub.inbox).end.is_some();
        let reason = match &lock(&self.hub.outbox).phase {
            Phase::Closing(reason) if ended || !self.hub.info.close_frames => reason.clone(),
            Phase::Finishing if ended => CloseReason::NORMAL,
            _ => return,
        };
        self.hub.end(None, reason);
    }

    /// A socket that is closed with bytes unread makes the kernel throw away what the peer has yet to read (RFC 9293
    /// section 3.6.1): where the peer says no close, what it still sends is read and dropped, for a while.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let clean = self.hub.ending().is_some_and(|ending| ending.why.is_none());
        if !clean || self.hub.info.close_frames {
            return Poll::Ready(());
        }
        let deadline = self.hub.limits.close_deadline;
        let timer = self.closing.get_or_insert_with(|| Box::pin(sleep(deadline)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.hub.poll_drop_rest()
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let hub = self.hub.clone();
        hub.wake.running(cx.waker());
        self.read(cx);
        if !hub.over.load(Ordering::Acquire) {
            self.write();
            self.check_close(cx);
            self.check_alive(cx);
            self.check_done();
        }
        if !hub.over.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // What the application has yet to read stays readable; the link itself is let go.
        hub.read_rest();
        if self.linger(cx).is_pending() {
            return Poll::Pending;
        }
        hub.release();
        Poll::Ready(())
    }
}
