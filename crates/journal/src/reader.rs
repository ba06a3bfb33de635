//! Reading within the process that writes.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use haul_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot, watch};

use crate::catalog::Catalog;
use crate::seq::Seq;
use crate::shared::Shared;
use crate::walk::{Record, Walk};

type Job = Box<dyn FnOnce() + Send>;

/// The thread on which a journal reads. It starts with the first read and ends with the last handle.
#[derive(Default)]
pub(crate) struct Reads(Mutex<Option<mpsc::Sender<Job>>>);

impl Reads {
    fn sender(&self) -> Result<mpsc::Sender<Job>> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            return Ok(sender.clone());
        }
        let (send, mut jobs) = mpsc::channel::<Job>(16);
        std::thread::Builder::new()
            .name("haul-journal-read".into())
            .spawn(move || {
                while let Some(job) = jobs.blocking_recv() {
                    job();
                }
            })
            .map_err(|error| {
                Error::new(ErrorKind::Io, format!("start the journal's reading thread: {error}"))
            })?;
        *sender = Some(send.clone());
        Ok(send)
    }

    /// Runs `work` on the reading thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (done, answer) = oneshot::channel();
        let job: Job = Box::new(move || drop(done.send(work())));
        self.sender()?.send(job).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Internal, "the journal's reading thread panicked: this is a defect")
}

/// Reads the durable records of an open journal in order.
///
/// The files are read on a thread of the journal, a block at a time. A reader holds at most one block of about
/// 128 KiB, or one record if that is larger. It works on after the journal is closed, up to what is durable then.
///
/// An error says what is wrong and comes again at each call, so that nothing is passed unseen, except a `Gap`, which
/// comes once: after it, reading goes on behind the gap.
pub struct Reader {
    /// `None` while the reading thread has it.
    walk: Option<Box<Walk>>,
    away: Option<oneshot::Receiver<(Box<Walk>, Result<()>)>>,
    skip: bool,
    /// Where the walk was when it was last here.
    position: Seq,
    reads: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    durable: watch::Receiver<Seq>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, reads: &Reads, from: Seq) -> Result<Self> {
        Ok(Self {
            walk: Some(Box::new(Walk::new(Catalog::Live(shared.clone()), from))),
            away: None,
            skip: false,
            position: from,
            reads: reads.sender()?,
            durable: shared.durable.clone(),
            shared,
        })
    }

    /// The next record; `None` if there is no more at the moment.
    ///
    /// Errors: `Gap` where retention removed records or damage was skipped, once; `Codec` at damage, with the file,
    /// the place in it and what to do; `Io`. Cancel safe: dropping the future loses no record.
    pub async fn next(&mut self) -> Result<Option<Record>> {
        loop {
            if let Some(walk) = &mut self.walk {
                if let Some(record) = walk.ready.pop_front() {
                    return Ok(Some(record));
                }
                // Everything durable was given; the file need not be asked.
                if walk.want >= *self.durable.borrow() {
                    return Ok(None);
                }
            }
            self.fill().await?;
            if self.walk.as_ref().is_some_and(|walk| walk.ready.is_empty()) {
                return Ok(None);
            }
        }
    }

    /// The next record, waiting for it.
    ///
    /// Errors: those of [`next`](Self::next); `Closed` when the journal is closed and everything was read; the
    /// journal's own error if a write failed. Cancel safe.
    pub async fn follow(&mut self) -> Result<Record> {
        loop {
            if let Some(record) = self.next().await? {
                return Ok(record);
            }
            let want = self.position();
            let waited = self.durable.wait_for(|durable| *durable > want).await.map(drop);
            if waited.is_err() && *self.durable.borrow() <= want {
                return Err(self.shared.queue.closed());
            }
        }
    }

    /// Goes past the damage that the last error reported. The next read answers `Gap` once, with what is missing,
    /// and reading goes on behind it. Without damage it does nothing.
    pub fn skip(&mut self) {
        match &mut self.walk {
            Some(walk) => walk.skip(),
            None => self.skip = true,
        }
    }

    /// The numbers that the last `Gap` error left out, if records are missing.
    pub fn gap(&self) -> Option<RangeInclusive<u64>> {
        self.walk.as_ref().and_then(|walk| walk.gap.clone())
    }

    /// The number of the record that comes next, unless there is a gap.
    pub fn position(&self) -> Seq {
        self.walk.as_ref().map_or(self.position, |walk| walk.position())
    }

    async fn fill(&mut self) -> Result<()> {
        if self.away.is_none() {
            let room = self.reads.reserve().await.map_err(|_| ended())?;
            let Some(mut walk) = self.walk.take() else {
                return Err(ended());
            };
            self.position = walk.position();
            let (done, back) = oneshot::channel();
            room.send(Box::new(move || {
                let outcome = walk.fill();
                drop(done.send((walk, outcome)));
            }));
            self.away = Some(back);
        }
        let Some(away) = &mut self.away else {
            return Err(ended());
        };
        let back = away.await;
        self.away = None;
        let (mut walk, outcome) = back.map_err(|_| ended())?;
        if std::mem::take(&mut self.skip) {
            walk.skip();
        }
        self.walk = Some(walk);
        outcome
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("position", &self.position()).finish()
    }
}
