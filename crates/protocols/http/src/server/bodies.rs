//! The bodies of a server's requests and responses.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use haul_core::{Body, Error, ErrorKind, Result};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::Busy;
use crate::failure;

/// A request's body: not larger than allowed, and not slower.
pub(super) struct Upload {
    inner: hyper::body::Incoming,
    left: usize,
    max: usize,
    stall: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Upload {
    pub(super) fn new(inner: hyper::body::Incoming, max: usize, stall: Duration) -> Self {
        Self { inner, left: max, max, stall, timer: None, armed: false }
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>> {
        self.armed = false;
        let size = frame.data_ref().map_or(0, Bytes::len);
        self.left = self.left.checked_sub(size).ok_or_else(|| too_large(self.max))?;
        Ok(frame)
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if !self.armed {
            let until = Instant::now() + self.stall;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(until),
                None => self.timer = Some(Box::pin(sleep_until(until))),
            }
            self.armed = true;
        }
        let timer = self.timer.as_mut().expect("it was just made");
        timer.as_mut().poll(cx).map(|()| {
            let why = format!("nothing of the request's body came for {:?}", self.stall);
            Error::new(ErrorKind::Timeout, why).with("status", 408)
        })
    }
}

pub(super) fn too_large(max: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("a request's body of more than max_body={max} bytes"))
}

fn broken(why: &hyper::Error) -> Error {
    failure::body(why).while_doing("read the request's body").with("status", 400)
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(self.take(frame))),
            Poll::Ready(Some(Err(why))) => Poll::Ready(Some(Err(broken(&why)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self.poll_late(cx).map(|late| Some(Err(late))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response's body; until it is dropped, its request is under way.
pub(super) struct Download {
    body: Body,
    _busy: Busy,
}

impl Download {
    pub(super) fn new(body: Body, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
