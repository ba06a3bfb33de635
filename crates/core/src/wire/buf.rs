//! The buffers between `send` and a link's writing half.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use super::Frame;
use crate::Result;
use crate::link::Encoder;

/// Payloads above this many bytes are kept by reference instead of copied.
const COPY_UP_TO: usize = 4096;

/// Of a buffer that grew larger, this much is kept when it is empty: a full send buffer of the usual size, with a packet
/// that went over it.
const KEEP_UP_TO: usize = (128 << 10) + COPY_UP_TO;

/// Bytes on their way to a byte stream: small ones copied together, large payloads by reference.
#[derive(Debug, Default)]
pub struct WriteBuf {
    parts: VecDeque<Bytes>,
    parts_len: usize,
    tail: Vec<u8>,
    /// Bytes of `tail` that are written already.
    written: usize,
}

impl WriteBuf {
    /// Bytes to be written.
    #[inline]
    pub fn len(&self) -> usize {
        self.parts_len + self.tail.len() - self.written
    }

    /// Whether all is written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The end of the buffer, to append to. What is there already must not be touched, except to fill in a length
    /// that was left open in the same call.
    #[inline]
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Appends `bytes`, by reference if they are many.
    #[inline]
    pub fn put(&mut self, bytes: Bytes) {
        self.put_ref(&bytes);
    }

    /// Appends `bytes`, by reference if they are many.
    #[inline]
    pub fn put_ref(&mut self, bytes: &Bytes) {
        if bytes.len() <= COPY_UP_TO {
            self.tail.extend_from_slice(bytes);
        } else {
            self.put_part(bytes.clone());
        }
    }

    fn put_part(&mut self, bytes: Bytes) {
        if self.tail.len() > self.written {
            let mut before = Bytes::from(std::mem::take(&mut self.tail));
            bytes::Buf::advance(&mut before, std::mem::take(&mut self.written));
            self.parts_len += before.len();
            self.parts.push_back(before);
        }
        self.parts_len += bytes.len();
        self.parts.push_back(bytes);
    }

    /// Fills `slices` with what comes next and answers how many it filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = Some(&self.tail[self.written..]).filter(|tail| !tail.is_empty());
        let pieces = self.parts.iter().map(|part| &part[..]).chain(tail);
        let mut filled = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces) {
            *slot = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    /// Whether [`chunk`](Self::chunk) is all there is.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.parts.is_empty()
    }

    /// The first contiguous bytes.
    #[inline]
    pub fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&self.tail[self.written..], |part| part)
    }

    /// Takes `count` written bytes off the front.
    #[inline]
    pub fn advance(&mut self, mut count: usize) {
        while let Some(part) = self.parts.front_mut() {
            if count < part.len() {
                bytes::Buf::advance(part, count);
                self.parts_len -= count;
                return;
            }
            count -= part.len();
            self.parts_len -= part.len();
            self.parts.pop_front();
        }
        self.written += count;
        debug_assert!(self.written <= self.tail.len(), "more written than there was");
        if self.written == self.tail.len() {
            self.written = 0;
            self.tail.clear();
            self.tail.shrink_to(KEEP_UP_TO);
        }
    }
}

/// What `send` has taken and a link has yet to write: bytes for links with an encoder, frames for the others.
#[derive(Debug, Default)]
pub struct SendBuf {
    /// Encoded bytes.
    pub bytes: WriteBuf,
    /// Frames as they are.
    pub frames: VecDeque<Frame>,
    frames_weight: usize,
    count: usize,
}

impl SendBuf {
    /// Takes `frame`. What the encoder writes nothing for needs no room and is not counted. Errors: the encoder's;
    /// nothing was taken then.
    #[inline]
    pub fn push(&mut self, frame: Frame, encoder: Option<&mut (dyn Encoder + 'static)>) -> Result<()> {
        self.push_from(&mut Some(frame), encoder)
    }

    /// As [`push`](Self::push), but takes `frame` out only where it must be kept: encoded, it is not moved.
    #[inline]
    pub(crate) fn push_from(
        &mut self,
        frame: &mut Option<Frame>,
        encoder: Option<&mut (dyn Encoder + 'static)>,
    ) -> Result<()> {
        if let (Some(encoder), Some(frame)) = (encoder, &*frame) {
            let before = self.bytes.len();
            encoder.encode(frame, &mut self.bytes)?;
            if self.bytes.len() == before {
                return Ok(());
            }
        } else if let Some(frame) = frame.take() {
            self.frames_weight += frame.weight();
            self.frames.push_back(frame);
        }
        self.count += 1;
        Ok(())
    }

    /// The next frame, for links that take frames.
    pub fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.frames_weight -= frame.weight();
        Some(frame)
    }

    /// Bytes that it counts for.
    #[inline]
    pub fn weight(&self) -> usize {
        self.bytes.len() + self.frames_weight
    }

    /// Frames taken since it was last empty.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether nothing is left to write.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.frames.is_empty()
    }

    /// Forgets the count, once all is written.
    #[inline]
    pub fn reset(&mut self) {
        debug_assert!(self.is_empty(), "reset before all was written");
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(buf: &mut WriteBuf, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !buf.is_empty() {
            let chunk = buf.chunk();
            let count = chunk.len().min(step);
            out.extend_from_slice(&chunk[..count]);
            buf.advance(count);
        }
        out
    }

    #[test]
    fn small_and_large_come_out_in_the_order_they_went_in() {
        for step in [1, 7, 5000, 100_000] {
            let mut buf = WriteBuf::default();
            let mut want = Vec::new();
            for (size, fill) in [(3, 1), (5000, 2), (9000, 3), (10, 4), (4096, 5), (4097, 6)] {
                let bytes = Bytes::from(vec![fill; size]);
                want.extend_from_slice(&bytes);
                buf.put(bytes);
            }
            assert_eq!(buf.len(), want.len());
            assert!(drain(&mut buf, step) == want, "step {step}");
        }
    }

    #[test]
    fn a_large_payload_is_not_copied() {
        let payload = Bytes::from(vec![7; 5000]);
        let mut buf = WriteBuf::default();
        buf.put(payload.clone());
        assert_eq!(buf.chunk().as_ptr(), payload.as_ptr());
    }

    #[test]
    fn a_buffer_that_grew_large_is_given_back() {
        let mut buf = WriteBuf::default();
        buf.tail().resize(KEEP_UP_TO * 2, 0);
        buf.advance(KEEP_UP_TO * 2);
        assert!(buf.tail().capacity() <= KEEP_UP_TO, "{} bytes kept", buf.tail().capacity());
    }
}
