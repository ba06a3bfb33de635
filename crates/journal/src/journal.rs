use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Result};
use tokio::sync::{oneshot, watch};

use crate::catalog::Catalog;
use crate::cursor::Cursor;
use crate::disk::{Disk, RealDisk};
use crate::inspect::{self, Report, SegmentInfo};
use crate::options::{Options, Retention};
use crate::pending::Pending;
use crate::queue::{Change, Payloads, Work};
use crate::reader::{Reader, Reads};
use crate::recover::{self, Recovery};
use crate::retention::Removed;
use crate::segment::{LOCK, io_error};
use crate::seq::Seq;
use crate::shared::{Inside, Shared};
use crate::stats::Stats;
use crate::writer::Writer;

/// An append log that is open for writing. Clones are handles of the same journal.
///
/// It is closed by [`close`](Self::close), or when the last handle is dropped (a [`Cursor`] is one, a [`Reader`] is
/// not): the drop writes what is queued and waits for the writing thread, which may take as long as a sync.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    reads: Reads,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Inner {
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the writer has been reported to all who wait.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.join();
    }
}

impl Journal {
    /// Opens the journal in the directory `dir`, which is made if it is not there, takes its lock, reads the active
    /// segment and cuts off what a crash left unfinished at its end ([`recovery`](Self::recovery) tells). Blocks.
    ///
    /// Errors: `Config` for options that make no sense; `Overloaded` if another process, or this one, has it open,
    /// with the process id; `Codec` if the active segment's header is damaged; `Unsupported` for a later version of
    /// the format; `Io`.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        options.check()?;
        let dir = dir.as_ref();
        let disk = RealDisk::create(dir)
            .map_err(|error| io_error(&error, format!("open journal {}", dir.display())))?;
        Self::open_on(Arc::new(disk), options)
    }

    /// As [`open`](Self::open), on any [`Disk`].
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Self> {
        options.check()?;
        let doing = format!("open journal {}", disk.describe());
        let lock = disk.lock(LOCK).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => Error::new(
                ErrorKind::Overloaded,
                format!("{doing}: {error}; one process at a time can write: stop it, or open a View to read"),
            ),
            _ => io_error(&error, format!("{doing}: take {LOCK}")),
        })?;
        let mut recovered = recover::recover(&*disk).map_err(|error| error.while_doing(&doing))?;
        let (durable, watch) = watch::channel(recovered.next);
        let inside = Inside {
            segments: std::mem::take(&mut recovered.segments),
            next: recovered.next,
            cursors: recovered.cursors.clone(),
        };
        let report = std::mem::take(&mut recovered.report);
        let shared = Arc::new(Shared::new(disk, options, report, watch, inside));
        let writer = Writer::new(shared.clone(), durable, recovered);
        let thread = std::thread::Builder::new()
            .name("haul-journal-write".into())
            .spawn(move || writer.run(lock))
            .map_err(|error| io_error(&error, format!("{doing}: start its writing thread")))?;
        Ok(Self {
            inner: Arc::new(Inner { shared, reads: Reads::default(), thread: Mutex::new(Some(thread)) }),
        })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    /// Appends one record and answers its number when it is on disk. Waits while the queue is full.
    ///
    /// Errors: `TooLarge`; `Closed` after [`close`](Self::close); `Io` when a write or sync failed, which closes the
    /// journal: it is not tried again, and every later append answers the same error. Then the records that were not
    /// acknowledged may or may not be found when the journal is opened again (`sent` is `Maybe` for those that were
    /// under way, `No` for later ones).
    ///
    /// Dropping the future: the record is not appended if it was not queued yet, and is appended otherwise.
    pub async fn append(&self, payload: impl Into<Bytes>) -> Result<Seq> {
        let pending = self.submit(payload).await?;
        Ok(pending.await?.start)
    }

    /// Appends records one behind the other, with no other between them, and answers their numbers when all are on
    /// disk. A crash or an error may leave the first of them only. Errors and cancellation as [`append`](Self::append);
    /// together they must fit the queue, otherwise `TooLarge`. With no records at all it answers when everything that
    /// was queued before is on disk.
    pub async fn append_all(&self, payloads: Vec<Bytes>) -> Result<Range<Seq>> {
        self.submit_all(payloads).await?.await
    }

    /// Queues one record, waiting while the queue is full, and answers a future for when it is on disk. Records are
    /// written in the order in which they were queued.
    ///
    /// Dropping this future queues nothing; dropping the [`Pending`] leaves the record to be written.
    pub async fn submit(&self, payload: impl Into<Bytes>) -> Result<Pending> {
        let payload = payload.into();
        self.check_size(&payload)?;
        self.push(Payloads::One(payload)).await
    }

    /// As [`submit`](Self::submit), for records with no other between them.
    pub async fn submit_all(&self, payloads: Vec<Bytes>) -> Result<Pending> {
        payloads.iter().try_for_each(|payload| self.check_size(payload))?;
        self.push(Payloads::Many(payloads)).await
    }

    /// As [`submit`](Self::submit), without waiting: `Overloaded` if the queue is full.
    pub fn try_submit(&self, payload: impl Into<Bytes>) -> Result<Pending> {
        let payload = payload.into();
        self.check_size(&payload)?;
        let (done, answer) = oneshot::channel();
        let payloads = Payloads::One(payload);
        self.shared().queue.try_push(Work::Append { payloads, done })?;
        Ok(self.pending(answer))
    }

    async fn push(&self, payloads: Payloads) -> Result<Pending> {
        let (done, answer) = oneshot::channel();
        self.shared().queue.push(Work::Append { payloads, done }).await?;
        Ok(self.pending(answer))
    }

    fn pending(&self, answer: oneshot::Receiver<Result<Range<Seq>>>) -> Pending {
        Pending { answer, shared: self.inner.shared.clone() }
    }

    fn check_size(&self, payload: &Bytes) -> Result<()> {
        let most = self.shared().options.max_record;
        match payload.len() > most {
            true => Err(Error::new(
                ErrorKind::TooLarge,
                format!("append a record of {} bytes: max_record is {most}", payload.len()),
            )),
            false => Ok(()),
        }
    }

    pub(crate) async fn change(&self, name: &str, change: Change) -> Result<Seq> {
        let (done, answer) = oneshot::channel();
        let name = name.to_owned();
        self.shared().queue.push(Work::Cursor { name, change, done }).await?;
        answer.await.unwrap_or_else(|_| Err(self.shared().queue.closed()))
    }

    /// Reads from record `from` on, within this process. If that was removed already, the first read answers `Gap`.
    /// `Io` if the journal's reading thread cannot be started.
    pub fn reader(&self, from: Seq) -> Result<Reader> {
        Reader::new(self.inner.shared.clone(), &self.inner.reads, from)
    }

    /// The cursor `name`; a new one is made durably at the oldest record. Errors: `Config` for an empty name or one
    /// longer than 255 bytes; `Overloaded` if there are 256 already; `Closed` or `Io` as for an append.
    pub async fn cursor(&self, name: impl Into<String>) -> Result<Cursor> {
        Cursor::make(self.clone(), name.into(), None).await
    }

    /// As [`cursor`](Self::cursor); a new one is made at `at`.
    pub async fn cursor_at(&self, name: impl Into<String>, at: Seq) -> Result<Cursor> {
        Cursor::make(self.clone(), name.into(), Some(at)).await
    }

    /// The cursors and their durable positions, by name.
    pub fn cursors(&self) -> Vec<(String, Seq)> {
        let inside = self.shared().lock();
        inside.cursors.iter().map(|(name, position)| (name.clone(), *position)).collect()
    }

    /// The number of the oldest record, or of the next one if there is none.
    pub fn first(&self) -> Seq {
        self.shared().first()
    }

    /// The number behind the last durable record.
    pub fn next(&self) -> Seq {
        *self.shared().durable.borrow()
    }

    /// Removes whole segments as `policy` asks, now. Errors: `Io` or `Codec` if a segment could not be removed or
    /// its age not be read, which leaves the rest for later and the journal open; `Closed` or `Io` as for an append.
    pub async fn retain(&self, policy: Retention) -> Result<Removed> {
        let (done, answer) = oneshot::channel();
        self.shared().queue.push(Work::Retain { policy, done }).await?;
        answer.await.unwrap_or_else(|_| Err(self.shared().queue.closed()))
    }

    /// The segments, oldest first. Reads the beginning of each and the whole active one.
    pub async fn segments(&self) -> Result<Vec<SegmentInfo>> {
        let catalog = Catalog::Live(self.inner.shared.clone());
        self.inner.reads.run(move || inspect::segments(&catalog)).await?
    }

    /// Reads everything that is durable and lists all that is wrong.
    pub async fn verify(&self) -> Result<Report> {
        let catalog = Catalog::Live(self.inner.shared.clone());
        self.inner.reads.run(move || inspect::verify(&catalog)).await?
    }

    /// What opening found and mended.
    pub fn recovery(&self) -> &Recovery {
        &self.shared().recovery
    }

    /// The failure that closed the journal, if one did.
    pub fn failure(&self) -> Option<Error> {
        self.shared().queue.failure()
    }

    /// What it did since it was opened, and how large it is.
    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let mut stats = shared.counters.read();
        let used = shared.queue.used();
        stats.queued_bytes = used.bytes as u64;
        stats.queued_records = used.records as u64;
        let inside = shared.lock();
        stats.segments = inside.segments.len() as u64;
        stats.bytes = inside.segments.iter().map(|meta| meta.bytes).sum();
        stats
    }

    /// Takes nothing more, writes what is queued, and gives the lock back. `Io` if a write or sync failed, now or
    /// before. Dropping the future: the journal closes all the same.
    pub async fn close(&self) -> Result<()> {
        let shared = self.shared();
        shared.queue.close();
        let mut durable = shared.durable.clone();
        while durable.changed().await.is_ok() {}
        self.inner.join();
        shared.queue.failure().map_or(Ok(()), Err)
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Journal");
        debug.field("disk", &self.shared().disk.describe());
        debug.field("first", &self.first()).field("next", &self.next()).finish()
    }
}
