#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! It sends nothing twice, and nothing of what it refuses. Order: inside a retry each try counts, outside the call does;
//! a timeout outside bounds the wait too. Cancel: a call that waits leaves the line, and the tokens that it had taken are
//! spent; the inner call is dropped with this one, and its place is free again.

mod gradient;
mod line;
mod options;
mod rate;
mod slots;

use std::fmt;
use std::sync::Arc;

use haul_core::{Input, Result, Service, Subject};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower_layer::Layer;

use line::Line;
pub use options::{LimitOptions, WhenFull};
use rate::Rate;
use slots::{Slot, Slots};

/// Puts [`Limit`] around services. Clones of one layer, and all services made with them, share one limit.
#[derive(Clone)]
pub struct LimitLayer(Arc<Shared>);

struct Shared {
    options: LimitOptions,
    rate: Option<Rate>,
    slots: Option<Slots>,
    places: Semaphore,
}

impl LimitLayer {
    /// A layer with these options. Errors: `Config` for a value out of its range, or if nothing is limited.
    pub fn new(options: LimitOptions) -> Result<Self> {
        options.check()?;
        Ok(Self(Arc::new(Shared {
            rate: Rate::new(&options),
            slots: options.concurrency.map(|most| Slots::new(most, options.adaptive)),
            places: Semaphore::new(options.waiting),
            options,
        })))
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Limit<S> {
        Limit { inner, shared: self.0.clone() }
    }
}

/// Lets only so many calls of the inner service through.
#[derive(Clone)]
pub struct Limit<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Limit<S> {
    /// Calls that may be under way at once now; `None` without such a limit.
    pub fn allowed(&self) -> Option<usize> {
        self.shared.slots.as_ref().map(Slots::allowed)
    }
}

impl<In: Input, S: Service<In>> Service<In> for Limit<S> {
    async fn call(&self, input: In) -> Result<In::Out> {
        let cost = self.shared.rate.as_ref().map_or(0, |_| cost(&input));
        let slot = self
            .shared
            .enter(cost)
            .await
            .map_err(|why| why.while_doing(format!("{} {}", In::ROLE, input.subject())))?;
        let start = Instant::now();
        let answer = self.inner.call(input).await;
        if let Some(slot) = slot.filter(|_| self.shared.options.adaptive) {
            let inside = answer.as_ref().ok().and_then(In::failure);
            slot.learn(start.elapsed(), answer.as_ref().err().or(inside.as_ref()));
        }
        answer
    }
}

impl Shared {
    /// A place first, then tokens: who waits for a place has not spent any.
    async fn enter(&self, cost: usize) -> Result<Option<Slot<'_>>> {
        let mut line = Line::new(&self.places, self.options.waiting, self.options.when_full);
        let slot = match &self.slots {
            Some(slots) => Some(slots.enter(&mut line).await?),
            None => None,
        };
        if let Some(rate) = &self.rate {
            rate.take(cost, &mut line).await?;
        }
        Ok(slot)
    }
}

/// How many tokens a call takes.
fn cost<In: Input>(input: &In) -> usize {
    match input.subject() {
        Subject::Packets(packets) => packets,
        _ => 1,
    }
}

impl fmt::Debug for LimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LimitLayer").field(&self.0.options).finish()
    }
}

impl<S: fmt::Debug> fmt::Debug for Limit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("inner", &self.inner).field("options", &self.shared.options).finish()
    }
}

#[cfg(test)]
mod tests;
