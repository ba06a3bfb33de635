#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! What may have reached one service (`Sent::Maybe`) goes to the next only if it is idempotent; of a batch, only the part
//! that is undone. Order: a retry inside, around each service, is done before the next is tried; a retry outside begins
//! with the preferred one again. Cancel: dropping the future drops the call under way, which may have happened.

mod health;
mod options;

use std::fmt;
use std::sync::Arc;

use haul_core::{Error, ErrorKind, Input, Result, Service, Sink, Status, Tried};
use tower_layer::Layer;

use health::Health;
pub use options::FallbackOptions;

/// Services at most, the preferred one included.
pub const MAX_SERVICES: usize = 16;

/// Puts [`Fallback`] around services: the one it is put around is the preferred one.
#[derive(Clone)]
pub struct FallbackLayer<S> {
    options: FallbackOptions,
    others: Vec<S>,
}

impl<S> FallbackLayer<S> {
    /// A layer that falls back to `others`, in order.
    ///
    /// Errors: `Config` for an option out of its range, no others, or more than fit beside the preferred one.
    pub fn new(options: FallbackOptions, others: impl Into<Vec<S>>) -> Result<Self> {
        let (options, others) = (options.check()?, others.into());
        if !(1..MAX_SERVICES).contains(&others.len()) {
            let (count, most) = (others.len(), MAX_SERVICES - 1);
            let message = format!("fallback: {count} services to fall back to must be between 1 and {most}");
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(Self { options, others })
    }
}

impl<S: Clone> Layer<S> for FallbackLayer<S> {
    type Service = Fallback<S>;

    fn layer(&self, inner: S) -> Fallback<S> {
        let services = std::iter::once(inner).chain(self.others.iter().cloned());
        let members = services.map(|service| Member { service, health: Health::new() }).collect();
        Fallback { members, options: Arc::new(self.options.clone()) }
    }
}

/// Calls the first service that works. Clones share what they know of them.
pub struct Fallback<S> {
    members: Arc<[Member<S>]>,
    options: Arc<FallbackOptions>,
}

struct Member<S> {
    service: S,
    health: Health,
}

impl<S> Fallback<S> {
    /// The position of the service that calls go to now; 0 is the preferred one. The first that works, or the first if
    /// none does.
    pub fn active(&self) -> usize {
        self.members.iter().position(|member| member.health.is_up()).unwrap_or(0)
    }
}

impl<In: Input, S: Service<In>> Service<In> for Fallback<S> {
    async fn call(&self, mut todo: In) -> Result<In::Out> {
        let (last, probe) = (self.members.len() - 1, self.options.probe);
        // Where none works, none is passed over: nothing fails that was not tried.
        let mut tries_all = !self.members.iter().any(|member| member.health.is_up());
        let mut tried = Tried::<In>::new();
        for (at, Member { service, health }) in self.members.iter().enumerate() {
            if at < last && !tries_all && !health.admits(probe) {
                continue;
            }
            tries_all = true;
            let spare = if at < last { todo.replay() } else { None };
            let mut answer = service.call(todo).await;
            let stays = self.note::<In>(health, &answer);
            let undone = spare.filter(|_| !stays).and_then(|input| input.elsewhere(&mut answer));
            let answer = tried.join(answer);
            let Some((rest, why)) = undone else { return answer };
            tried.again(answer, &why);
            todo = rest;
        }
        unreachable!("nothing goes on behind the last service")
    }
}

impl<S> Fallback<S> {
    /// Remembers how a service did; `true` if what failed is of a kind that stays with it.
    fn note<In: Input>(&self, health: &Health, answer: &Result<In::Out>) -> bool {
        let failure = match answer {
            Ok(out) => In::failure(out),
            Err(why) => Some(why.clone()),
        };
        match failure {
            Some(why) if self.options.moves_on(&why) => {
                health.failed(self.options.probe.max(why.retry_after().unwrap_or_default()));
                false
            }
            failure => {
                health.works();
                failure.is_some_and(|why| why.status() != Status::Permanent)
            }
        }
    }
}

impl<S: Sink> Sink for Fallback<S> {
    /// Ready when one of the services is. Errors: that of the preferred one if none is.
    async fn ready(&self) -> Result<()> {
        let mut first = None;
        for member in self.members.iter() {
            match member.service.ready().await {
                Ok(()) => return Ok(()),
                Err(why) => drop(first.get_or_insert(why)),
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Closes all. Errors: the first.
    async fn close(&self) -> Result<()> {
        let mut all = Ok(());
        for member in self.members.iter() {
            all = all.and(member.service.close().await);
        }
        all
    }
}

impl<S> Clone for Fallback<S> {
    fn clone(&self) -> Self {
        Self { members: self.members.clone(), options: self.options.clone() }
    }
}

impl<S> fmt::Debug for FallbackLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLayer")
            .field("options", &self.options)
            .field("others", &self.others.len())
            .finish()
    }
}

impl<S> fmt::Debug for Fallback<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (active, members) = (self.active(), self.members.len());
        f.debug_struct("Fallback").field("active", &active).field("members", &members).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
