//! The response's body: bounded in time, and told apart from one that was cut.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Result, Sent, Subject};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::gate::Permit;
use super::own::Own;
use crate::failure;

/// The bytes of a response as they come; the request counts as under way until they have all come.
pub(super) struct Received {
    inner: hyper::body::Incoming,
    /// The connection, where nobody else sees to it.
    own: Option<Own>,
    subject: Subject,
    idle: Duration,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether `timer` counts from the last piece on.
    armed: bool,
    permit: Option<Permit>,
}

impl Received {
    pub(super) fn new(
        inner: hyper::body::Incoming,
        own: Option<Own>,
        subject: Subject,
        (idle, deadline): (Duration, Option<Instant>),
        permit: Permit,
    ) -> Self {
        Self { inner, own, subject, idle, deadline, timer: None, armed: false, permit: Some(permit) }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &self.own {
            Some(own) if polled.is_pending() => {
                own.poll(cx);
                Pin::new(&mut self.inner).poll_frame(cx)
            }
            _ => polled,
        }
    }

    /// What the timer waits for: the peer, or the end of all the time that there is.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let now = Instant::now();
        if !self.armed {
            let until = self.deadline.map_or(now + self.idle, |deadline| deadline.min(now + self.idle));
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(until),
                None => self.timer = Some(Box::pin(sleep_until(until))),
            }
            self.armed = true;
        }
        let timer = self.timer.as_mut().expect("it was just made");
        timer.as_mut().poll(cx).map(|()| self.late(now))
    }

    fn late(&self, now: Instant) -> Error {
        let why = match self.deadline {
            Some(deadline) if deadline <= now => "the response was not complete in time".to_owned(),
            _ => format!("nothing came for {:?}", self.idle),
        };
        Error::new(ErrorKind::Timeout, why)
    }

    fn failed(&self, why: Error) -> Error {
        why.with_sent(Sent::Maybe).while_doing(format!("read the response to {}", self.subject))
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if this.permit.is_none() {
            return Poll::Ready(None);
        }
        let frame = match this.poll_inner(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.armed = false;
                match this.deadline {
                    Some(deadline) if deadline <= Instant::now() => Some(Err(this.late(Instant::now()))),
                    _ => return Poll::Ready(Some(Ok(frame))),
                }
            }
            Poll::Ready(Some(Err(why))) => Some(Err(failure::body(&why))),
            Poll::Ready(None) => None,
            Poll::Pending => match this.poll_late(cx) {
                Poll::Ready(late) => Some(Err(late)),
                Poll::Pending => return Poll::Pending,
            },
        };
        (this.permit, this.own) = (None, None);
        Poll::Ready(frame.map(|failed: Result<_>| failed.map_err(|why| this.failed(why))))
    }

    fn is_end_stream(&self) -> bool {
        self.permit.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").field("subject", &self.subject).finish_non_exhaustive()
    }
}
