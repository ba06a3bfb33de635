#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! What may have reached the peer (`Sent::Maybe`) is sent again only if it is idempotent; of a batch, only the part
//! that is undone. Order: a timeout inside bounds each try, outside bounds them all. Cancel: dropping the future stops
//! retrying; the last try may have happened.

mod budget;
mod options;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use haul_core::{Backoff, Error, Input, Result, Service, Tried};
use tokio::time::{Instant, sleep};
use tower_layer::Layer;

use budget::Budget;
pub use options::RetryOptions;

/// Puts [`Retry`] around services. Clones of one layer, and all services made with them, share one retry budget.
#[derive(Clone)]
pub struct RetryLayer(Arc<Policy>);

struct Policy {
    options: RetryOptions,
    backoff: Backoff,
    budget: Budget,
    random: fn() -> u64,
}

impl RetryLayer {
    /// A layer with these options. Errors: `Config` for a value out of its range.
    pub fn new(options: RetryOptions) -> Result<Self> {
        Self::with_random(options, Backoff::random)
    }

    fn with_random(options: RetryOptions, random: fn() -> u64) -> Result<Self> {
        Ok(Self(Arc::new(Policy {
            backoff: options.check()?,
            budget: Budget::new(options.budget, options.reserve),
            options,
            random,
        })))
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry { inner, policy: self.0.clone() }
    }
}

/// Calls the inner service again while its answer says that trying again may help.
#[derive(Clone)]
pub struct Retry<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<In: Input, S: Service<In>> Service<In> for Retry<S> {
    async fn call(&self, mut todo: In) -> Result<In::Out> {
        let mut tries = self.policy.start();
        let mut tried = Tried::<In>::new();
        loop {
            let spare = todo.replay();
            let mut answer = self.inner.call(todo).await;
            let unfinished = spare.and_then(|input| input.unfinished(&mut answer));
            let answer = tried.join(answer);
            let Some((rest, why)) = unfinished else {
                return answer;
            };
            if !tries.wait(&why).await {
                return In::exhausted(answer);
            }
            tried.again(answer, &why);
            todo = rest;
        }
    }
}

/// The tries of one call.
struct Tries<'a> {
    policy: &'a Policy,
    last_start: Option<Instant>,
    retries: u32,
}

impl Policy {
    fn start(&self) -> Tries<'_> {
        self.budget.earn();
        Tries {
            policy: self,
            last_start: self.options.deadline.map(|deadline| Instant::now() + deadline),
            retries: 0,
        }
    }
}

impl Tries<'_> {
    /// Waits until it is time for another try; at once `false` if there is to be none.
    async fn wait(&mut self, why: &Error) -> bool {
        let policy = self.policy;
        if self.retries + 1 >= policy.options.attempts {
            return false;
        }
        let drawn = policy.backoff.wait(self.retries, (policy.random)());
        let wait = drawn.max(why.retry_after().unwrap_or(Duration::ZERO));
        let late = |last: Instant| Instant::now().checked_add(wait).is_none_or(|start| start > last);
        if self.last_start.is_some_and(late) || !policy.budget.spend() {
            return false;
        }
        self.retries += 1;
        sleep(wait).await;
        true
    }
}

impl fmt::Debug for RetryLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RetryLayer").field(&self.0.options).finish()
    }
}

impl<S: fmt::Debug> fmt::Debug for Retry<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("inner", &self.inner).field("options", &self.policy.options).finish()
    }
}

#[cfg(test)]
mod tests;
