#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! It sends each packet once to each member. Order: a retry around one member sends again what that one failed; a retry
//! outside sends again to all, which is done only for packets with an id, as some members may have taken them. A timeout
//! belongs around each member, for the slowest is waited for. Cancel: dropping the future drops the calls that are under
//! way; what was answered has happened.

mod merge;
mod options;

use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;
use haul_core::{Batch, Error, ErrorKind, Packet, Receipt, Result, Service, Sink};
use tower_layer::Layer;

use merge::{Column, merge};
pub use options::{FanoutOptions, Need};

/// Members at most.
pub const MAX_MEMBERS: usize = 16;

/// Puts [`Fanout`] around services: the one it is put around is a member beside the others.
#[derive(Clone)]
pub struct FanoutLayer<S> {
    options: FanoutOptions,
    others: Vec<S>,
}

impl<S> FanoutLayer<S> {
    /// A layer that delivers to the service it is put around and to `others`.
    ///
    /// Errors: `Config` if there are no others, or more than fit beside the first.
    pub fn new(options: FanoutOptions, others: impl Into<Vec<S>>) -> Result<Self> {
        let others = others.into();
        if !(1..MAX_MEMBERS).contains(&others.len()) {
            let (count, most) = (others.len(), MAX_MEMBERS - 1);
            let message = format!("fanout: {count} services beside the first must be between 1 and {most}");
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(Self { options, others })
    }
}

impl<S: Clone> Layer<S> for FanoutLayer<S> {
    type Service = Fanout<S>;

    fn layer(&self, inner: S) -> Fanout<S> {
        let members: Arc<[S]> = std::iter::once(inner).chain(self.others.iter().cloned()).collect();
        Fanout { need: self.options.need.of(members.len()), members }
    }
}

/// Delivers each packet to all of its members.
pub struct Fanout<S> {
    members: Arc<[S]>,
    /// So many must accept a packet.
    need: usize,
}

impl<S: Service<Packet>> Service<Packet> for Fanout<S> {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let outcomes = join_all(self.members.iter().map(|member| member.call(packet.clone()))).await;
        merge(self.need, outcomes)
    }
}

impl<S: Service<Batch>> Service<Batch> for Fanout<S> {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let count = batch.len();
        let answers = join_all(self.members.iter().map(|member| member.call(batch.clone()))).await;
        let all_failed = answers.iter().all(Result::is_err);
        let mut columns: Vec<_> = answers.into_iter().map(|answer| Column::new(answer, count)).collect();
        let mut merged = || merge(self.need, columns.iter_mut().map(Column::next));
        if all_failed {
            return merged().map(|_| Vec::new());
        }
        Ok((0..count).map(|_| merged()).collect())
    }
}

impl<S: Sink> Sink for Fanout<S> {
    /// Ready when as many are as must accept a packet. Errors: the first of those that are not.
    async fn ready(&self) -> Result<()> {
        let answers = join_all(self.members.iter().map(Sink::ready)).await;
        let ready = answers.iter().filter(|answer| answer.is_ok()).count();
        match ready >= self.need {
            true => Ok(()),
            false => answers.into_iter().collect(),
        }
    }

    /// Closes all. Errors: the first.
    async fn close(&self) -> Result<()> {
        join_all(self.members.iter().map(Sink::close)).await.into_iter().collect()
    }
}

impl<S> Clone for Fanout<S> {
    fn clone(&self) -> Self {
        Self { members: self.members.clone(), need: self.need }
    }
}

impl<S> fmt::Debug for FanoutLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanoutLayer")
            .field("options", &self.options)
            .field("others", &self.others.len())
            .finish()
    }
}

impl<S> fmt::Debug for Fanout<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.members.len();
        f.debug_struct("Fanout").field("members", &members).field("need", &self.need).finish()
    }
}

#[cfg(test)]
mod tests;
