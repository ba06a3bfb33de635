//! From a journal to one sink: at least once, in order per key. The outbox and the event log stand on it.

mod dead;
mod flights;
mod handle;
mod options;
mod records;
mod settle;
mod status;
mod window;

use std::sync::Arc;
use std::time::Duration;

use haul_core::{AnySink, Error, ErrorKind, Result};
use haul_journal::{Cursor, Reader, Record, Seq};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

pub use dead::{DeadLetters, OpenJournal, open_journal};
use flights::Flights;
pub use handle::{Forwarding, Progress, Route};
pub use options::{DeliveryOptions, Order};
pub use records::{Found, Records, Refused};
use status::Counters;
pub use status::{Counts, Failure, SinkStatus};
use window::{Entry, Window};

/// A position is on disk at the latest this long after it was reached.
const COMMIT_WITHIN: Duration = Duration::from_millis(100);

/// How long a sink that failed before may take with its last try.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a forwarder ends that was not told to end.
const NEVER: Seq = Seq(u64::MAX);

struct Forwarder {
    name: String,
    sink: AnySink,
    records: Arc<dyn Records>,
    options: DeliveryOptions,
    reader: Reader,
    window: Window,
    flights: Flights,
    cursor: Cursor,
    committed: watch::Sender<Seq>,
    commit_at: Instant,
    counters: Arc<Counters>,
    dead: Arc<DeadLetters>,
    /// Where to end; the number that no record has until it is to end.
    until: watch::Receiver<Seq>,
    trouble: Trouble,
    /// Nothing is read before: the disk failed.
    read_at: Option<Instant>,
    /// It was told to end, and a last try got no answer.
    gave_up: bool,
}

/// What keeps the whole sink back for a while; single keys wait in the window.
#[derive(Default)]
struct Trouble {
    /// Deliveries in a row that failed as a whole; those that were under way at once count as one.
    attempt: u32,
    /// Nothing is delivered before.
    until: Option<Instant>,
}

impl Forwarder {
    /// Forwards until it is told to end and has come there, or can only wait for the sink to take what it failed.
    /// Errors: the journal's, when it is closed.
    async fn run(mut self) -> Result<()> {
        loop {
            self.window.wake(Instant::now());
            self.read().await?;
            self.note();
            let until = *self.until.borrow();
            let over = self.window.done() >= until;
            self.commit(over).await?;
            if over {
                return Ok(());
            }
            self.begin().await;
            let waits = self.gave_up || self.read_at.is_some() || self.window.len() > 0;
            if until < NEVER && self.flights.is_empty() && waits {
                return self.commit(true).await;
            }
            self.idle().await?;
        }
    }

    /// Whether another delivery may be under way.
    fn has_lane(&self) -> bool {
        self.flights.len() < self.options.parallel && !self.gave_up
    }

    /// Takes what stands on disk, until there is enough for a delivery or no more room.
    async fn read(&mut self) -> Result<()> {
        if self.read_at.is_some_and(|at| at > Instant::now()) {
            return Ok(());
        }
        self.read_at = None;
        while self.has_lane() && self.window.has_room() && self.window.ready() < self.options.batch {
            match self.reader.next().await {
                Ok(Some(record)) => self.take_in(&record),
                Ok(None) => break,
                Err(why) => return self.unreadable(why),
            }
        }
        Ok(())
    }

    /// Begins as many deliveries as there may be.
    async fn begin(&mut self) {
        while self.has_lane() && self.trouble.until.is_none_or(|at| at <= Instant::now()) {
            let taken = self.window.take(self.options.batch, self.options.batch_bytes);
            if taken.seqs.is_empty() {
                return;
            }
            if self.expire(&taken).await {
                self.window.release(&taken);
                continue;
            }
            let again =
                self.trouble.attempt > 0 || taken.seqs.iter().all(|seq| self.window.attempt(*seq) > 0);
            let told = again.then(|| told(self.until.clone()));
            Counters::add(&self.counters.deliveries, 1);
            let packets = self.window.send(&taken);
            self.flights.begin(taken, self.trouble.attempt, self.sink.clone(), packets, told);
            self.counters.delivering(self.flights.since());
        }
    }

    /// Waits until there is something to do.
    async fn idle(&mut self) -> Result<()> {
        let pending = self.window.done() > *self.committed.borrow();
        let waits = [self.window.wakes(), self.trouble.until, self.read_at];
        let wakes = waits.into_iter().chain([pending.then_some(self.commit_at)]).flatten().min();
        let may_read = self.read_at.is_none() && self.trouble.until.is_none();
        let reads = may_read && self.has_lane() && self.window.has_room();
        tokio::select! {
            (flight, answer) = self.flights.land() => self.land(flight, answer).await,
            record = self.reader.follow(), if reads => match record {
                Ok(record) => self.take_in(&record),
                Err(why) => self.unreadable(why)?,
            },
            _ = self.until.changed() => {}
            () = wait_until(wakes) => {}
        }
        if self.trouble.until.is_some_and(|at| at <= Instant::now()) {
            self.trouble.until = None;
        }
        Ok(())
    }

    /// Writes down how far it came, now and again, or `at_once`.
    async fn commit(&mut self, at_once: bool) -> Result<()> {
        let done = self.window.done();
        if done == *self.committed.borrow() {
            self.commit_at = Instant::now() + COMMIT_WITHIN;
        } else if at_once || Instant::now() >= self.commit_at {
            let committed = self.cursor.commit(done).await?;
            self.committed.send_replace(committed);
            self.commit_at = Instant::now() + COMMIT_WITHIN;
        }
        Ok(())
    }

    /// For the status.
    fn note(&self) {
        self.counters.at(self.window.done(), self.window.next(), self.window.len());
        self.records.note(self.counters.counts());
    }

    fn take_in(&mut self, record: &Record) {
        match self.records.read(record) {
            Ok(Found::Deliver { key, packet }) => {
                self.window.push(record.seq, Entry::new(key, packet, record));
            }
            Ok(Found::Pass) => {
                Counters::add(&self.counters.filtered, 1);
                self.window.pass(record.seq.next());
            }
            Err(why) => {
                Counters::add(&self.counters.lost, 1);
                tracing::error!(sink = self.name, seq = record.seq.0, "a packet is lost: {why}");
                self.counters.happened(&why);
                self.window.pass(record.seq.next());
            }
        }
    }

    /// What could not be read is counted and passed; a disk that fails is asked again.
    fn unreadable(&mut self, why: Error) -> Result<()> {
        let why = why.while_doing(format!("forward to sink {}", self.name));
        match why.kind() {
            ErrorKind::Closed => return Err(why),
            ErrorKind::Gap => {
                let lost = self.reader.gap().map_or(0, |gap| gap.end() - gap.start() + 1);
                Counters::add(&self.counters.lost, lost as usize);
                tracing::error!(sink = self.name, lost, "packets are lost to this sink: {why}");
                self.counters.happened(&why);
                self.window.pass(self.reader.position());
            }
            ErrorKind::Codec => {
                tracing::error!(sink = self.name, "damaged packets are passed over: {why}");
                self.counters.happened(&why);
                self.reader.skip();
            }
            _ => {
                self.counters.failed(&why);
                let wait = self.options.backoff.cap.min(Duration::from_secs(1));
                self.read_at = Some(Instant::now() + wait);
            }
        }
        Ok(())
    }
}

/// Resolves a little after it was told to end.
async fn told(mut until: watch::Receiver<Seq>) {
    // An error says that nobody can tell any more: then it is aborted.
    let _ = until.wait_for(|until| *until < NEVER).await;
    sleep(PATIENCE).await;
}

async fn wait_until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}
