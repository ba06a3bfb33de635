//! The thread that writes: it takes all that is queued, writes it, syncs once, and answers all who wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use haul_core::{Error, ErrorKind, Result, Sent, Status};
use tokio::sync::watch;

use crate::answer::Answer;
use crate::format::{Kind, RECORD_HEADER, RecordHead};
use crate::queue::{Cost, Work};
use crate::recover::Recovered;
use crate::segment::{self, Active, Cursors, io_error};
use crate::seq::Seq;
use crate::shared::Shared;
use crate::stats::add;

/// How much is encoded before it is written.
const WRITE: usize = 1 << 20;

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) durable: watch::Sender<Seq>,
    pub(crate) active: Active,
    /// The number of the next record.
    pub(crate) next: Seq,
    pub(crate) cursors: Cursors,
    pub(crate) last_time: u64,
    /// The time that the records of this group get.
    now: u64,
    buffer: Vec<u8>,
    /// Something was encoded since the last sync.
    open: bool,
    pub(crate) cursors_changed: bool,
    rotated: bool,
    /// A segment was removed and the directory not synced since.
    pub(crate) removal_unsynced: bool,
    records: u64,
    payload_bytes: u64,
    sync_time: Duration,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, durable: watch::Sender<Seq>, from: Recovered) -> Self {
        Self {
            shared,
            durable,
            active: from.active,
            next: from.next,
            cursors: from.cursors,
            last_time: from.last_time,
            now: from.last_time,
            buffer: Vec::new(),
            open: false,
            cursors_changed: false,
            rotated: true,
            removal_unsynced: false,
            records: 0,
            payload_bytes: 0,
            sync_time: Duration::ZERO,
        }
    }

    /// Works until the queue is closed and empty, or a write or sync fails.
    pub(crate) fn run(mut self, lock: Box<dyn Send + Sync>) {
        let mut records = 1;
        self.retain_if_rotated();
        while let Some(group) = self.shared.queue.take(records, self.gather(records)) {
            let mut cost = Cost::default();
            for work in &group {
                let one = work.cost();
                cost.bytes += one.bytes;
                cost.records += one.records;
            }
            records = cost.records;
            if self.group(group, cost).is_err() {
                break;
            }
            self.retain_if_rotated();
        }
        // Before the watch channel closes, which tells that all is over.
        drop(lock);
    }

    /// How long to wait for as many records as the last group had: those who were answered together are likely to
    /// come again together, and a sync for the first of them alone would keep the others waiting.
    fn gather(&self, records: usize) -> Duration {
        match records {
            0 | 1 => Duration::ZERO,
            _ => self.shared.options.gather.min(self.sync_time / 4),
        }
    }

    /// Writes one group and answers it. After an error the queue is closed, so that whoever hears of the error finds
    /// it closed.
    fn group(&mut self, group: Vec<Work>, cost: Cost) -> Result<()> {
        self.now = self.shared.disk.now().max(self.last_time);
        let mut answers = Vec::with_capacity(group.len());
        let mut group = group.into_iter();
        let outcome = loop {
            let Some(work) = group.next() else {
                break self.commit();
            };
            if let Err(error) = self.work(work, &mut answers) {
                break Err(error);
            }
        };
        match outcome {
            Ok(()) => {
                self.shared.queue.release(cost);
                answers.into_iter().for_each(Answer::give);
                Ok(())
            }
            Err(error) => {
                let error = error.while_doing(
                    "the journal is closed, what was not acknowledged may be lost: open it again",
                );
                self.shared.queue.fail(error.clone());
                let maybe = error.clone().with_sent(Sent::Maybe);
                answers.into_iter().for_each(|answer| answer.fail(maybe.clone()));
                group.for_each(|work| work.refuse(error.clone().with_sent(Sent::No)));
                Err(error)
            }
        }
    }

    fn work(&mut self, work: Work, answers: &mut Vec<Answer>) -> Result<()> {
        match work {
            Work::Append { payloads, done } => {
                let from = self.next;
                let put = payloads.as_slice().iter().try_for_each(|payload| self.put(Kind::Data, payload));
                answers.push(Answer::Append(done, from..self.next));
                put?;
            }
            Work::Cursor { name, change, done } => match self.change(&name, change) {
                Err(error) => drop(done.send(Err(error))),
                Ok((position, None)) => answers.push(Answer::Cursor(done, position)),
                Ok((position, Some((kind, payload)))) => {
                    answers.push(Answer::Cursor(done, position));
                    self.put(kind, &payload)?;
                }
            },
            Work::Retain { policy, done } => {
                let outcome = self.commit().and_then(|()| self.retain_now(&policy));
                let removed = outcome.clone().unwrap_or_else(Err);
                answers.push(Answer::Retain(done, removed));
                outcome.map(drop)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, kind: Kind, payload: &[u8]) -> Result<()> {
        if self.next == Seq(u64::MAX) {
            let used_up = Error::new(ErrorKind::Io, "append: all record numbers are used up");
            return Err(used_up.with_status(Status::Permanent));
        }
        let end = self.active.bytes + self.buffer.len() as u64;
        let size = (RECORD_HEADER + payload.len()) as u64;
        let full = end > self.active.start && end + size > self.shared.options.segment_bytes;
        if full || self.is_old(self.shared.options.retention.max_age) {
            self.rotate()?;
        }
        let head = RecordHead { kind, group: !self.open, seq: self.next, time: self.now };
        self.open = true;
        head.encode(self.active.head.salt, payload, &mut self.buffer);
        if kind == Kind::Data {
            self.next = self.next.next();
            self.last_time = self.now;
            self.active.oldest.get_or_insert(self.now);
            self.records += 1;
            self.payload_bytes += payload.len() as u64;
        } else {
            add(&self.shared.counters.cursor_commits, 1);
        }
        if self.buffer.len() >= WRITE { self.write() } else { Ok(()) }
    }

    /// Whether the active segment began longer ago than records are kept.
    pub(crate) fn is_old(&self, max_age: Option<Duration>) -> bool {
        match (max_age, self.active.oldest) {
            (Some(age), Some(oldest)) => Duration::from_micros(self.now.saturating_sub(oldest)) > age,
            _ => false,
        }
    }

    /// Ends the active segment and begins the next.
    pub(crate) fn rotate(&mut self) -> Result<()> {
        self.commit()?;
        let number =
            self.active.head.number.checked_add(1).ok_or_else(|| {
                Error::new(ErrorKind::Io, "make a segment: all segment numbers are used up")
            })?;
        let disk = &*self.shared.disk;
        self.active = segment::create(disk, number, self.next, self.last_time, &self.cursors)?;
        let meta = self.active.meta(self.last_time);
        self.shared.lock().segments.push(meta);
        add(&self.shared.counters.rotations, 1);
        self.rotated = true;
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let at = self.active.bytes;
        self.active.file.write_at(at, &self.buffer).map_err(|error| {
            let doing =
                format!("write segment {} in {} at byte {at}", self.active.name, self.shared.disk.describe());
            io_error(&error, doing)
        })?;
        self.active.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(2 * WRITE);
        Ok(())
    }

    /// Makes durable whatever was put, and lets readers see it.
    fn commit(&mut self) -> Result<()> {
        if !self.open {
            return Ok(());
        }
        if !self.buffer.is_empty() {
            self.write()?;
        }
        let begun = Instant::now();
        self.active.file.sync().map_err(|error| {
            let doing = format!("sync segment {} in {}", self.active.name, self.shared.disk.describe());
            io_error(&error, doing)
        })?;
        self.sync_time = begun.elapsed();
        self.open = false;
        let counters = &self.shared.counters;
        add(&counters.syncs, 1);
        add(&counters.sync_micros, self.sync_time.as_micros() as u64);
        add(&counters.records, std::mem::take(&mut self.records));
        add(&counters.payload_bytes, std::mem::take(&mut self.payload_bytes));
        let mut inside = self.shared.lock();
        if let Some(last) = inside.segments.last_mut() {
            *last = self.active.meta(self.last_time);
        }
        inside.next = self.next;
        if std::mem::take(&mut self.cursors_changed) {
            inside.cursors.clone_from(&self.cursors);
        }
        drop(inside);
        self.durable.send_replace(self.next);
        Ok(())
    }

    fn retain_if_rotated(&mut self) {
        if std::mem::take(&mut self.rotated) {
            let policy = self.shared.options.retention;
            // What stays because the file system refused is counted, and tried again at the next rotation.
            let _ = self.remove_segments(&policy);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        match std::thread::panicking() {
            true => self.shared.queue.fail(Error::new(
                ErrorKind::Internal,
                "the journal's writer panicked: this is a defect; open the journal again",
            )),
            false => self.shared.queue.close(),
        }
    }
}
