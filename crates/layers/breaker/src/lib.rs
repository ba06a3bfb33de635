#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! It sends nothing twice, and nothing at all while it is open. Order: inside a retry it sees each try, and a retry waits
//! until it lets one through; outside it sees what is left after the retries. Cancel: a call that is dropped says nothing
//! about the peer, and gives its place back if it was a probe.

mod circuit;
mod options;
mod watch;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haul_core::{Error, ErrorKind, Input, Result, Service};
use tokio::sync::watch as channel;
use tokio::time::Instant;
use tower_layer::Layer;

use circuit::{Circuit, Pass, Refusal};
pub use options::BreakerOptions;
pub use watch::{BreakerState, BreakerWatch};

/// Puts [`Breaker`] around services, each with a circuit of its own.
#[derive(Clone, Debug)]
pub struct BreakerLayer {
    options: BreakerOptions,
}

impl BreakerLayer {
    /// A layer with these options. Errors: `Config` for a value out of its range.
    pub fn new(options: BreakerOptions) -> Result<Self> {
        Ok(Self { options: options.check()? })
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Breaker<S>;

    fn layer(&self, inner: S) -> Breaker<S> {
        let shared = Shared {
            options: self.options.clone(),
            circuit: Mutex::new(Circuit::new()),
            state: channel::Sender::new(BreakerState::Closed),
        };
        Breaker { inner, shared: Arc::new(shared) }
    }
}

/// Refuses calls while the inner service fails too often. Clones share one circuit.
#[derive(Clone)]
pub struct Breaker<S> {
    inner: S,
    shared: Arc<Shared>,
}

struct Shared {
    options: BreakerOptions,
    circuit: Mutex<Circuit>,
    state: channel::Sender<BreakerState>,
}

impl<S> Breaker<S> {
    /// The state now. Open turns to half open when the next call comes after its time.
    pub fn state(&self) -> BreakerState {
        *self.shared.state.borrow()
    }

    /// Sees each change of the state from now on.
    pub fn watch(&self) -> BreakerWatch {
        BreakerWatch::new(self.shared.state.subscribe())
    }
}

impl<In: Input, S: Service<In>> Service<In> for Breaker<S> {
    async fn call(&self, input: In) -> Result<In::Out> {
        let admitted = self.shared.admit().map_err(|refused| refused.tell(&input))?;
        let answer = self.inner.call(input).await;
        admitted.settle(match &answer {
            Ok(out) => In::failure(out),
            Err(why) => Some(why.clone()),
        });
        answer
    }
}

impl Shared {
    fn admit(&self) -> Result<Admitted<'_>, Refusal> {
        let mut circuit = self.lock();
        let pass = circuit.admit(&self.options, Instant::now());
        self.show(&circuit);
        Ok(Admitted { shared: self, pass: Some(pass?) })
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the state of the locked circuit, so that changes are seen in their order.
    fn show(&self, circuit: &Circuit) {
        let state = circuit.state();
        if *self.state.borrow() != state {
            self.state.send_replace(state);
        }
    }
}

/// A call under way; dropped without an outcome, it is forgotten.
struct Admitted<'a> {
    shared: &'a Shared,
    pass: Option<Pass>,
}

impl Admitted<'_> {
    fn settle(mut self, failure: Option<Error>) {
        let options = &self.shared.options;
        let failure = failure.filter(|why| options.counts(why));
        let mut circuit = self.shared.lock();
        if let Some(pass) = self.pass.take() {
            circuit.settle(pass, failure, options, Instant::now());
        }
        self.shared.show(&circuit);
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.shared.lock().forget(pass);
        }
    }
}

impl Refusal {
    fn tell<In: Input>(self, input: &In) -> Error {
        let what = match self.wait {
            Some(wait) => format!("the circuit is open for another {wait:.1?}"),
            None => "the circuit is half open, and its probes are under way".to_owned(),
        };
        let mut error =
            Error::new(ErrorKind::CircuitOpen, format!("{} {}: {what}", In::ROLE, input.subject()));
        if let Some(last) = self.last {
            error = error.with("opened_by", last);
        }
        match self.wait {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Breaker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("inner", &self.inner)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
