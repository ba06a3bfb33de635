#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! It sends nothing twice. Order: it stands at the receiving end, outside of what makes copies (fanout) and of what is
//! slow. Cancel: a call or delivery that is dropped before its outcome is known is forgotten, so that its packet passes
//! when it comes again: it may have been delivered once then.

mod source;
mod window;

use std::fmt;
use std::sync::Arc;

use haul_core::{Batch, Error, ErrorKind, Input, Packet, Receipt, Result, Service, Source};
use serde::{Deserialize, Serialize};
use tower_layer::Layer;

pub use source::DedupeSource;
use window::{Claim, Window};

/// How many packets are remembered.
///
/// In TOML: `window = 65536`; it may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DedupeOptions {
    /// The last packets that were delivered, of which each is remembered with its receipt (about 200 bytes), 1 to
    /// 16777216. Default 65536.
    pub window: usize,
}

impl Default for DedupeOptions {
    fn default() -> Self {
        Self { window: 65_536 }
    }
}

/// Puts [`Dedupe`] around services, or [`DedupeSource`] around sources. All that one layer made share one window.
#[derive(Clone, Debug)]
pub struct DedupeLayer(Arc<Window>);

impl DedupeLayer {
    /// A layer with these options. Errors: `Config` for a value out of its range.
    pub fn new(options: DedupeOptions) -> Result<Self> {
        const MOST: usize = 1 << 24;
        let DedupeOptions { window } = options;
        if !(1..=MOST).contains(&window) {
            let message = format!("dedupe: window = {window} must be between 1 and {MOST}");
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(Self(Arc::new(Window::new(window))))
    }

    /// Gives what `source` gives, without the packets that were acknowledged before.
    pub fn source<S: Source>(&self, source: S) -> DedupeSource<S> {
        DedupeSource::new(source, self.0.clone())
    }
}

impl<S> Layer<S> for DedupeLayer {
    type Service = Dedupe<S>;

    fn layer(&self, inner: S) -> Dedupe<S> {
        Dedupe { inner, window: self.0.clone() }
    }
}

/// Delivers each id once: a packet that was delivered before is answered with the receipt of then.
#[derive(Clone)]
pub struct Dedupe<S> {
    inner: S,
    window: Arc<Window>,
}

impl<S: Service<Packet>> Service<Packet> for Dedupe<S> {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let Some(id) = packet.id() else {
            return self.inner.call(packet).await;
        };
        let ticket = loop {
            match self.window.claim(id) {
                Claim::Mine(ticket) => break ticket,
                Claim::Done(receipt) => return Ok(receipt),
                Claim::Open(other) => other.settled().await,
            }
        };
        let outcome = self.inner.call(packet).await;
        drop(ticket.settle(&outcome));
        outcome
    }
}

impl<S: Service<Batch>> Service<Batch> for Dedupe<S> {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let packets = batch.into_packets();
        let mut outcomes = vec![None; packets.len()];
        loop {
            let (mine, other) = self.window.claim_all(&packets, &mut outcomes);
            match other {
                // What is ours is settled before another is waited for: nobody waits in a circle.
                _ if !mine.is_empty() => {
                    let todo = mine.iter().map(|(at, _)| packets[*at].clone()).collect();
                    let answer = match self.inner.call(todo).await {
                        Err(why) if mine.len() == packets.len() => return Err(why),
                        answer => each(answer, mine.len()),
                    };
                    for ((at, ticket), outcome) in mine.into_iter().zip(answer) {
                        drop(ticket.map(|ticket| ticket.settle(&outcome)));
                        outcomes[at] = Some(outcome);
                    }
                }
                Some(other) => other.settled().await,
                None => return Ok(outcomes.into_iter().flatten().collect()),
            }
        }
    }
}

/// The outcomes of so many packets, whatever was answered.
fn each(answer: Result<Vec<Result<Receipt>>>, count: usize) -> Vec<Result<Receipt>> {
    match answer {
        Ok(outcomes) if outcomes.len() == count => outcomes,
        Ok(outcomes) => {
            let outcomes = outcomes.len();
            let message =
                format!("{} {count} packets: the service answered {outcomes} outcomes", Batch::ROLE);
            vec![Err(Error::new(ErrorKind::Internal, message)); count]
        }
        Err(why) => vec![Err(why); count],
    }
}

impl<S: fmt::Debug> fmt::Debug for Dedupe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedupe").field("inner", &self.inner).field("window", &self.window).finish()
    }
}

#[cfg(test)]
mod tests;
