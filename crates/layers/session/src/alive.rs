//! Whether the peer is heard of on the link that stands.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use haul_core::Limits;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Pings a silent peer, and tells when it was silent for too long.
pub(crate) struct Alive {
    timer: Pin<Box<Sleep>>,
    period: Duration,
    deadline: Duration,
    pings: bool,
    since: Instant,
    heard: bool,
}

/// What to do.
pub(crate) enum Due {
    Nothing,
    Ping,
    Cut(Duration),
}

impl Alive {
    /// What `limits` ask for, and `limits` without it: silence ends a link, not the session.
    pub(crate) fn take_from(limits: &mut Limits) -> Option<Self> {
        let (ping, idle) = (limits.ping_interval.take(), limits.idle_deadline.take());
        let deadline = idle.or(ping.map(|ping| ping * 3))?;
        let period = ping.unwrap_or(deadline).min(deadline);
        let timer = Box::pin(sleep(period));
        Some(Self { timer, period, deadline, pings: ping.is_some(), since: Instant::now(), heard: false })
    }

    pub(crate) fn heard(&mut self) {
        self.heard = true;
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Due {
        if std::mem::take(&mut self.heard) {
            self.since = Instant::now();
        }
        let mut due = Due::Nothing;
        while let Poll::Ready(()) = self.timer.as_mut().poll(cx) {
            let now = Instant::now();
            self.timer.set(sleep_until(now + self.period));
            let quiet = now - self.since;
            if quiet >= self.deadline {
                return Due::Cut(quiet);
            }
            if self.pings {
                due = Due::Ping;
            }
        }
        due
    }
}
