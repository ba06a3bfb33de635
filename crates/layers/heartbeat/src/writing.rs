//! The sending direction: what the connection writes, and between its frames the questions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_util::task::AtomicWaker;
use haul_core::wire::{Frame, SendBuf, WriteBuf};
use haul_core::{CloseReason, Encoder, Result, WriteHalf};

/// What reader and writer share. The lock is held for one write, or to queue one question.
pub(crate) struct Writing {
    out: Mutex<Out>,
    encoder: Option<SharedEncoder>,
    wakers: Arc<Wakers>,
    /// Wakes both: whatever is written for either is polled with it.
    waker: Waker,
    /// Our last word was said: no more questions.
    done: Arc<AtomicBool>,
}

#[derive(Default)]
struct Wakers {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

struct Out {
    half: Box<dyn WriteHalf>,
    /// A question, until it is written.
    question: SendBuf,
    /// The link took a part of the question.
    begun: bool,
    /// The question is written and not flushed.
    unflushed: bool,
    /// The link took a part of a frame of the connection's.
    inside: bool,
}

impl Out {
    /// Writes the question, where no frame is cut in two by it.
    fn poll_question(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.question.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.inside {
            return Poll::Pending;
        }
        self.begun = true;
        ready!(self.half.poll_write(cx, &mut self.question))?;
        (self.begun, self.unflushed) = (false, true);
        self.question.reset();
        Poll::Ready(Ok(()))
    }
}

impl Writing {
    pub(crate) fn new(half: Box<dyn WriteHalf>, encoder: Option<SharedEncoder>) -> Self {
        let question = SendBuf::default();
        let out = Out { half, question, begun: false, unflushed: false, inside: false };
        let wakers = Arc::new(Wakers::default());
        let waker = Waker::from(wakers.clone());
        let done = encoder.as_ref().map_or_else(Arc::default, |encoder| encoder.done.clone());
        Self { out: Mutex::new(out), encoder, wakers, waker, done }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Takes a question, and answers whether it did: one at most waits to be written.
    pub(crate) fn ask(&self, frame: Frame) -> Result<bool> {
        let mut out = self.out();
        if !out.question.is_empty() {
            return Ok(false);
        }
        match self.encoder.clone() {
            Some(mut encoder) => out.question.push(frame, Some(&mut encoder))?,
            None => out.question.push(frame, None)?,
        }
        Ok(true)
    }

    /// Writes and flushes the question, for the reader.
    pub(crate) fn poll_asked(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.wakers.reader.register(cx.waker());
        let cx = &mut Context::from_waker(&self.waker);
        let mut out = self.out();
        if self.is_done() && !out.begun {
            // Nothing may follow a close.
            out.question = SendBuf::default();
        }
        ready!(out.poll_question(cx))?;
        if out.unflushed {
            ready!(out.half.poll_flush(cx))?;
            out.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The half that the connection writes with.
pub(crate) struct Writer(pub(crate) Arc<Writing>);

impl Writer {
    /// The question first if the link has begun it, so that no frame cuts it in two.
    fn poll_on_link(
        &self,
        cx: &mut Context<'_>,
        then: impl FnOnce(&mut Out, &mut Context<'_>) -> Poll<Result<()>>,
    ) -> Poll<Result<()>> {
        self.0.wakers.writer.register(cx.waker());
        let cx = &mut Context::from_waker(&self.0.waker);
        let mut out = self.0.out();
        if out.begun {
            ready!(out.poll_question(cx))?;
        }
        then(&mut out, cx)
    }
}

impl WriteHalf for Writer {
    fn poll_write(&mut self, cx: &mut Context<'_>, packets: &mut SendBuf) -> Poll<Result<()>> {
        if matches!(packets.frames.back(), Some(Frame::Finish | Frame::Close(_))) {
            self.0.done.store(true, Ordering::Release);
        }
        self.poll_on_link(cx, |out, cx| {
            let written = out.half.poll_write(cx, packets);
            out.inside = written.is_pending() && !packets.bytes.is_empty();
            if matches!(written, Poll::Ready(Ok(()))) && !self.0.is_done() {
                // What waited for the end of a frame; the reader sees to the rest, and to its failure.
                let _ = out.poll_question(cx);
            }
            written
        })
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_on_link(cx, |out, cx| out.half.poll_flush(cx))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.done.store(true, Ordering::Release);
        self.poll_on_link(cx, |out, cx| out.half.poll_finish(cx))
    }

    fn abort(&mut self, reason: &CloseReason) {
        self.0.out().half.abort(reason);
    }
}

/// The link's encoder, for the connection's frames and for questions.
#[derive(Clone)]
pub(crate) struct SharedEncoder {
    encoder: Arc<Mutex<Box<dyn Encoder>>>,
    done: Arc<AtomicBool>,
}

impl SharedEncoder {
    pub(crate) fn new(encoder: Box<dyn Encoder>) -> Self {
        Self { encoder: Arc::new(Mutex::new(encoder)), done: Arc::default() }
    }
}

impl Encoder for SharedEncoder {
    fn encode(&mut self, frame: &Frame, out: &mut WriteBuf) -> Result<()> {
        if matches!(frame, Frame::Finish | Frame::Close(_)) {
            self.done.store(true, Ordering::Release);
        }
        self.encoder.lock().unwrap_or_else(PoisonError::into_inner).encode(frame, out)
    }
}
