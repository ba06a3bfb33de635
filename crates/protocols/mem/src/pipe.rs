//! One direction of a stream: a bounded queue of frames.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use haul_core::wire::{Frame, SendBuf};
use haul_core::{CloseReason, Error, ErrorKind, Reliability, Result};

/// One direction, shared by the writing end and the reading end.
#[derive(Clone)]
pub(crate) struct Pipe(Arc<Mutex<State>>);

struct State {
    frames: VecDeque<Frame>,
    weight: usize,
    /// Takes frames while it holds less than this.
    bound: usize,
    /// How the writing end ended.
    end: Option<End>,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Datagrams for which there was no room.
    dropped: u64,
}

#[derive(Clone)]
enum End {
    Finished,
    Cut(Option<CloseReason>),
}

impl Pipe {
    pub(crate) fn new(bound: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            frames: VecDeque::new(),
            weight: 0,
            bound,
            end: None,
            reader_gone: false,
            reader: None,
            writer: None,
            dropped: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes frames from `out` while there is room; datagrams that find none are dropped and counted.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        let mut state = self.state();
        let mut waits = false;
        while let Some(next) = out.frames.front() {
            if state.reader_gone {
                return Poll::Ready(Err(Error::new(ErrorKind::Closed, "the peer is gone")));
            }
            let room = state.weight < state.bound;
            if !room && !may_be_dropped(next) {
                state.writer = Some(cx.waker().clone());
                waits = true;
                break;
            }
            let Some(frame) = out.pop() else { break };
            if room {
                state.weight += frame.weight();
                state.frames.push_back(frame);
            } else {
                state.dropped += 1;
            }
        }
        let reader = if state.frames.is_empty() { None } else { state.reader.take() };
        drop(state);
        wake(reader);
        if waits { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// The next frame; `None` after the writing end has finished, an error after it was cut.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        let mut state = self.state();
        if let Some(frame) = state.frames.pop_front() {
            state.weight -= frame.weight();
            let writer = if state.weight < state.bound { state.writer.take() } else { None };
            drop(state);
            wake(writer);
            return Poll::Ready(Ok(Some(frame)));
        }
        match &state.end {
            Some(End::Finished) => Poll::Ready(Ok(None)),
            Some(End::Cut(reason)) => {
                let error = Error::new(ErrorKind::Closed, "the peer cut the connection");
                Poll::Ready(Err(match reason {
                    Some(reason) => error.with("reason", reason),
                    None => error,
                }))
            }
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The writing end has said everything.
    pub(crate) fn finish(&self) {
        self.end(End::Finished);
    }

    /// The writing end is cut, unless it has finished.
    pub(crate) fn cut(&self, reason: Option<CloseReason>) {
        self.end(End::Cut(reason));
    }

    fn end(&self, end: End) {
        let mut state = self.state();
        state.end.get_or_insert(end);
        state.writer = None;
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }

    /// Nobody reads any more.
    pub(crate) fn close_reader(&self) {
        let mut state = self.state();
        state.reader_gone = true;
        let frames = std::mem::take(&mut state.frames);
        state.weight = 0;
        state.reader = None;
        let writer = state.writer.take();
        drop(state);
        drop(frames);
        wake(writer);
    }

    /// Datagrams that found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.state().dropped
    }
}

/// A datagram may; a delivery waits for its receipt and may not.
fn may_be_dropped(frame: &Frame) -> bool {
    match frame {
        Frame::Packet { packet, receipt } => !receipt && packet.reliability() == Reliability::Unreliable,
        _ => false,
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
