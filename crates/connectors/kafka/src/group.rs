//! What of each partition was given and acknowledged. Only what has no gap before it is committed.

use std::collections::{BTreeSet, HashMap};

/// The partitions that are ours, as far as something of them was given.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    partitions: HashMap<i32, Partition>,
    turns: u64,
}

/// A partition in one turn: from when it is ours until it is not.
#[derive(Debug)]
struct Partition {
    turn: u64,
    /// Given and not acknowledged.
    open: BTreeSet<i64>,
    /// Behind the last one given.
    next: i64,
    /// All before it was acknowledged, and told by [`Offsets::commits`].
    told: i64,
}

/// A record in the turn in which it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    turn: u64,
}

impl Offsets {
    /// A record came; `None` if it was given already and is not acknowledged.
    pub(crate) fn given(&mut self, partition: i32, offset: i64) -> Option<Position> {
        let turns = &mut self.turns;
        let of = self.partitions.entry(partition).or_insert_with(|| {
            *turns += 1;
            Partition { turn: *turns, open: BTreeSet::new(), next: offset, told: offset }
        });
        of.next = of.next.max(offset + 1);
        of.open.insert(offset).then_some(Position { partition, offset, turn: of.turn })
    }

    /// Whether the partition is still ours, in the same turn.
    pub(crate) fn is_ours(&self, position: &Position) -> bool {
        self.partitions.get(&position.partition).is_some_and(|of| of.turn == position.turn)
    }

    /// A record was acknowledged; false if that is too late.
    pub(crate) fn acknowledged(&mut self, position: &Position) -> bool {
        let of = self.partitions.get_mut(&position.partition).filter(|of| of.turn == position.turn);
        of.is_some_and(|of| of.open.remove(&position.offset))
    }

    /// The partition is another's now, or will be given anew.
    pub(crate) fn revoked(&mut self, partition: i32) {
        self.partitions.remove(&partition);
    }

    /// Partitions and where to go on in them, as far as that changed since it was last asked.
    pub(crate) fn commits(&mut self) -> Vec<(i32, i64)> {
        let mut commits = Vec::new();
        for (partition, of) in &mut self.partitions {
            let done = of.open.first().copied().unwrap_or(of.next);
            if done > of.told {
                of.told = done;
                commits.push((*partition, done));
            }
        }
        commits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(offsets: &mut Offsets, partition: i32, numbers: std::ops::Range<i64>) -> Vec<Position> {
        numbers.map(|offset| offsets.given(partition, offset).expect("it is new")).collect()
    }

    #[test]
    fn what_was_acknowledged_is_committed_as_far_as_it_has_no_gap() {
        let mut offsets = Offsets::default();
        let all = given(&mut offsets, 0, 10..15);
        assert_eq!(offsets.commits(), []);
        assert!(offsets.acknowledged(&all[1]) && offsets.acknowledged(&all[2]));
        assert_eq!(offsets.commits(), []);
        assert!(offsets.acknowledged(&all[0]));
        assert_eq!(offsets.commits(), [(0, 13)]);
        assert_eq!(offsets.commits(), []);
        assert!(offsets.acknowledged(&all[4]) && offsets.acknowledged(&all[3]));
        assert_eq!(offsets.commits(), [(0, 15)]);
    }

    #[test]
    fn offsets_that_no_record_has_are_no_gap() {
        let mut offsets = Offsets::default();
        let first = offsets.given(0, 3).expect("it is new");
        let second = offsets.given(0, 90).expect("it is new");
        assert!(offsets.acknowledged(&first));
        assert_eq!(offsets.commits(), [(0, 90)]);
        assert!(offsets.acknowledged(&second));
        assert_eq!(offsets.commits(), [(0, 91)]);
    }

    #[test]
    fn an_acknowledgement_counts_once_and_only_in_its_turn() {
        let mut offsets = Offsets::default();
        let old = given(&mut offsets, 0, 0..2);
        let other = given(&mut offsets, 1, 0..1);
        assert!(offsets.acknowledged(&old[0]) && !offsets.acknowledged(&old[0]));
        offsets.revoked(0);
        assert!(!offsets.is_ours(&old[1]) && offsets.is_ours(&other[0]));
        let again = given(&mut offsets, 0, 0..2);
        assert!(!offsets.acknowledged(&old[1]));
        assert_eq!(offsets.commits(), []);
        assert!(offsets.acknowledged(&again[0]));
        assert_eq!(offsets.commits(), [(0, 1)]);
    }

    #[test]
    fn what_is_given_and_open_is_not_given_again() {
        let mut offsets = Offsets::default();
        let first = offsets.given(0, 5).expect("it is new");
        assert_eq!(offsets.given(0, 5), None);
        assert!(offsets.acknowledged(&first));
        assert!(offsets.given(0, 5).is_some());
    }
}
