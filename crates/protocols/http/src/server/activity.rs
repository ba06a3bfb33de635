//! What goes on on a connection, and the stream that ends it when too little does.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::config::Limits;

/// What a client of HTTP/2 says first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection does.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests that began.
    begun: AtomicUsize,
    /// Requests under way.
    busy: AtomicUsize,
    /// It speaks HTTP/2, whose frames come outside of requests too.
    multiplexed: AtomicBool,
    /// It was given away, and its time is no longer ours.
    released: AtomicBool,
}

impl Activity {
    /// A request is under way until the answer is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.begun.fetch_add(1, Relaxed);
        self.busy.fetch_add(1, Relaxed);
        Busy(self.clone())
    }

    pub(super) fn multiplexed(&self) {
        self.multiplexed.store(true, Relaxed);
    }

    pub(super) fn release(&self) {
        self.released.store(true, Relaxed);
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

/// What a connection without a request waits for.
#[derive(Clone, Copy, Debug)]
enum Awaits {
    /// The rest of a head that began then.
    Head(Instant),
    /// Anything, since then.
    Idle(Instant),
    /// The answer to a request.
    Answer,
}

/// A socket that fails with `TimedOut` when its peer takes too long.
pub(super) struct Watched {
    socket: TcpStream,
    activity: Arc<Activity>,
    limits: Arc<Limits>,
    awaits: Awaits,
    /// How many requests had begun when it was looked at last.
    begun: usize,
    /// Since when the peer takes nothing.
    stalled: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// When `timer` goes off; `None` if it did.
    armed: Option<Instant>,
    _permit: OwnedSemaphorePermit,
}

impl Watched {
    pub(super) fn new(
        socket: TcpStream,
        activity: Arc<Activity>,
        limits: Arc<Limits>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let now = Instant::now();
        Self {
            socket,
            activity,
            awaits: Awaits::Head(now),
            begun: 0,
            stalled: None,
            timer: Box::pin(sleep_until(now + limits.head)),
            armed: Some(now + limits.head),
            limits,
            _permit: permit,
        }
    }

    /// Whether what the peer says first can only be HTTP/1. It is looked at where it lies, and read as if it had not been.
    /// Errors: those of the socket, and `TimedOut`. Cancel-safe.
    pub(super) async fn begins_as_http1(&mut self) -> io::Result<bool> {
        let mut start = [0; PREFACE.len()];
        let mut start = ReadBuf::new(&mut start);
        poll_fn(|cx| match self.socket.poll_peek(cx, &mut start) {
            Poll::Ready(peeked) => Poll::Ready(peeked.map(|_| !PREFACE.starts_with(start.filled()))),
            Poll::Pending => self.poll_late(cx).map(Err),
        })
        .await
    }

    /// Whether a request is under way, or was until now.
    fn answers(&mut self) -> bool {
        let begun = self.activity.begun.load(Relaxed);
        let before = std::mem::replace(&mut self.begun, begun);
        begun != before || self.activity.busy.load(Relaxed) > 0
    }

    /// Something came.
    fn heard(&mut self) {
        let answers = self.answers();
        self.awaits = match self.awaits {
            _ if answers => Awaits::Answer,
            _ if self.activity.multiplexed.load(Relaxed) => Awaits::Idle(Instant::now()),
            Awaits::Head(since) => Awaits::Head(since),
            Awaits::Idle(_) | Awaits::Answer => Awaits::Head(Instant::now()),
        };
    }

    /// When it is too late, as things are now.
    fn deadline(&mut self, now: Instant) -> Option<Instant> {
        if self.answers() {
            self.awaits = Awaits::Answer;
        }
        self.awaits = match self.awaits {
            Awaits::Answer if self.activity.busy.load(Relaxed) == 0 => Awaits::Idle(now),
            Awaits::Head(since) if self.activity.multiplexed.load(Relaxed) => Awaits::Idle(since),
            other => other,
        };
        let read = match self.awaits {
            Awaits::Head(since) => Some(since + self.limits.head),
            Awaits::Idle(since) => Some(since + self.limits.idle),
            Awaits::Answer => None,
        };
        let written = self.stalled.map(|since| since + self.limits.stall);
        read.into_iter().chain(written).min()
    }

    /// Whether the peer took too long; else it will be asked again in time.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.activity.released.load(Relaxed) {
            return Poll::Pending;
        }
        loop {
            let now = Instant::now();
            let deadline = self.deadline(now);
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer took too long"));
            }
            // While an answer is being made, look again from time to time.
            let until = deadline.unwrap_or(now + self.limits.idle);
            if self.armed.is_none_or(|armed| armed > until) {
                self.timer.as_mut().reset(until);
                self.armed = Some(until);
            }
            std::task::ready!(self.timer.as_mut().poll(cx));
            self.armed = None;
        }
    }

    fn wrote<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(done) => {
                self.stalled = None;
                Poll::Ready(done)
            }
            Poll::Pending => {
                self.stalled.get_or_insert_with(Instant::now);
                self.poll_late(cx).map(Err)
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.socket).poll_read(cx, into) {
            Poll::Ready(done) => {
                self.heard();
                Poll::Ready(done)
            }
            Poll::Pending => self.poll_late(cx).map(Err),
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.wrote(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.wrote(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
