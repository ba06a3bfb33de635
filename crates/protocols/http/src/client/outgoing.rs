//! The request's body, and how far it came.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use haul_core::{Body, Error, Result};
use http_body::{Body as HttpBody, Frame, SizeHint};

/// How far a request came: 0 until a connection took it up, more with each piece of its body.
///
/// A connection asks a body whether it is at its end just before it writes the head, so that a request whose body was
/// never asked did not leave this machine.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU64);

impl Progress {
    fn step(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(super) fn steps(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn begun(&self) -> bool {
        self.steps() > 0
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
