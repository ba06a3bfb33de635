use haul_core::{Error, ErrorKind, Result};

use crate::format::MAX_NAME;
use crate::journal::Journal;
use crate::queue::Change;
use crate::seq::Seq;

/// A named place in a journal that survives restarts: everything before it is done.
///
/// A cursor keeps retention from removing what it has not passed (see [`Keep`](crate::Keep)). Committing costs no sync
/// of its own: it is a record of the journal and shares the sync of whatever is appended beside it.
#[derive(Clone)]
pub struct Cursor {
    journal: Journal,
    name: String,
}

impl Cursor {
    pub(crate) async fn make(journal: Journal, name: String, at: Option<Seq>) -> Result<Self> {
        if !(1..=MAX_NAME).contains(&name.len()) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("make a cursor: its name has {} bytes; it must have 1 to {MAX_NAME}", name.len()),
            ));
        }
        journal.change(&name, Change::Make(at)).await?;
        Ok(Self { journal, name })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of the first record that is not done, as it is on disk. `None` if it was removed.
    pub fn position(&self) -> Option<Seq> {
        self.journal.shared().lock().cursors.get(&self.name).copied()
    }

    /// Says that every record before `next` is done, and answers the position, durably. To settle a record, commit
    /// `record.seq.next()`. A cursor that is further already stays where it is and that position is answered.
    ///
    /// Errors: `Config` if the journal has not got that far; `NotFound` if the cursor was removed; `Closed` or `Io` as
    /// for an append. Dropping the future: it may be committed all the same.
    pub async fn commit(&self, next: Seq) -> Result<Seq> {
        self.journal.change(&self.name, Change::Advance(next)).await
    }

    /// Moves it, also back, to have records done once more; otherwise as [`commit`](Self::commit).
    pub async fn rewind(&self, next: Seq) -> Result<Seq> {
        self.journal.change(&self.name, Change::Move(next)).await
    }

    /// Removes it durably: it holds back retention no longer. `NotFound` if it is gone already.
    pub async fn remove(self) -> Result<()> {
        self.journal.change(&self.name, Change::Remove).await.map(drop)
    }
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Cursor");
        debug.field("name", &self.name).field("position", &self.position()).finish()
    }
}
