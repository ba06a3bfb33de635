//! The buffer that links read into.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a connection keeps for its next read that never carried more than this at once.
const FIRST: usize = 1 << 10;

/// What an idle connection keeps for its next read once it did.
const LEAST: usize = 8 << 10;

/// Most asked of the operating system at once, unless a larger packet was announced.
const MOST: usize = 128 << 10;

/// Bytes read and not yet taken. It asks for more at once while reads fill it, and for less when they do not.
#[derive(Debug)]
pub struct ReadBuf {
    /// What was read.
    pub bytes: BytesMut,
    step: usize,
}

impl Default for ReadBuf {
    fn default() -> Self {
        Self { bytes: BytesMut::new(), step: FIRST }
    }
}

impl ReadBuf {
    /// A buffer that begins with what was read already.
    pub fn starting_with(bytes: BytesMut) -> Self {
        Self { bytes, step: FIRST }
    }

    /// Reads some from `io`, with room for `missing` bytes of an announced packet; 0 is the end of the stream.
    ///
    /// Room is made for at most twice what has come, whatever was announced.
    pub fn poll_fill(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        missing: usize,
    ) -> Poll<io::Result<usize>> {
        let room = missing.min(self.bytes.len().max(MOST)).max(self.step);
        if self.bytes.capacity() - self.bytes.len() < room {
            self.bytes.reserve(room);
        }
        // `read_buf` keeps nothing between polls: a new future each time goes on where the last one was.
        let spare = self.bytes.capacity() - self.bytes.len();
        let read = pin!(io.read_buf(&mut self.bytes));
        let count = ready!(read.poll(cx))?;
        if count == spare {
            self.step = (self.step * 2).clamp(LEAST, MOST);
        } else if self.step > LEAST && count < self.step / 4 {
            self.step = (self.step / 2).max(LEAST);
        }
        Poll::Ready(Ok(count))
    }
}
