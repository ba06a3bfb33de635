#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! It sends nothing twice. Order: a retry inside sends again what one batch left undone and holds up the next; outside,
//! each caller's packet goes again in a batch of its own time. A timeout inside bounds deliveries, outside it bounds the
//! wait for others too. Cancel: a packet whose caller is gone before its batch left never goes; after that it goes with
//! the others, and a delivery that nobody waits for any more is dropped.

mod driver;
mod options;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use haul_core::{Batch, Error, ErrorKind, Packet, Receipt, Result, Sent, Service, Sink};
use tokio::sync::{mpsc, oneshot, watch};
use tower_layer::Layer;

use driver::{Load, Unit};
pub use options::BatchOptions;

/// Puts [`Batcher`] around services that deliver many packets.
#[derive(Clone, Copy, Debug)]
pub struct BatchLayer {
    options: BatchOptions,
}

impl BatchLayer {
    /// A layer with these options. Errors: `Config` for a value out of its range.
    pub fn new(options: BatchOptions) -> Result<Self> {
        Ok(Self { options: options.check()? })
    }
}

impl<S> Layer<S> for BatchLayer {
    type Service = Batcher<S>;

    fn layer(&self, inner: S) -> Batcher<S> {
        Batcher { inner: Arc::new(inner), options: self.options, state: Arc::new(Mutex::new(State::Idle)) }
    }
}

/// Gathers the packets of many calls and delivers them in one. Clones gather together.
///
/// Its task is started by the first call, in the runtime of that call, and ends with the last clone or
/// [`close`](Sink::close).
pub struct Batcher<S> {
    inner: Arc<S>,
    options: BatchOptions,
    state: Arc<Mutex<State>>,
}

enum State {
    Idle,
    Running(Handle),
    /// Closed; the handle of what is still to be drained.
    Closed(Option<watch::Receiver<()>>),
}

/// The way to the driver, and its end: the watched value is dropped with it.
struct Handle {
    units: mpsc::Sender<Unit>,
    ended: watch::Receiver<()>,
}

impl<S: Service<Batch>> Batcher<S> {
    /// The way to the driver, which is started if there is none yet.
    fn units(&self) -> Result<mpsc::Sender<Unit>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Running(handle) => Ok(handle.units.clone()),
            State::Closed(_) => Err(closed("it was closed").with_sent(Sent::No)),
            State::Idle => {
                let (units, waiting) = mpsc::channel(self.options.waiting);
                let (alive, ended) = watch::channel(());
                tokio::spawn(driver::run(self.inner.clone(), self.options, waiting, alive));
                *state = State::Running(Handle { units: units.clone(), ended });
                Ok(units)
            }
        }
    }

    async fn put(&self, load: Load) -> Result<()> {
        let gone = |_| closed("the runtime of its first call ended").with_sent(Sent::No);
        self.units()?.send(Unit::new(load)).await.map_err(gone)
    }
}

impl<S: Service<Batch>> Service<Packet> for Batcher<S> {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let (reply, outcome) = oneshot::channel();
        self.put(Load::One(packet, reply)).await?;
        outcome.await.unwrap_or_else(|_| Err(closed("the delivery ended without an answer")))
    }
}

impl<S: Service<Batch>> Service<Batch> for Batcher<S> {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, outcomes) = oneshot::channel();
        self.put(Load::Many(batch, reply)).await?;
        outcomes.await.unwrap_or_else(|_| Err(closed("the delivery ended without an answer")))
    }
}

impl<S: Sink> Sink for Batcher<S> {
    fn ready(&self) -> impl Future<Output = Result<()>> + Send {
        self.inner.ready()
    }

    /// Delivers what waits, without waiting for more, then closes the inner sink. A close that is cancelled has closed
    /// the door all the same: what waits is delivered, and another close finishes the rest.
    async fn close(&self) -> Result<()> {
        let ended = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let ended = match &*state {
                State::Idle => None,
                State::Running(handle) => Some(handle.ended.clone()),
                State::Closed(ended) => ended.clone(),
            };
            *state = State::Closed(ended.clone());
            ended
        };
        if let Some(mut ended) = ended {
            // It is never written: the error is its end.
            while ended.changed().await.is_ok() {}
        }
        self.inner.close().await
    }
}

fn closed(why: &str) -> Error {
    Error::new(ErrorKind::Closed, format!("deliver in a batch: {why}"))
}

impl<S> Clone for Batcher<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), options: self.options, state: self.state.clone() }
    }
}

impl<S: fmt::Debug> fmt::Debug for Batcher<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").field("inner", &self.inner).field("options", &self.options).finish()
    }
}

#[cfg(test)]
mod tests;
