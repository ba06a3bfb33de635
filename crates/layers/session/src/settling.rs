//! The receiving direction: which items the application has settled, and when to tell the peer.
//!
//! No sockets and no clock: who holds it sees to the time.

use std::collections::{BTreeSet, HashMap, VecDeque};

use haul_core::PacketId;

/// So many items settled and not told are told with what is sent next.
const WANTED_AFTER: u64 = 32;

/// So many items settled and not told are told at once.
const DUE_AFTER: u64 = 2 * WANTED_AFTER;

/// So many bytes settled and not told are told at once.
const DUE_AFTER_BYTES: u64 = 64 << 10;

#[derive(Default)]
pub(crate) struct Settling {
    /// All items before it are settled.
    settled: u64,
    /// Those settled beyond.
    beyond: BTreeSet<u64>,
    /// What the peer was told.
    told: u64,
    /// Bytes that arrived since then.
    bytes: u64,
    /// Packets whose answer the application has yet to give, and whether their sender waits for it.
    open: HashMap<PacketId, VecDeque<(u64, bool)>>,
}

/// When the peer is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tell {
    /// There is nothing to tell.
    Nothing,
    /// Before long.
    Later,
    /// With what is sent next.
    Wanted,
    /// At once.
    Due,
}

impl Settling {
    /// So many bytes arrived.
    pub(crate) fn arrived(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Item `number` is a packet that the application will answer by its id.
    pub(crate) fn open(&mut self, id: PacketId, number: u64, awaited: bool) {
        self.open.entry(id).or_default().push_back((number, awaited));
    }

    /// The application answered the packet with this id: whether its sender waits for the answer. `None` if it is none
    /// of this epoch.
    pub(crate) fn answer(&mut self, id: PacketId) -> Option<bool> {
        let numbers = self.open.get_mut(&id)?;
        let (number, awaited) = numbers.pop_front()?;
        if numbers.is_empty() {
            self.open.remove(&id);
        }
        self.settle(number);
        Some(awaited)
    }

    /// The application has item `number`.
    #[inline]
    pub(crate) fn settle(&mut self, number: u64) {
        if number != self.settled {
            if number > self.settled {
                self.beyond.insert(number);
            }
            return;
        }
        self.settled += 1;
        while self.beyond.first() == Some(&self.settled) {
            self.beyond.pop_first();
            self.settled += 1;
        }
    }

    /// When the peer is to be told what is settled.
    #[inline]
    pub(crate) fn tell(&self) -> Tell {
        match self.settled - self.told {
            0 => Tell::Nothing,
            DUE_AFTER.. => Tell::Due,
            _ if self.bytes >= DUE_AFTER_BYTES => Tell::Due,
            WANTED_AFTER.. => Tell::Wanted,
            _ => Tell::Later,
        }
    }

    /// What the peer is told now.
    pub(crate) fn told(&mut self) -> u64 {
        self.bytes = 0;
        self.told = self.settled;
        self.settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_contiguous_part_is_told() {
        let mut settling = Settling::default();
        settling.settle(1);
        settling.settle(2);
        assert_eq!(settling.tell(), Tell::Nothing);
        settling.settle(0);
        assert_eq!((settling.tell(), settling.told()), (Tell::Later, 3));
        assert_eq!(settling.tell(), Tell::Nothing);
    }

    #[test]
    fn many_packets_or_bytes_are_told_at_once() {
        let mut settling = Settling::default();
        (0..WANTED_AFTER).for_each(|number| settling.settle(number));
        assert_eq!(settling.tell(), Tell::Wanted);
        (WANTED_AFTER..DUE_AFTER).for_each(|number| settling.settle(number));
        assert_eq!(settling.tell(), Tell::Due);
        settling.told();
        settling.arrived(DUE_AFTER_BYTES as usize);
        assert_eq!(settling.tell(), Tell::Nothing);
        settling.settle(DUE_AFTER);
        assert_eq!(settling.tell(), Tell::Due);
    }

    #[test]
    fn the_same_id_twice_is_settled_twice_in_order() {
        let mut settling = Settling::default();
        let id = PacketId::from_bytes([7; 16]);
        settling.open(id, 0, true);
        settling.open(id, 1, false);
        assert_eq!((settling.answer(id), settling.told()), (Some(true), 1));
        assert_eq!((settling.answer(id), settling.told()), (Some(false), 2));
        assert_eq!(settling.answer(id), None);
    }
}
