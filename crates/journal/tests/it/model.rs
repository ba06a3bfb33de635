//! What must be true of a journal, whatever its disk did.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use haul_journal::{Journal, Seq};

use crate::soon;

/// What must be true of the journal, whatever the disk did.
#[derive(Default)]
pub(crate) struct Model {
    /// Every record that was handed over, in order; of number `index + 1`.
    pub(crate) log: Vec<Bytes>,
    /// How many of them were acknowledged: these must be found.
    pub(crate) acknowledged: usize,
    /// Cursors, with every position that may be found: the acknowledged one, and those tried since.
    pub(crate) cursors: BTreeMap<String, BTreeSet<Option<u64>>>,
    /// Retention may have removed what comes before the slowest cursor, or anything.
    pub(crate) removable: Removable,
    /// Records before this one were removed, as was acknowledged.
    pub(crate) removed: u64,
}

#[derive(Default, PartialEq)]
pub(crate) enum Removable {
    #[default]
    Nothing,
    Passed,
    Anything,
}

pub(crate) type Checked<T = ()> = Result<T, String>;

macro_rules! must {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(format!($($message)*));
        }
    };
}

impl Model {
    /// Compares what a journal that was just opened holds, and goes on from that.
    pub(crate) async fn check(&mut self, journal: &Journal) -> Checked {
        let recovery = journal.recovery();
        must!(recovery.damage.is_empty(), "damage after a crash: {recovery:?}");
        let (first, next) = (journal.first().0, journal.next().0);
        let found = next as usize - 1;
        must!(found >= self.acknowledged, "{} were acknowledged, {found} are left", self.acknowledged);
        must!(found <= self.log.len(), "{} were appended, {found} are there", self.log.len());
        self.check_first(journal, first)?;
        let mut reader = journal.reader(Seq(first)).map_err(|error| error.to_string())?;
        for number in first..next {
            let record = soon("a record", reader.next()).await.map_err(|error| format!("read: {error}"))?;
            let record = record.ok_or_else(|| format!("record {number} of {next} is not there"))?;
            must!(record.seq.0 == number, "record {} came instead of {number}", record.seq);
            must!(record.payload == self.log[number as usize - 1], "record {number} has other bytes");
        }
        let end = soon("the end", reader.next()).await.map_err(|error| format!("read: {error}"))?;
        must!(end.is_none(), "a record was invented: {end:?}");
        let report = journal.verify().await.map_err(|error| format!("verify: {error}"))?;
        must!(report.damage.is_empty(), "verify: {:?}", report.damage);
        must!(report.records == next - first, "verify counts {} of {}", report.records, next - first);
        self.check_cursors(journal, next)?;
        self.log.truncate(found);
        self.acknowledged = found;
        Ok(())
    }

    fn check_first(&self, journal: &Journal, first: u64) -> Checked {
        must!(first >= self.removed, "records before {} were removed, {first} is there", self.removed);
        must!(first <= journal.next().0, "record {first} is the first, {} the next", journal.next());
        let slowest = journal.cursors().into_iter().map(|(_, position)| position.0).min();
        match self.removable {
            Removable::Nothing => must!(first == 1, "records before {first} are gone, unasked"),
            Removable::Passed => must!(
                slowest.is_none_or(|slowest| first <= slowest),
                "records before {first} are gone, a cursor is at {slowest:?}"
            ),
            Removable::Anything => {}
        }
        Ok(())
    }

    fn check_cursors(&mut self, journal: &Journal, next: u64) -> Checked {
        let found: BTreeMap<String, u64> =
            journal.cursors().into_iter().map(|(name, position)| (name, position.0)).collect();
        for (name, position) in &found {
            must!(self.cursors.contains_key(name), "cursor {name} was invented");
            must!(*position <= next, "cursor {name} at {position} is behind the end {next}");
        }
        for (name, possible) in &mut self.cursors {
            let position = found.get(name).copied();
            must!(
                possible.contains(&position),
                "cursor {name} is at {position:?}, it must be one of {possible:?}"
            );
            *possible = [position].into();
        }
        Ok(())
    }
}

pub(crate) use must;
