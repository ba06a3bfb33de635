//! A link that tells whether anything ever came over it. It sends nothing and keeps no timer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use haul_core::wire::{Frame, SendBuf};
use haul_core::{CloseReason, ErrorKind, Link, Packet, ReadHalf, Result, State, StateCell, WriteHalf};
use tokio::time::Instant;

use crate::Notes;

/// What becomes of one connection.
struct Watched {
    notes: Arc<Notes>,
    host: String,
    candidate: usize,
    since: Instant,
    state: StateCell,
    /// We said goodbye first.
    left: AtomicBool,
}

/// `link`, watched for what `candidate` is worth at `host`.
pub(crate) fn observed(mut link: Link, notes: Arc<Notes>, host: String, candidate: usize) -> Link {
    let state = link.state.get_or_insert_with(|| StateCell::new(State::Connected)).clone();
    let (since, left) = (Instant::now(), AtomicBool::new(false));
    let watched = Arc::new(Watched { notes, host, candidate, since, state, left });
    link.write = Box::new(Write { half: link.write, watched: watched.clone() });
    link.read = Box::new(Read { half: link.read, watched: Some(watched) });
    link
}

impl Watched {
    /// The connection ended before anything came; `silent` if it did for its silence.
    fn ended(&self, silent: bool) {
        let within = self.notes.options.stall_within;
        if !self.left.load(Ordering::Acquire) && (silent || self.since.elapsed() <= within) {
            self.notes.stalled(&self.host, self.candidate);
        }
    }
}

struct Read {
    half: Box<dyn ReadHalf>,
    /// Until something came, or the end did.
    watched: Option<Arc<Watched>>,
}

impl Read {
    #[cold]
    fn judge(&mut self, read: &Result<Option<Frame>>) {
        let Some(watched) = self.watched.take() else { return };
        match read {
            Ok(Some(Frame::Close(_)) | None) => watched.ended(false),
            Err(why) if why.kind() != ErrorKind::Gap => watched.ended(why.kind() == ErrorKind::Timeout),
            Ok(Some(_)) | Err(_) => watched.notes.delivered(&watched.host, watched.candidate),
        }
    }
}

impl ReadHalf for Read {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        let read = self.half.poll_read(cx);
        if self.watched.is_some()
            && let Poll::Ready(read) = &read
        {
            self.judge(read);
        }
        read
    }

    fn take_arrived(&mut self, packets: &mut Vec<Packet>, most: usize) {
        self.half.take_arrived(packets, most);
    }

    fn discarded(&self) -> u64 {
        self.half.discarded()
    }
}

impl Drop for Read {
    /// Nothing came, not even an end: whoever drove the link gave it up.
    fn drop(&mut self) {
        let Some(watched) = self.watched.take() else { return };
        match watched.state.get() {
            State::Failed { why } => watched.ended(why.kind() == ErrorKind::Timeout),
            // A layer that composes the link ends it itself, without a word where the peer was silent.
            State::Connected => watched.ended(true),
            _ => {}
        }
    }
}

struct Write {
    half: Box<dyn WriteHalf>,
    watched: Arc<Watched>,
}

impl WriteHalf for Write {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        self.half.poll_write(cx, out)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.half.poll_flush(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.watched.left.store(true, Ordering::Release);
        self.half.poll_finish(cx)
    }

    fn abort(&mut self, reason: &CloseReason) {
        // Of a connection that has failed, core cuts what is left.
        if !matches!(self.watched.state.get(), State::Failed { .. }) {
            self.watched.left.store(true, Ordering::Release);
        }
        self.half.abort(reason);
    }
}
