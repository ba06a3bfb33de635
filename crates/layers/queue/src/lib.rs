#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! What may have reached the peer (`Sent::Maybe`) is sent again only if it is idempotent; of a batch, only the part that is
//! undone. Order: calls of one priority begin in the order in which they came, as far as they do not fail; a timeout inside
//! bounds each try, outside it bounds the wait too. Cancel: a call that waits is out of the queue; one that is under way
//! drops the inner call, which may have happened.

mod line;
mod options;

use std::fmt;
use std::sync::Arc;

use haul_core::{Backoff, Input, Result, Service, Tried};
use tokio::time::sleep;
use tower_layer::Layer;

use line::Line;
pub use options::{Overflow, QueueOptions};

/// How one call is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How urgent it is: higher goes first.
    pub priority: u8,
    /// Tries in all, the first included; 0 is as 1.
    pub attempts: u32,
}

type Choose<In> = Arc<dyn Fn(&In) -> Policy + Send + Sync>;

/// Puts [`Queue`] around services, each with a queue of its own.
pub struct QueueLayer<In: Input> {
    options: QueueOptions,
    choose: Choose<In>,
}

impl<In: Input> QueueLayer<In> {
    /// A layer with these options, by which all calls have one policy. Errors: `Config` for a value out of its range.
    pub fn new(options: QueueOptions) -> Result<Self> {
        let policy = options.check()?.policy();
        Ok(Self { options, choose: Arc::new(move |_| policy) })
    }

    /// The layer, with `choose` to say the policy of each call.
    #[must_use]
    pub fn policy(self, choose: impl Fn(&In) -> Policy + Send + Sync + 'static) -> Self {
        Self { choose: Arc::new(choose), ..self }
    }
}

impl<In: Input, S> Layer<S> for QueueLayer<In> {
    type Service = Queue<S, In>;

    fn layer(&self, inner: S) -> Queue<S, In> {
        let (line, backoff) = (Line::new(self.options), self.options.backoff());
        Queue { inner, line, backoff, choose: self.choose.clone() }
    }
}

/// Calls the inner service so many times at once, the most urgent call first. Clones share one queue.
pub struct Queue<S, In: Input> {
    inner: S,
    line: Arc<Line>,
    backoff: Backoff,
    choose: Choose<In>,
}

impl<In: Input, S: Service<In>> Queue<S, In> {
    /// Calls with a policy of its own.
    ///
    /// Errors: `Overloaded` if the queue is full, with nothing sent; those of the inner service, `Exhausted` after the last
    /// of several tries.
    pub async fn call_with(&self, mut todo: In, policy: Policy) -> Result<In::Out> {
        let Policy { priority, attempts } = policy;
        let subject = todo.subject();
        let mut turn = match self.line.place(priority).await {
            Ok(place) => self.line.turn(place, priority).await,
            Err(why) => Err(why),
        }
        .map_err(|why| why.while_doing(format_args!("{} {subject}", In::ROLE)))?;
        let mut tried = Tried::<In>::new();
        let mut retries = 0;
        loop {
            let spare = if attempts > 1 { todo.replay() } else { None };
            let mut answer = self.inner.call(todo).await;
            let unfinished = spare.and_then(|input| input.unfinished(&mut answer));
            let answer = tried.join(answer);
            let Some((rest, why)) = unfinished else {
                return answer;
            };
            if retries + 1 >= attempts {
                return In::exhausted(answer);
            }
            let place = turn.pause();
            sleep(self.backoff.wait(retries, Backoff::random()).max(why.retry_after().unwrap_or_default()))
                .await;
            retries += 1;
            turn = match self.line.turn(place, priority).await {
                Ok(turn) => turn,
                // What it failed with before says more than that it had to go.
                Err(_) => return In::exhausted(answer),
            };
            tried.again(answer, &why);
            todo = rest;
        }
    }
}

impl<S, In: Input> Queue<S, In> {
    /// Calls that wait for their turn now.
    pub fn waiting(&self) -> usize {
        self.line.waiting()
    }
}

impl<In: Input, S: Service<In>> Service<In> for Queue<S, In> {
    async fn call(&self, input: In) -> Result<In::Out> {
        let policy = (self.choose)(&input);
        self.call_with(input, policy).await
    }
}

impl<In: Input> Clone for QueueLayer<In> {
    fn clone(&self) -> Self {
        Self { options: self.options, choose: self.choose.clone() }
    }
}

impl<S: Clone, In: Input> Clone for Queue<S, In> {
    fn clone(&self) -> Self {
        let (line, choose) = (self.line.clone(), self.choose.clone());
        Self { inner: self.inner.clone(), line, backoff: self.backoff, choose }
    }
}

impl<In: Input> fmt::Debug for QueueLayer<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueLayer").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, In: Input> fmt::Debug for Queue<S, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting();
        f.debug_struct("Queue").field("inner", &self.inner).field("waiting", &waiting).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
