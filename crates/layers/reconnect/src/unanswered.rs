//! Packets that were flushed and wait for their receipts, in the order in which they were sent.

use std::collections::{BTreeMap, HashMap};

use haul_core::PacketId;
use haul_core::wire::Frame;

#[derive(Default)]
pub(crate) struct Unanswered {
    frames: BTreeMap<u64, (PacketId, Frame)>,
    places: HashMap<PacketId, u64>,
    next: u64,
    weight: usize,
}

impl Unanswered {
    /// Keeps `frame`, and lets the oldest go while the bounds are exceeded: `evicted` is told their ids, and whether
    /// somebody waits for the receipt.
    pub(crate) fn keep(
        &mut self,
        frame: Frame,
        max_weight: usize,
        max_count: usize,
        mut evicted: impl FnMut(PacketId, bool),
    ) {
        let Frame::Packet { packet, .. } = &frame else { return };
        let Some(id) = packet.id() else { return };
        self.remove(id);
        self.weight += frame.weight();
        self.places.insert(id, self.next);
        self.frames.insert(self.next, (id, frame));
        self.next += 1;
        while self.weight > max_weight || self.frames.len() > max_count {
            let Some((_, (id, frame))) = self.frames.pop_first() else {
                return;
            };
            self.weight -= frame.weight();
            self.places.remove(&id);
            evicted(id, matches!(frame, Frame::Packet { receipt: true, .. }));
        }
    }

    /// The receipt came. `false` if it was not waited for.
    pub(crate) fn remove(&mut self, id: PacketId) -> bool {
        let Some((_, frame)) = self.places.remove(&id).and_then(|place| self.frames.remove(&place)) else {
            return false;
        };
        self.weight -= frame.weight();
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Takes all out, oldest first.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Frame> + use<> {
        self.places.clear();
        self.weight = 0;
        std::mem::take(&mut self.frames).into_values().map(|(_, frame)| frame)
    }
}

#[cfg(test)]
mod tests {
    use haul_core::Packet;

    use super::*;

    fn frame(id: u8) -> Frame {
        Frame::Packet {
            packet: Packet::binary(vec![id; 936]).with_id(PacketId::from_bytes([id; 16])),
            receipt: true,
        }
    }

    #[test]
    fn the_oldest_go_when_the_bound_is_exceeded_and_the_rest_keeps_its_order() {
        let (mut unanswered, mut evicted) = (Unanswered::default(), Vec::new());
        for id in 1..=5 {
            unanswered.keep(frame(id), 3500, 10, |id, _| evicted.push(id.as_bytes()[0]));
        }
        assert_eq!(evicted, [1, 2]);
        assert!(unanswered.remove(PacketId::from_bytes([4; 16])));
        assert!(!unanswered.remove(PacketId::from_bytes([4; 16])));
        let rest: Vec<_> = unanswered.take().map(|frame| frame.weight()).collect();
        assert_eq!((rest.len(), unanswered.weight), (2, 0));
    }
}
