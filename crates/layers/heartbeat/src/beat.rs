//! When to ask, and when to give up: decided from what was heard, without a link.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::HeartbeatOptions;

/// The least that an adaptive wait lasts (RFC 6298 section 2.4).
const LEAST_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct Beat {
    options: HeartbeatOptions,
    random: fn() -> u64,
    phase: Phase,
    heard: Instant,
    /// When it was last proved that the peer hears us.
    proved: Instant,
    /// How long it may be silent this time.
    rest: Duration,
    round_trip: Option<RoundTrip>,
    timer: Pin<Box<Sleep>>,
}

enum Phase {
    Resting,
    Asking {
        since: Instant,
        missed: u32,
        /// Only an answer will do.
        proof: bool,
    },
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Due {
    Nothing,
    /// Ask, for the first time or after a miss.
    Ask {
        missed: bool,
    },
    /// Ask again: it was asked, but nobody was here to hear.
    AskLate,
    /// Nothing came for so long.
    Cut(Duration),
}

impl Beat {
    pub(crate) fn new(options: HeartbeatOptions, random: fn() -> u64) -> Self {
        let now = Instant::now();
        let mut beat = Self {
            options,
            random,
            phase: Phase::Resting,
            heard: now,
            proved: now,
            rest: Duration::ZERO,
            round_trip: None,
            timer: Box::pin(sleep_until(now)),
        };
        beat.rest = beat.draw_rest();
        beat
    }

    /// Something came.
    pub(crate) fn heard(&mut self) {
        self.heard = Instant::now();
        if let Phase::Asking { proof: false, .. } = self.phase {
            self.phase = Phase::Resting;
        }
    }

    /// An answer came, so long after it was asked for.
    pub(crate) fn answered(&mut self, took: Duration) {
        self.heard = Instant::now();
        self.proved = self.heard;
        self.phase = Phase::Resting;
        self.round_trip = Some(RoundTrip::after(self.round_trip, took));
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Due {
        loop {
            let due = self.due();
            if due < self.timer.deadline() {
                self.timer.as_mut().reset(due);
            }
            let Poll::Ready(()) = self.timer.as_mut().poll(cx) else { return Due::Nothing };
            let now = Instant::now();
            if due > now {
                self.timer.as_mut().reset(due);
                continue;
            }
            let what = self.act(now, now - due > self.options.timeout);
            let next = self.due();
            self.timer.as_mut().reset(next);
            if matches!(what, Due::Cut(_)) {
                return what;
            }
            // The timer holds the waker for what comes next.
            let _ = self.timer.as_mut().poll(cx);
            return what;
        }
    }

    /// It is time; `late` if the clock jumped, or nobody looked, while an answer may have come.
    fn act(&mut self, now: Instant, late: bool) -> Due {
        let proof = self.options.prove.is_some_and(|prove| now >= self.proved + prove);
        let (what, missed) = match self.phase {
            Phase::Resting => (Due::Ask { missed: false }, 0),
            Phase::Asking { missed, .. } if late => (Due::AskLate, missed),
            Phase::Asking { missed, .. } if missed + 1 >= self.options.misses => {
                let quiet = now - if proof { self.proved } else { self.heard };
                return Due::Cut(quiet);
            }
            Phase::Asking { missed, .. } => (Due::Ask { missed: true }, missed + 1),
        };
        self.rest = self.draw_rest();
        self.phase = Phase::Asking { since: now, missed, proof };
        what
    }

    fn due(&self) -> Instant {
        match self.phase {
            Phase::Asking { since, missed, .. } => since + self.wait(missed),
            Phase::Resting => {
                let silent = self.heard + self.rest;
                self.options.prove.map_or(silent, |prove| silent.min(self.proved + prove))
            }
        }
    }

    /// How long the question after so many misses waits.
    fn wait(&self, missed: u32) -> Duration {
        let most = self.options.timeout;
        match self.round_trip.filter(|_| self.options.adaptive) {
            Some(round_trip) => (round_trip.bound().max(LEAST_WAIT) * 2_u32.pow(missed)).min(most),
            None => most,
        }
    }

    fn draw_rest(&self) -> Duration {
        let drawn = (self.random)() as f64 / u64::MAX as f64;
        self.options.interval.mul_f64(1.0 - self.options.jitter * drawn)
    }
}

/// Smoothed as RFC 6298 section 2 does.
#[derive(Clone, Copy)]
struct RoundTrip {
    smoothed: Duration,
    variation: Duration,
}

impl RoundTrip {
    fn after(before: Option<Self>, took: Duration) -> Self {
        match before {
            None => Self { smoothed: took, variation: took / 2 },
            Some(Self { smoothed, variation }) => Self {
                variation: variation * 3 / 4 + smoothed.abs_diff(took) / 4,
                smoothed: smoothed * 7 / 8 + took / 8,
            },
        }
    }

    fn bound(self) -> Duration {
        self.smoothed + 4 * self.variation
    }
}
