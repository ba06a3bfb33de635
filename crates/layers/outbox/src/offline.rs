//! Changing an outbox that no program has open.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Result};
use haul_journal::{Journal, Options, Retention, Seq};

use crate::forward::{OpenJournal, open_journal};
use crate::letter;
use crate::options::done;
use crate::place::{DEAD, PACKETS, SETTLED, key_of_cursor};
use crate::secret::SecretKey;
use crate::view::OutboxView;

/// Most bytes of a record that is moved.
const MAX_RECORD: usize = 512 << 20;

/// Letters that go together, in count and bytes.
const RUN: (usize, usize) = (256, 16 << 20);

/// Which dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those of these numbers.
    These(BTreeSet<u64>),
}

impl Which {
    fn has(&self, id: u64) -> bool {
        match self {
            Self::All => true,
            Self::These(ids) => ids.contains(&id),
        }
    }
}

/// An outbox that no program has open, held by its locks so that none opens it meanwhile.
#[derive(Debug)]
pub struct Offline {
    view: OutboxView,
    packets: Journal,
    dead: Journal,
}

impl Offline {
    /// The outbox in the folder `dir`; `key` is that with which it is sealed.
    ///
    /// Errors: `NotFound` if there is none; `Overloaded`, with the process id, if a program has it open; `Io`, `Codec`.
    pub async fn open(dir: impl AsRef<Path>, key: Option<&SecretKey>) -> Result<Self> {
        let view = OutboxView::open(dir, key)?;
        let open = |folder: &str| {
            let dir = view.dir().join(folder);
            let options = Options::default().max_record(MAX_RECORD).queue_bytes(MAX_RECORD + (1 << 20));
            let open: OpenJournal = std::sync::Arc::new(move || Journal::open(&dir, options.clone()));
            open_journal(open)
        };
        let (packets, dead) = (open(PACKETS).await?, open(DEAD).await?);
        Ok(Self { view, packets, dead })
    }

    /// Puts dead letters back at the end of the outbox, as new packets with the ids that they had; answers how many.
    ///
    /// Each is on disk there before it is settled here: a crash between may put some there twice.
    ///
    /// Errors: `NotFound` if one of these is no dead letter, before anything was done; `Unauthorized` for a wrong key;
    /// `Io`, `Codec`.
    pub async fn replay(&self, which: &Which) -> Result<u64> {
        self.check(which)?;
        let mut letters = self.view.dead()?;
        let mut count = 0;
        loop {
            let (mut records, mut marks, mut bytes) = (Vec::new(), Vec::new(), 0);
            while records.len() < RUN.0 && bytes < RUN.1 {
                let Some((letter, record)) = letters.next()? else {
                    break;
                };
                if which.has(letter.id) {
                    bytes += record.len();
                    // It shares the memory of what was read with it.
                    records.push(Bytes::copy_from_slice(&record));
                    marks.push(letter::mark(letter.id));
                }
            }
            if records.is_empty() {
                break;
            }
            count += records.len() as u64;
            self.packets.append_all(records).await?;
            self.dead.append_all(marks).await?;
        }
        self.tidy().await?;
        Ok(count)
    }

    /// Removes dead letters; answers how many. Errors: as [`replay`](Self::replay).
    pub async fn purge_dead(&self, which: &Which) -> Result<u64> {
        let ids = self.check(which)?;
        let marks = ids.iter().map(|id| letter::mark(*id)).collect();
        self.dead.append_all(marks).await?;
        self.tidy().await?;
        Ok(ids.len() as u64)
    }

    /// Removes what waits to be delivered; answers how many packets. Errors: `Io`.
    pub async fn purge_pending(&self) -> Result<u64> {
        let (from, next) = (self.view.position()?, self.packets.next());
        for (name, _) in self.packets.cursors() {
            if key_of_cursor(&name).is_some() {
                self.packets.cursor(name).await?.commit(next).await?;
            }
        }
        self.packets.retain(everything_done()).await?;
        Ok(next.0.saturating_sub(from))
    }

    /// Lets go of the locks. Errors: `Io` if something was not written.
    pub async fn close(self) -> Result<()> {
        let dead = self.dead.close().await;
        self.packets.close().await.and(dead)
    }

    /// The letters that there are of these. Errors: `NotFound` for one that is not there.
    fn check(&self, which: &Which) -> Result<BTreeSet<u64>> {
        let mut there = BTreeSet::new();
        let mut letters = self.view.dead()?;
        while let Some(letter) = letters.read()? {
            if which.has(letter.id) {
                there.insert(letter.id);
            }
        }
        match which {
            Which::These(ids) => match ids.difference(&there).next() {
                Some(id) => Err(Error::new(ErrorKind::NotFound, format!("there is no dead letter {id}"))),
                None => Ok(there),
            },
            Which::All => Ok(there),
        }
    }

    /// Lets go of the files in front of the first letter that is not settled.
    async fn tidy(&self) -> Result<()> {
        let cursor = self.dead.cursor(SETTLED).await?;
        let first = self.view.dead()?.read()?.map(|letter| Seq(letter.id));
        cursor.commit(first.unwrap_or(self.dead.next())).await?;
        self.dead.retain(everything_done()).await.map(drop)
    }
}

/// What is done goes, the newest file included.
fn everything_done() -> Retention {
    done().max_age(Duration::ZERO)
}
