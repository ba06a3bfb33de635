#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! It sends nothing twice. Order: outside a retry it sees calls, inside it sees tries. Cancel: a call that is dropped is
//! counted as `cancelled`.

mod metrics;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use ::metrics::SharedString;
use haul_core::{Error, Input, Result, Service};
use serde::{Deserialize, Serialize};
use tower_layer::Layer;
use tracing::{Instrument, Span, debug_span, warn};

use crate::metrics::{Handles, Outcome, Role};

/// What a traced service is called.
///
/// In TOML: `service = "redis"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceOptions {
    /// The name in spans, events and the label `service` of the metrics.
    pub service: Cow<'static, str>,
}

/// Puts [`Trace`] around services.
#[derive(Clone, Debug)]
pub struct TraceLayer {
    service: SharedString,
}

impl TraceLayer {
    /// A layer that calls what it traces `service`: `TraceLayer::new("redis")`.
    pub fn new(service: impl Into<Cow<'static, str>>) -> Self {
        let service = match service.into() {
            Cow::Borrowed(name) => SharedString::const_str(name),
            Cow::Owned(name) => SharedString::from_owned(name),
        };
        Self { service }
    }

    /// A layer with these options.
    pub fn with_options(options: TraceOptions) -> Self {
        Self::new(options.service)
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner, service: self.service.clone(), handles: Arc::default() }
    }
}

/// Tells `tracing` and `metrics` about each call of the inner service.
#[derive(Clone, Debug)]
pub struct Trace<S> {
    inner: S,
    service: SharedString,
    handles: Arc<Handles>,
}

impl<In: Input, S: Service<In>> Service<In> for Trace<S> {
    async fn call(&self, input: In) -> Result<In::Out> {
        let subject = input.subject();
        let span = debug_span!("call", service = &*self.service, role = In::ROLE, %subject);
        let mut watched = Watched {
            role: self.handles.of(&self.service, In::ROLE),
            start: Instant::now(),
            outcome: Outcome::Cancelled,
        };
        let answer = traced(span.clone(), self.inner.call(input)).await;
        let failure = match &answer {
            Ok(out) => In::failure(out),
            Err(why) => Some(why.clone()),
        };
        watched.outcome = match failure {
            None => Outcome::Ok,
            Some(why) => {
                span.in_scope(|| self.tell::<In>(&subject, &why));
                Outcome::Failed(why.kind())
            }
        };
        answer
    }
}

/// The future in its span; as it is where nobody looks at the span.
async fn traced<T>(span: Span, call: impl Future<Output = T>) -> T {
    match span.is_disabled() {
        true => call.await,
        false => call.instrument(span).await,
    }
}

impl<S> Trace<S> {
    /// The event names everything itself, for the span may be filtered out.
    fn tell<In: Input>(&self, subject: &haul_core::Subject, why: &Error) {
        warn!(
            service = &*self.service,
            role = In::ROLE,
            %subject,
            kind = why.kind().as_str(),
            status = ?why.status(),
            sent = ?why.sent(),
            error = %why,
            "call failed"
        );
    }
}

/// A call under way; dropped, it is counted.
struct Watched<'a> {
    role: &'a Role,
    start: Instant,
    outcome: Outcome,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.role.count(self.outcome, self.start.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests;
