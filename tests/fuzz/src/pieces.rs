//! Bytes cut into pieces, as a network does it, and futures that need not wait.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use haul_core::wire::WriteBuf;

/// Takes the first byte off; 0 where there is none.
pub(crate) fn take(data: &mut &[u8]) -> u8 {
    let Some((first, rest)) = data.split_first() else { return 0 };
    *data = rest;
    *first
}

/// `data` in pieces whose lengths `seed` determines: as one with seed 0, byte by byte with 1.
pub(crate) fn cut(data: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed);
    let mut pieces = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let len = match seed {
            0 => rest.len(),
            1 => 1,
            _ => {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Mostly short: what is interesting happens where headers are cut.
                1 + (state >> 24) as usize % (1 << (1 + (state >> 16) % 7))
            }
        };
        let (piece, after) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// All that a buffer holds.
pub(crate) fn drain(mut buffer: WriteBuf) -> Bytes {
    let mut all = Vec::with_capacity(buffer.len());
    while !buffer.is_empty() {
        let chunk = buffer.chunk();
        let len = chunk.len();
        all.extend_from_slice(chunk);
        buffer.advance(len);
    }
    all.into()
}

/// The outcome of a future on streams that are always ready.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("it waits although everything is there"),
    }
}
