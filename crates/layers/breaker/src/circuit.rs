//! The circuit, without clock and locks.

use std::collections::VecDeque;
use std::time::Duration;

use haul_core::Error;
use tokio::time::Instant;

use crate::{BreakerOptions, BreakerState};

/// What the breaker knows.
#[derive(Debug)]
pub(crate) struct Circuit {
    state: BreakerState,
    /// Counts changes of the state: a call that began before one says nothing after it.
    epoch: u64,
    window: VecDeque<bool>,
    failures: usize,
    in_a_row: u32,
    open_until: Option<Instant>,
    probing: u32,
    proved: u32,
    last: Option<Error>,
}

/// A call that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    epoch: u64,
}

/// A call that was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// How long until it may be let through, where that is known.
    pub(crate) wait: Option<Duration>,
    /// What opened the circuit.
    pub(crate) last: Option<Error>,
}

impl Circuit {
    pub(crate) fn new() -> Self {
        Self {
            state: BreakerState::Closed,
            epoch: 0,
            window: VecDeque::new(),
            failures: 0,
            in_a_row: 0,
            open_until: None,
            probing: 0,
            proved: 0,
            last: None,
        }
    }

    pub(crate) fn state(&self) -> BreakerState {
        self.state
    }

    pub(crate) fn admit(&mut self, options: &BreakerOptions, now: Instant) -> Result<Pass, Refusal> {
        if self.state == BreakerState::Open {
            // A time too far to count never comes.
            let wait = self.open_until.map(|until| until.saturating_duration_since(now));
            if wait != Some(Duration::ZERO) {
                return Err(Refusal { wait, last: self.last.clone() });
            }
            self.turn(BreakerState::HalfOpen);
        }
        if self.state == BreakerState::HalfOpen {
            // What is under way and what was proved already closes it, or opens it again.
            if self.probing + self.proved >= options.probes {
                return Err(Refusal { wait: None, last: self.last.clone() });
            }
            self.probing += 1;
        }
        Ok(Pass { epoch: self.epoch })
    }

    /// The call ended: `failure` if it counts as one.
    pub(crate) fn settle(
        &mut self,
        pass: Pass,
        failure: Option<Error>,
        options: &BreakerOptions,
        now: Instant,
    ) {
        if pass.epoch != self.epoch {
            return;
        }
        match self.state {
            BreakerState::Closed => self.record(failure, options, now),
            BreakerState::HalfOpen => {
                self.probing -= 1;
                match failure {
                    Some(why) => self.open(why, options, now),
                    None => {
                        self.proved += 1;
                        if self.proved == options.probes {
                            self.turn(BreakerState::Closed);
                        }
                    }
                }
            }
            BreakerState::Open => {}
        }
    }

    /// The call was dropped: nothing is known, and its place is free again.
    pub(crate) fn forget(&mut self, pass: Pass) {
        if pass.epoch == self.epoch && self.state == BreakerState::HalfOpen {
            self.probing -= 1;
        }
    }

    fn record(&mut self, failure: Option<Error>, options: &BreakerOptions, now: Instant) {
        if self.window.len() == options.window {
            self.failures -= usize::from(self.window.pop_front() == Some(true));
        }
        self.window.push_back(failure.is_some());
        let Some(why) = failure else {
            self.in_a_row = 0;
            return;
        };
        self.failures += 1;
        self.in_a_row += 1;
        let calls = self.window.len();
        let rate = self.failures as f64 / calls as f64;
        if self.in_a_row >= options.consecutive || (calls >= options.least && rate >= options.failure_rate) {
            self.open(why, options, now);
        }
    }

    fn open(&mut self, why: Error, options: &BreakerOptions, now: Instant) {
        let wait = options.open.max(why.retry_after().unwrap_or_default());
        self.turn(BreakerState::Open);
        self.open_until = now.checked_add(wait);
        self.last = Some(why);
    }

    fn turn(&mut self, state: BreakerState) {
        self.state = state;
        self.epoch += 1;
        self.window.clear();
        (self.failures, self.in_a_row, self.probing, self.proved) = (0, 0, 0, 0);
    }
}
