//! The receiving direction: which items the application has settled, and when to tell the peer.
//!
//! No sockets and no clock: who holds it sees to the time.

use std::collections::{BTreeSet, VecDeque};

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
    /// Bytes received since then.
    bytes: u64,
    /// Packets that core has and the application has not settled, oldest first.
    handed: VecDeque<Run>,
    /// All packets that the application has settled, of whatever epoch.
    received: u64,
}

/// Packets that were handed to core one after the other.
struct Run {
    /// The number of the first, if they are numbered.
    first: Option<u64>,
    count: u64,
    bytes: u64,
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
    /// Core has `count` more packets, of `bytes` bytes; `first` is the number of the first, if they are numbered.
    pub(crate) fn hand(&mut self, first: Option<u64>, count: u64, bytes: u64) {
        match self.handed.back_mut() {
            Some(last) if first == last.first.map(|first| first + last.count) => {
                last.count += count;
                last.bytes += bytes;
            }
            _ => self.handed.push_back(Run { first, count, bytes }),
        }
    }

    /// The application has settled `total` packets by now.
    pub(crate) fn receive(&mut self, total: u64) {
        let mut more = total - self.received;
        self.received = total;
        while more > 0
            && let Some(run) = self.handed.front_mut()
        {
            let count = more.min(run.count);
            let bytes = run.bytes * count / run.count;
            let first = run.first;
            run.first = first.map(|first| first + count);
            run.count -= count;
            run.bytes -= bytes;
            if run.count == 0 {
                self.handed.pop_front();
            }
            more -= count;
            self.bytes += bytes;
            if let Some(first) = first {
                self.settle_all(first, count);
            }
        }
    }

    /// A new epoch begins: what core has of the old one settles nothing in it.
    pub(crate) fn start_over(&mut self) {
        let mut handed = std::mem::take(&mut self.handed);
        handed.iter_mut().for_each(|run| run.first = None);
        *self = Self { handed, received: self.received, ..Self::default() };
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

    /// The application has `count` items from `first` on.
    fn settle_all(&mut self, first: u64, count: u64) {
        if first != self.settled {
            return (first..first + count).for_each(|number| self.settle(number));
        }
        // The last of them looks beyond.
        self.settled += count - 1;
        self.settle(first + count - 1);
    }

    /// After how many more packets the peer may have to be told.
    pub(crate) fn next_look(&self) -> u64 {
        let by_count = WANTED_AFTER - (self.settled - self.told) % WANTED_AFTER;
        let Some(run) = self.handed.front().filter(|run| run.bytes > 0) else { return by_count };
        let by_bytes = DUE_AFTER_BYTES.saturating_sub(self.bytes).saturating_mul(run.count) / run.bytes;
        by_count.min(by_bytes).max(1)
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
#[path = "settling_tests.rs"]
mod tests;
