#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! A call that took too long may have been heard all the same: its error is `Sent::Maybe`. Order: inside a retry it
//! bounds each try, outside it bounds them all. Cancel: the inner call is dropped when the time is over, or when this
//! call is dropped; what that undoes, the inner service says.

use std::time::Duration;

use haul_core::{Error, ErrorKind, Input, Result, Service, Subject, duration_text};
use serde::{Deserialize, Serialize};
use tower_layer::Layer;

/// How long a call may take.
///
/// In TOML: `after = "250ms"`; if left out, 30 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutOptions {
    /// How long a call may take; more than zero. Default 30 s.
    #[serde(with = "duration_text")]
    pub after: Duration,
}

impl Default for TimeoutOptions {
    fn default() -> Self {
        Self { after: Duration::from_secs(30) }
    }
}

/// Puts [`Timeout`] around services.
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer {
    after: Duration,
}

impl TimeoutLayer {
    /// A layer with these options. Errors: `Config` for a time of zero.
    pub fn new(options: TimeoutOptions) -> Result<Self> {
        let TimeoutOptions { after } = options;
        if after.is_zero() {
            return Err(Error::new(ErrorKind::Config, "timeout: after must be more than zero"));
        }
        Ok(Self { after })
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        let after = self.after;
        Timeout { inner, after }
    }
}

/// Drops calls of the inner service that take too long, and answers `Timeout`.
#[derive(Clone, Copy, Debug)]
pub struct Timeout<S> {
    inner: S,
    after: Duration,
}

impl<In: Input, S: Service<In>> Service<In> for Timeout<S> {
    async fn call(&self, input: In) -> Result<In::Out> {
        let subject = input.subject();
        match tokio::time::timeout(self.after, self.inner.call(input)).await {
            Ok(answer) => answer,
            Err(_) => Err(late::<In>(&subject, self.after)),
        }
    }
}

fn late<In: Input>(subject: &Subject, after: Duration) -> Error {
    let about = match subject {
        Subject::Nothing => String::new(),
        subject => format!(" {subject}"),
    };
    let message = format!("{}{about}: no answer within {after:?}; it may have arrived", In::ROLE);
    Error::new(ErrorKind::Timeout, message)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use haul_core::{
        Batch, Deliver, DeliverAll, Dial, Endpoint, Level, Packet, Receipt, Sent, Status, service_fn,
    };
    use tokio::time::{Instant, sleep};

    use super::*;

    fn layer(millis: u64) -> TimeoutLayer {
        let after = Duration::from_millis(millis);
        TimeoutLayer::new(TimeoutOptions { after }).unwrap()
    }

    fn takes(millis: u64) -> impl Service<Packet> {
        service_fn(move |_: Packet| async move {
            sleep(Duration::from_millis(millis)).await;
            Ok(Receipt::new(Level::Sent, None))
        })
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_is_passed_on() {
        layer(100).layer(takes(99)).deliver(Packet::text("x")).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_an_error_that_says_after_how_long_doing_what() {
        let start = Instant::now();
        let late = layer(100).layer(takes(101));
        let error = late.deliver(Packet::text("four")).await.unwrap_err();
        assert_eq!(start.elapsed(), Duration::from_millis(100));
        assert_eq!(
            (error.kind(), error.status(), error.sent()),
            (ErrorKind::Timeout, Status::Transient, Sent::Maybe)
        );
        assert_eq!(error.to_string(), "deliver 4 bytes: no answer within 100ms; it may have arrived");
    }

    #[tokio::test(start_paused = true)]
    async fn dials_and_batches_are_named_too() {
        let never = layer(100).layer(service_fn(|_: Endpoint| pending()));
        let endpoint = Endpoint::parse("tcp://user:secret@host:9").unwrap();
        let error = never.dial(endpoint).await.unwrap_err();
        assert!(error.message().starts_with("dial tcp://user:***@host:9: "), "{error}");
        let never = layer(100).layer(service_fn(|_: Batch| pending()));
        let error = never.deliver_all(vec![Packet::text("x"); 3]).await.unwrap_err();
        assert!(error.message().starts_with("deliver_all 3 packets: "), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_inner_call_is_dropped_when_the_time_is_over() {
        struct Dropped(Arc<AtomicBool>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let dropped = Arc::new(AtomicBool::new(false));
        let seen = dropped.clone();
        let never = layer(100).layer(service_fn(move |_: Packet| {
            let held = Dropped(seen.clone());
            async move {
                let _held = held;
                pending().await
            }
        }));
        never.deliver(Packet::text("x")).await.unwrap_err();
        assert!(dropped.load(Ordering::Relaxed));
    }

    #[test]
    fn options_come_from_toml_and_wrong_ones_are_refused() {
        let options: TimeoutOptions = toml::from_str("after = \"250ms\"").unwrap();
        assert_eq!(options.after, Duration::from_millis(250));
        assert!(toml::from_str::<TimeoutOptions>("before = \"1s\"").is_err());
        let after = Duration::ZERO;
        let error = TimeoutLayer::new(TimeoutOptions { after }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
