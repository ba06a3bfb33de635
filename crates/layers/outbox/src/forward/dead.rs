//! Where what a sink refused for good is kept.

use std::sync::Arc;

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Result};
use haul_journal::Journal;
use tokio::sync::Mutex;

/// How a journal is opened. Blocks.
pub type OpenJournal = Arc<dyn Fn() -> Result<Journal> + Send + Sync>;

/// Opens a journal where blocking is allowed.
pub async fn open_journal(open: OpenJournal) -> Result<Journal> {
    let opened = tokio::task::spawn_blocking(move || open()).await;
    opened.unwrap_or_else(|why| Err(Error::new(ErrorKind::Internal, format!("open a journal: {why}"))))
}

/// The journal of dead letters. One that failed is opened again at the next letter.
pub struct DeadLetters {
    open: OpenJournal,
    journal: Mutex<Option<Journal>>,
    max_bytes: u64,
}

impl DeadLetters {
    /// Opens it. Errors: the journal's.
    pub async fn open(open: OpenJournal) -> Result<Self> {
        let journal = open_journal(open.clone()).await?;
        Ok(Self { open, journal: Mutex::new(Some(journal)), max_bytes: u64::MAX })
    }

    /// The same with a bound: no letter is written that would make it larger on disk than this many bytes.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Writes one, durably. Errors: `Overloaded` at its bound; what the journal answers; the letter may have been
    /// written.
    pub(super) async fn write(&self, letter: Bytes) -> Result<()> {
        let mut held = self.journal.lock().await;
        let journal = match &*held {
            Some(journal) => journal,
            None => held.insert(open_journal(self.open.clone()).await?),
        };
        if journal.stats().bytes.saturating_add(letter.len() as u64) > self.max_bytes {
            let message = format!(
                "the dead letters are at their bound of {} bytes: replay or purge them",
                self.max_bytes
            );
            return Err(Error::new(ErrorKind::Overloaded, message));
        }
        let written = journal.append(letter).await;
        if written.is_err() {
            *held = None;
        }
        written.map(drop)
    }

    /// Closes the journal. Errors: `Io` if its disk failed.
    pub async fn close(&self) -> Result<()> {
        match self.journal.lock().await.take() {
            Some(journal) => journal.close().await,
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}
