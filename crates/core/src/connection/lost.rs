//! What a link gave up and went on: told to those who wait for it to be flushed.

use std::collections::VecDeque;

use crate::Error;

/// Losses that are kept; older ones become one with the next.
const KEPT: usize = 16;

/// Numbers of packets that a link may have lost, oldest first.
#[derive(Default)]
pub(super) struct Lost {
    ranges: VecDeque<Range>,
    /// The application has received a gap, which tells of all packets up to this one.
    heard: u64,
}

struct Range {
    first: u64,
    last: u64,
    why: Error,
    /// A flush or a gap has said so.
    told: bool,
}

impl Lost {
    pub(super) fn note(&mut self, first: u64, last: u64, why: Error) {
        self.ranges.push_back(Range { first, last, why, told: last <= self.heard });
        if self.ranges.len() > KEPT
            && let Some(oldest) = self.ranges.pop_front()
            && let Some(next) = self.ranges.front_mut()
        {
            next.first = oldest.first;
            next.told &= oldest.told;
        }
    }

    /// The application has received a gap, when `queued` packets had been accepted.
    pub(super) fn hear(&mut self, queued: u64) {
        self.heard = queued;
        self.ranges.iter_mut().for_each(|range| range.told = true);
    }

    /// Why the packets from `first` to `last`, which were waited for, may be lost.
    pub(super) fn among(&self, first: u64, last: u64) -> Option<Error> {
        let among = self.ranges.iter().find(|range| range.first <= last && first <= range.last);
        among.map(|range| range.why.clone())
    }

    /// Why packets up to `last` may be lost, once for each loss.
    pub(super) fn tell(&mut self, last: u64) -> Option<Error> {
        let mut untold = self.ranges.iter_mut().filter(|range| !range.told && range.first <= last);
        let first = untold.next()?;
        first.told = true;
        let why = first.why.clone();
        untold.for_each(|range| range.told = true);
        Some(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_loss_is_told_once_to_flushes_and_always_to_those_who_wait_for_its_packets() {
        let mut lost = Lost::default();
        let why = || Error::new(ErrorKind::Gap, "cut");
        lost.note(3, 5, why());
        assert!(lost.tell(2).is_none());
        assert!(lost.tell(9).is_some());
        assert!(lost.tell(9).is_none());
        assert!(lost.among(5, 5).is_some() && lost.among(1, 3).is_some());
        assert!(lost.among(1, 2).is_none() && lost.among(6, 6).is_none());
    }

    #[test]
    fn a_gap_that_was_received_tells_of_what_was_lost_before_whichever_comes_first() {
        let mut lost = Lost::default();
        let why = || Error::new(ErrorKind::Gap, "cut");
        lost.note(1, 2, why());
        lost.hear(5);
        lost.note(4, 5, why());
        assert!(lost.tell(9).is_none() && lost.among(5, 5).is_some());
        lost.note(6, 6, why());
        assert!(lost.tell(9).is_some());
    }

    #[test]
    fn however_many_losses_there_were_few_are_kept_and_none_is_forgotten() {
        let mut lost = Lost::default();
        for at in 0..100 {
            lost.note(at * 10, at * 10 + 1, Error::new(ErrorKind::Gap, "cut"));
        }
        assert_eq!(lost.ranges.len(), KEPT);
        assert!((0..100).all(|at| lost.among(at * 10, at * 10).is_some()));
        assert!(lost.tell(1000).is_some() && lost.tell(1000).is_none());
    }
}
