//! The request's body, and how far it came.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use haul_core::{Body, Error, Result};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

/// When a request last moved: never until a connection took it up, then with each piece of its body.
///
/// A connection asks a body whether it is at its end just before it writes the head, so that a request whose body was
/// never asked did not leave this machine.
#[derive(Debug)]
pub(super) struct Progress {
    made: Instant,
    /// Milliseconds from then to the last step, and one; 0 before the first.
    last: AtomicU64,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { made: Instant::now(), last: AtomicU64::new(0) }
    }

    fn step(&self) {
        let since = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since.saturating_add(1), Relaxed);
    }

    pub(super) fn last(&self) -> Option<Instant> {
        let since = self.last.load(Relaxed).checked_sub(1)?;
        Some(self.made + Duration::from_millis(since))
    }

    pub(super) fn begun(&self) -> bool {
        self.last().is_some()
    }
}

/// A body that notes its progress.
pub(super) struct Outgoing {
    body: Body,
    progress: Arc<Progress>,
}

impl Outgoing {
    pub(super) fn new(body: Body, progress: Arc<Progress>) -> Self {
        Self { body, progress }
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.progress.step();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.progress.step();
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
