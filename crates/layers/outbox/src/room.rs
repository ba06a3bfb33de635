//! The bound of what waits, and what becomes of a packet above it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Result, Sent};
use haul_journal::{Journal, Keep, Pending};
use tokio::sync::Semaphore;

use crate::forward::Progress;
use crate::options::{WhenFull, done};

/// Bytes of a record's head in the journal.
const HEAD: u64 = 32;

pub(crate) struct Room {
    name: String,
    journal: Journal,
    max_bytes: u64,
    when_full: WhenFull,
    progress: Progress,
    /// One call at a time looks for room, in the order in which they came: so no two take the same.
    turn: Semaphore,
    dropped: AtomicU64,
}

impl Room {
    pub(crate) fn new(
        name: String,
        journal: Journal,
        max_bytes: u64,
        when_full: WhenFull,
        progress: Progress,
    ) -> Self {
        let (turn, dropped) = (Semaphore::new(1), AtomicU64::new(0));
        Self { name, journal, max_bytes, when_full, progress, turn, dropped }
    }

    /// Packets that were removed to make room, those included that were read to be delivered already.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Queues `record` when there is room for it. Errors: `Overloaded` if there is none and it is not to wait; the
    /// journal's. Cancelled, nothing was queued.
    pub(crate) async fn submit(&self, record: Bytes) -> Result<Pending> {
        let closed = || Error::new(ErrorKind::Closed, "the outbox is closed").with_sent(Sent::No);
        let _turn = self.turn.acquire().await.map_err(|_| closed())?;
        let size = record.len() as u64 + HEAD;
        let mut progress = self.progress.clone();
        loop {
            let position = progress.position();
            if self.fits(size) {
                return self.journal.submit(record).await;
            }
            // What is queued is on disk first: on its way there it may count twice.
            self.journal.append_all(Vec::new()).await?;
            // What was delivered goes, as far as it stands in files of its own.
            self.journal.retain(done()).await?;
            if self.fits(size) {
                return self.journal.submit(record).await;
            }
            match self.when_full {
                WhenFull::Reject => {
                    let (name, used) = (&self.name, self.used());
                    let message = format!("outbox {name} is full: it has {used} of {} bytes", self.max_bytes);
                    return Err(Error::new(ErrorKind::Overloaded, message).with_sent(Sent::No));
                }
                WhenFull::Wait => {
                    if !progress.beyond(position).await {
                        return Err(self.journal.failure().unwrap_or_else(closed));
                    }
                }
                WhenFull::DropOldest => self.drop_oldest(size).await?,
            }
        }
    }

    fn fits(&self, size: u64) -> bool {
        self.used() + size <= self.max_bytes
    }

    /// Bytes on disk and on their way there.
    fn used(&self) -> u64 {
        let stats = self.journal.stats();
        stats.bytes + stats.queued_bytes
    }

    async fn drop_oldest(&self, size: u64) -> Result<()> {
        let most = self.max_bytes.saturating_sub(size);
        let removed = self.journal.retain(done().max_bytes(most).keep(Keep::Nothing)).await?;
        if removed.unread > 0 {
            self.dropped.fetch_add(removed.unread, Relaxed);
            let (outbox, dropped) = (&*self.name, removed.unread);
            tracing::warn!(outbox, dropped, "the outbox is full: its oldest packets are dropped");
        }
        Ok(())
    }
}
