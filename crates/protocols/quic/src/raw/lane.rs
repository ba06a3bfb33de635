//! What comes for one stream outside of it: datagrams, and the unidirectional streams of an unordered one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::bundle::Datagram;

/// Bytes of datagrams that wait to be received; more are dropped and counted.
const DATAGRAMS: usize = 256 << 10;

/// The same for a stream that is not there yet, and may never be.
const EARLY_DATAGRAMS: usize = 16 << 10;

/// Datagrams that are handed on together.
pub(crate) const AT_ONCE: usize = 64;

/// What came for one stream and waits for its reader.
pub(crate) struct Lane<R>(Mutex<State<R>>);

struct State<R> {
    datagrams: VecDeque<Bytes>,
    weight: usize,
    bound: usize,
    dropped: u64,
    parts: VecDeque<Part<R>>,
    reader: Option<Waker>,
}

/// A unidirectional stream with one frame of an unordered one.
pub(crate) struct Part<R> {
    /// How many frames went before.
    pub(crate) number: u64,
    pub(crate) stream: R,
}

impl<R> Lane<R> {
    pub(crate) fn early() -> Self {
        Self(Mutex::new(State {
            datagrams: VecDeque::new(),
            weight: 0,
            bound: EARLY_DATAGRAMS,
            dropped: 0,
            parts: VecDeque::new(),
            reader: None,
        }))
    }

    /// The stream is there.
    pub(crate) fn claim(&self) {
        self.state().bound = DATAGRAMS;
    }

    fn state(&self) -> MutexGuard<'_, State<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push_datagrams(&self, datagrams: impl Iterator<Item = Bytes>) {
        let mut state = self.state();
        for datagram in datagrams {
            // A small one holds on to more than its own bytes.
            let weight = datagram.len() + 64;
            if state.weight + weight > state.bound {
                state.dropped += Datagram::new(datagram).count();
                continue;
            }
            state.weight += weight;
            state.datagrams.push_back(datagram);
        }
        wake(state);
    }

    pub(crate) fn push_part(&self, part: Part<R>) {
        let mut state = self.state();
        state.parts.push_back(part);
        wake(state);
    }

    /// Moves some of what came to the end of `datagrams`.
    pub(crate) fn poll_datagrams(&self, cx: &Context<'_>, datagrams: &mut VecDeque<Bytes>) -> Poll<()> {
        let mut state = self.state();
        let count = state.datagrams.len().min(AT_ONCE);
        if count == 0 {
            register(&mut state, cx);
            return Poll::Pending;
        }
        let before = datagrams.len();
        datagrams.extend(state.datagrams.drain(..count));
        state.weight -= datagrams.range(before..).map(|datagram| datagram.len() + 64).sum::<usize>();
        Poll::Ready(())
    }

    /// Moves what came to the end of `parts`.
    pub(crate) fn take_parts(&self, cx: &Context<'_>, parts: &mut VecDeque<Part<R>>) {
        let mut state = self.state();
        parts.append(&mut state.parts);
        register(&mut state, cx);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.state().dropped
    }
}

fn register<R>(state: &mut State<R>, cx: &Context<'_>) {
    if !state.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
        state.reader = Some(cx.waker().clone());
    }
}

fn wake<R>(mut state: MutexGuard<'_, State<R>>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_a_bundle_that_is_dropped_are_counted() {
        let bundle = [&b"\x80"[..], &b"\0\x02\0x".repeat(250)].concat();
        let lane = Lane::<()>::early();
        lane.push_datagrams(std::iter::repeat_n(Bytes::from(bundle), 20));
        // 15 times 1,001 bytes, and 64 with each.
        assert_eq!(lane.dropped(), 5 * 250);
    }
}
