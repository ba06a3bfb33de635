//! The way back to a haul peer: one POST after another, each with all that has gathered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use haul_core::wire::SendBuf;
use haul_core::{Backoff, Body, BoxFuture, Call, Error, ErrorKind, Input, Result, Status, WriteHalf};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use super::Request;
use super::open::said;
use crate::options::POST;
use crate::words;

/// How long the answer to a POST may take: longer than a server holds one that it cannot take yet.
const ANSWER: Duration = Duration::from_secs(30);

const BACKOFF: Backoff =
    Backoff { base: Duration::from_millis(50), factor: 2.0, cap: Duration::from_secs(5) };

/// Sends what it is given in POSTs that are numbered, so that one whose answer was lost can be sent again.
pub(crate) struct Upload {
    request: Request,
    number: u64,
    under_way: Option<BoxFuture<'static, Result<()>>>,
    /// How long a POST that fails is tried again.
    patience: Duration,
    /// The session ended as it should.
    closed: Arc<AtomicBool>,
    runtime: Handle,
}

impl Upload {
    /// For the session that `request` names.
    pub(crate) fn new(request: Request, patience: Duration, closed: Arc<AtomicBool>) -> Self {
        Self { request, number: 0, under_way: None, patience, closed, runtime: Handle::current() }
    }

    fn poll_under_way(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(post) = &mut self.under_way {
            let posted = ready!(post.as_mut().poll(cx));
            self.under_way = None;
            posted?;
        }
        Poll::Ready(Ok(()))
    }
}

impl WriteHalf for Upload {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        while !out.bytes.is_empty() {
            ready!(self.poll_under_way(cx))?;
            let body = take(out, POST);
            self.under_way = Some(Box::pin(post(self.request.clone(), self.number, body, self.patience)));
            self.number += 1;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_under_way(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_under_way(cx)
    }
}

impl Drop for Upload {
    /// A session that did not end as it should is cut at the peer too.
    fn drop(&mut self) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        let request = self.request.clone();
        self.runtime.spawn(async move {
            if let Ok(delete) = request.of(Method::DELETE, Body::empty()) {
                // If it does not arrive, the peer sees that nobody comes back.
                let _ = timeout(request.timeout, request.client.request(delete)).await;
            }
        });
    }
}

/// Takes at most `most` bytes out.
pub(crate) fn take(out: &mut SendBuf, most: usize) -> Bytes {
    let mut taken = Vec::with_capacity(out.bytes.len().min(most));
    while taken.len() < most && !out.bytes.is_empty() {
        let chunk = out.bytes.chunk();
        let len = chunk.len().min(most - taken.len());
        taken.extend_from_slice(&chunk[..len]);
        out.bytes.advance(len);
    }
    taken.into()
}

/// Sends the POST with this number until it is accepted.
async fn post(request: Request, number: u64, body: Bytes, patience: Duration) -> Result<()> {
    let mut failing: Option<Instant> = None;
    let mut tries = 0;
    loop {
        let late = || Error::new(ErrorKind::Timeout, format!("no answer to a POST within {ANSWER:?}"));
        let tried = timeout(ANSWER, once(&request, number, body.clone())).await;
        let why = match tried.unwrap_or_else(|_| Err(late())) {
            Ok(Posted::Accepted) => return Ok(()),
            Ok(Posted::Busy) => {
                (failing, tries) = (None, 0);
                continue;
            }
            Err(why) => why,
        };
        let since = *failing.get_or_insert_with(Instant::now);
        if why.status() != Status::Transient || since.elapsed() >= patience {
            return Err(why);
        }
        sleep(BACKOFF.wait(tries, Backoff::random())).await;
        tries += 1;
    }
}

enum Posted {
    Accepted,
    /// The peer's application has yet to read what came before.
    Busy,
}

async fn once(request: &Request, number: u64, body: Bytes) -> Result<Posted> {
    let mut post = request.of(Method::POST, Body::from(body))?;
    post.headers_mut().insert(words::NUMBER, HeaderValue::from(number));
    post.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let response = request.client.request(post).await?;
    if response.status().is_success() {
        return Ok(Posted::Accepted);
    }
    if response.headers().contains_key(words::BUSY) {
        return Ok(Posted::Busy);
    }
    let status = response.status();
    let why = match haul_core::Request::failure(&response) {
        _ if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) => {
            Error::new(ErrorKind::Closed, "the peer has ended the session").with_status(Status::Permanent)
        }
        Some(why) => why,
        None => Error::new(ErrorKind::Rejected, format!("the peer answered {status}")),
    };
    Err(said(why, response).await)
}
