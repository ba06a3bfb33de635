use std::time::Duration;

use haul_core::{Error, ErrorKind, Result};

use crate::format;

/// How a journal writes and what it keeps.
///
/// ```
/// use haul_journal::{Options, Retention};
///
/// let options = Options::default()
///     .segment_bytes(16 << 20)
///     .retention(Retention::default().max_bytes(1 << 30));
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) segment_bytes: u64,
    pub(crate) max_record: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) queue_records: usize,
    pub(crate) gather: Duration,
    pub(crate) retention: Retention,
}

impl Default for Options {
    /// Segments of 64 MiB; records of at most 8 MiB; a queue of 16 MiB and 16,384 records; gathering for at most
    /// 1 ms; nothing is ever removed.
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            max_record: 8 << 20,
            queue_bytes: 16 << 20,
            queue_records: 16_384,
            gather: Duration::from_millis(1),
            retention: Retention::default(),
        }
    }
}

impl Options {
    /// The size in bytes at which a segment is full and the next one begins. A record larger than this stands in a
    /// segment of its own.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The largest payload of one record, in bytes; a larger one is refused with `TooLarge`.
    #[must_use]
    pub fn max_record(mut self, bytes: usize) -> Self {
        self.max_record = bytes;
        self
    }

    /// How many bytes may be queued or on their way to the disk; further appends wait. This, twice, bounds the
    /// memory of the writing side: once queued, once encoded.
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// How many records may be queued or on their way to the disk; further appends wait.
    #[must_use]
    pub fn queue_records(mut self, records: usize) -> Self {
        self.queue_records = records;
        self
    }

    /// The longest time that a commit waits for as many records as the last commit had. It is never longer than a
    /// quarter of what a sync takes, and a lone producer never waits. Zero switches it off.
    #[must_use]
    pub fn gather(mut self, at_most: Duration) -> Self {
        self.gather = at_most;
        self
    }

    /// What is removed by itself: at open, and whenever a segment is full.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::new(ErrorKind::Config, what).while_doing("open journal"));
        if self.segment_bytes < 1024 {
            return wrong(format!("segment_bytes is {}; it must be at least 1024", self.segment_bytes));
        }
        if self.max_record == 0 || self.max_record > format::MAX_PAYLOAD {
            return wrong(format!(
                "max_record is {}; it must be between 1 and {}",
                self.max_record,
                format::MAX_PAYLOAD
            ));
        }
        if self.queue_records == 0 {
            return wrong("queue_records is 0; it must be at least 1".into());
        }
        if self.queue_bytes < self.max_record.saturating_add(format::RECORD_HEADER) {
            return wrong(format!(
                "queue_bytes is {}; it must hold one record of max_record ({}) and its header",
                self.queue_bytes, self.max_record
            ));
        }
        let permits = tokio::sync::Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        if self.queue_bytes > permits || self.queue_records > permits {
            return wrong(format!("queue_bytes and queue_records must be at most {permits}"));
        }
        Ok(())
    }
}

/// Which whole segments may go. A segment goes when one of the limits asks for it, oldest first; the active segment
/// never goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) keep: Keep,
}

impl Retention {
    /// Removes the oldest segments while the journal is larger than this many bytes.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Removes segments whose newest record is older than this. So that a slow log gets old as well, a segment whose
    /// first record is older than this is ended at the next append.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// What stays although a limit asks for its removal.
    #[must_use]
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }
}

/// What stays although a limit of [`Retention`] asks for its removal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Every record that a cursor has not passed: the limits give way to the slowest cursor, and the report names it.
    #[default]
    Unread,
    /// Nothing: the limits hold, and a reader that comes from a cursor behind gets a `Gap`.
    Nothing,
}
