//! Packets that pass into the send buffer together.

use super::hub::Hub;
use crate::wire::Frame;
use crate::{Packet, Result};

/// Most packets under one lock.
const COUNT: usize = 8;

/// A chunk takes no further packet when it has this many bytes: many large payloads are not taken before there is room.
const BYTES: usize = 4096;

/// The next packets of a `send_all`, taken from its iterator before the send buffer is locked.
#[derive(Default)]
pub(super) struct Chunk {
    frames: [Option<Frame>; COUNT],
    next: usize,
    count: usize,
}

impl Chunk {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.next == self.count
    }

    /// Takes the next of `packets` into the chunk, which is empty. Errors: the first packet that `hub` cannot carry; those
    /// before it are in the chunk.
    #[inline]
    pub(super) fn fill(&mut self, hub: &Hub, packets: &mut impl Iterator<Item = Packet>) -> Result<()> {
        (self.next, self.count) = (0, 0);
        let mut bytes = 0;
        while self.count < COUNT && bytes < BYTES {
            let Some(packet) = packets.next() else { break };
            hub.check(&packet)?;
            bytes += packet.len();
            self.frames[self.count] = Some(Frame::packet(packet));
            self.count += 1;
        }
        Ok(())
    }

    /// The next frame, which `pass` passes.
    #[inline]
    pub(super) fn first(&mut self) -> Option<&mut Option<Frame>> {
        self.frames[..self.count].get_mut(self.next)
    }

    #[inline]
    pub(super) fn pass(&mut self) {
        self.next += 1;
    }
}
