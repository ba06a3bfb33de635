//! The bounded queue between those who append and the thread that writes.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Result, Sent};
use tokio::sync::{Semaphore, oneshot};

use crate::format::RECORD_HEADER;
use crate::options::{Options, Retention};
use crate::retention::Removed;
use crate::seq::Seq;

/// What the writer is asked to do, and where it answers.
pub(crate) enum Work {
    Append { payloads: Payloads, done: oneshot::Sender<Result<Range<Seq>>> },
    Cursor { name: String, change: Change, done: oneshot::Sender<Result<Seq>> },
    Retain { policy: Retention, done: oneshot::Sender<Result<Removed>> },
}

pub(crate) enum Payloads {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Payloads {
    pub(crate) fn as_slice(&self) -> &[Bytes] {
        match self {
            Self::One(payload) => std::slice::from_ref(payload),
            Self::Many(payloads) => payloads,
        }
    }
}

/// What happens to a cursor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// Made, here or at the oldest record, unless it is there.
    Make(Option<Seq>),
    /// Moved on, never back.
    Advance(Seq),
    /// Moved, also back.
    Move(Seq),
    /// Removed.
    Remove,
}

impl Work {
    pub(crate) fn cost(&self) -> Cost {
        match self {
            Self::Append { payloads, .. } => {
                let payloads = payloads.as_slice();
                let bytes: usize = payloads.iter().map(|payload| payload.len() + RECORD_HEADER).sum();
                Cost { bytes, records: payloads.len() }
            }
            Self::Cursor { name, .. } => Cost { bytes: name.len() + 8 + RECORD_HEADER, records: 1 },
            Self::Retain { .. } => Cost { bytes: RECORD_HEADER, records: 1 },
        }
    }

    /// Answers whoever waits with an error.
    pub(crate) fn refuse(self, error: Error) {
        // An answer that nobody awaits any more is of no use to anyone.
        match self {
            Self::Append { done, .. } => drop(done.send(Err(error))),
            Self::Cursor { done, .. } => drop(done.send(Err(error))),
            Self::Retain { done, .. } => drop(done.send(Err(error))),
        }
    }
}

/// What work takes of the queue's bounds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) bytes: usize,
    pub(crate) records: usize,
}

pub(crate) struct Queue {
    inside: Mutex<Inside>,
    ready: Condvar,
    bytes: Semaphore,
    records: Semaphore,
    limit: Cost,
    /// Why nothing can be appended any more, if a write or sync failed.
    failed: OnceLock<Error>,
}

struct Inside {
    work: Vec<Work>,
    records: usize,
    /// The writer sleeps and is to be woken when there are this many records.
    wake_at: Option<usize>,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            inside: Mutex::new(Inside { work: Vec::new(), records: 0, wake_at: None, closed: false }),
            ready: Condvar::new(),
            bytes: Semaphore::new(options.queue_bytes),
            records: Semaphore::new(options.queue_records),
            limit: Cost { bytes: options.queue_bytes, records: options.queue_records },
            failed: OnceLock::new(),
        }
    }

    /// Queues `work`, waiting for room. Dropped before it is queued, it leaves nothing behind.
    pub(crate) async fn push(&self, work: Work) -> Result<()> {
        let cost = work.cost();
        let (bytes, records) = self.permits(cost)?;
        let records = self.records.acquire_many(records).await.map_err(|_| self.closed())?;
        let bytes = self.bytes.acquire_many(bytes).await.map_err(|_| self.closed())?;
        self.put(work, cost)?;
        records.forget();
        bytes.forget();
        Ok(())
    }

    /// Queues `work` if there is room now.
    pub(crate) fn try_push(&self, work: Work) -> Result<()> {
        use tokio::sync::TryAcquireError::{Closed, NoPermits};
        let cost = work.cost();
        let (bytes, records) = self.permits(cost)?;
        let full = |error| match error {
            Closed => self.closed(),
            NoPermits => Error::new(
                ErrorKind::Overloaded,
                format!(
                    "append: the queue of {} bytes and {} records is full",
                    self.limit.bytes, self.limit.records
                ),
            ),
        };
        let records = self.records.try_acquire_many(records).map_err(full)?;
        let bytes = self.bytes.try_acquire_many(bytes).map_err(full)?;
        self.put(work, cost)?;
        records.forget();
        bytes.forget();
        Ok(())
    }

    fn permits(&self, cost: Cost) -> Result<(u32, u32)> {
        if cost.bytes > self.limit.bytes || cost.records > self.limit.records {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "append {} records, {} bytes with headers: the queue holds {} records and {} bytes",
                    cost.records, cost.bytes, self.limit.records, self.limit.bytes
                ),
            ));
        }
        let narrow = |count| u32::try_from(count).expect("options keep the bounds below 4 Gi");
        Ok((narrow(cost.bytes), narrow(cost.records)))
    }

    fn put(&self, work: Work, cost: Cost) -> Result<()> {
        let mut inside = self.lock();
        if inside.closed {
            drop(inside);
            return Err(self.closed());
        }
        inside.work.push(work);
        inside.records += cost.records;
        let wake = inside.wake_at.is_some_and(|at| inside.records >= at);
        if wake {
            inside.wake_at = None;
        }
        drop(inside);
        if wake {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Everything that is queued, as soon as there is something; `None` if it is closed and empty. It waits until
    /// there are `expected` records, for at most `gather`.
    pub(crate) fn take(&self, expected: usize, gather: Duration) -> Option<Vec<Work>> {
        let mut inside = self.lock();
        while inside.work.is_empty() {
            if inside.closed {
                return None;
            }
            inside.wake_at = Some(0);
            inside = self.ready.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
        if !gather.is_zero() {
            let deadline = Instant::now() + gather;
            while inside.records < expected && !inside.closed {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                inside.wake_at = Some(expected);
                let waited = self.ready.wait_timeout(inside, left);
                inside = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        inside.wake_at = None;
        inside.records = 0;
        let capacity = inside.work.len().min(1024);
        Some(std::mem::replace(&mut inside.work, Vec::with_capacity(capacity)))
    }

    /// Gives back what work took.
    pub(crate) fn release(&self, cost: Cost) {
        self.bytes.add_permits(cost.bytes);
        self.records.add_permits(cost.records);
    }

    /// Takes nothing more; what is queued is still written.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
        self.bytes.close();
        self.records.close();
    }

    /// Takes nothing more and answers all that is queued with `error`, now and ever after.
    pub(crate) fn fail(&self, error: Error) {
        // The first failure stands.
        let _ = self.failed.set(error.with_sent(Sent::No));
        self.close();
        let left = std::mem::take(&mut self.lock().work);
        for work in left {
            work.refuse(self.closed());
        }
    }

    /// Why nothing can be appended.
    pub(crate) fn closed(&self) -> Error {
        match self.failed.get() {
            Some(error) => error.clone(),
            None => Error::new(ErrorKind::Closed, "the journal is closed").with_sent(Sent::No),
        }
    }

    pub(crate) fn failure(&self) -> Option<Error> {
        self.failed.get().cloned()
    }

    /// What is queued or being written.
    pub(crate) fn used(&self) -> Cost {
        Cost {
            bytes: self.limit.bytes.saturating_sub(self.bytes.available_permits()),
            records: self.limit.records.saturating_sub(self.records.available_permits()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
