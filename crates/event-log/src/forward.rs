//! From the log to one sink: at least once, in order per session.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use haul_core::{AnySink, Backoff, Batch, Error, ErrorKind, Packet, Receipt, Result, Service, Status};
use haul_journal::{Cursor, Reader, Record, Seq};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::dead::{self, DeadLetters};
use crate::event::{DEFAULT_SESSION, SESSION_ID};
use crate::record;
use crate::sink::SinkOptions;
use crate::status::Counters;
use crate::window::{Entry, Window};

/// A position is on disk at the latest this long after it was reached.
const COMMIT_WITHIN: Duration = Duration::from_millis(100);

/// How long a sink that failed before may take with its last try.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a forwarder ends that was not told to end.
pub(crate) const NEVER: Seq = Seq(u64::MAX);

pub(crate) struct Forwarder {
    pub(crate) name: String,
    pub(crate) sink: AnySink,
    pub(crate) options: SinkOptions,
    pub(crate) reader: Reader,
    pub(crate) window: Window,
    pub(crate) cursor: Cursor,
    pub(crate) committed: Seq,
    pub(crate) commit_at: Instant,
    pub(crate) counters: Arc<Counters>,
    pub(crate) dead: Arc<DeadLetters>,
    /// Where to end; the number that no event has until it is to end.
    pub(crate) until: watch::Receiver<Seq>,
    pub(crate) trouble: Trouble,
    /// Nothing is read before: the disk failed.
    pub(crate) read_at: Option<Instant>,
}

/// What keeps the whole sink back for a while; single sessions wait in the window.
#[derive(Default)]
pub(crate) struct Trouble {
    /// Deliveries in a row that failed as a whole.
    attempt: u32,
    /// Nothing is delivered before.
    until: Option<Instant>,
}

impl Forwarder {
    /// Forwards until it is told to end and has come there, or can only wait for the sink to take what it failed.
    /// Errors: the journal's, when it is closed.
    pub(crate) async fn run(mut self) -> Result<()> {
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
            if self.trouble.until.is_none_or(|at| at <= Instant::now()) {
                let taken = self.window.take(self.options.batch, self.options.batch_bytes);
                if !taken.is_empty() {
                    match self.deliver(taken).await {
                        true => continue,
                        false => return self.commit(true).await,
                    }
                }
            }
            if until < NEVER && (self.read_at.is_some() || self.window.len() > 0) {
                return self.commit(true).await;
            }
            self.idle().await?;
        }
    }

    /// Takes what stands on disk, until there is enough for a delivery or no more room.
    async fn read(&mut self) -> Result<()> {
        if self.read_at.is_some_and(|at| at > Instant::now()) {
            return Ok(());
        }
        self.read_at = None;
        while self.window.has_room() && self.window.ready() < self.options.batch {
            match self.reader.next().await {
                Ok(Some(record)) => self.take_in(record),
                Ok(None) => break,
                Err(why) => return self.unreadable(why),
            }
        }
        Ok(())
    }

    /// Waits until there is something to do.
    async fn idle(&mut self) -> Result<()> {
        let pending = self.window.done() > self.committed;
        let waits = [self.window.wakes(), self.trouble.until, self.read_at];
        let wakes = waits.into_iter().chain([pending.then_some(self.commit_at)]).flatten().min();
        let reads = self.window.has_room() && self.read_at.is_none() && self.trouble.until.is_none();
        tokio::select! {
            record = self.reader.follow(), if reads => match record {
                Ok(record) => self.take_in(record),
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
        if done == self.committed {
            self.commit_at = Instant::now() + COMMIT_WITHIN;
        } else if at_once || Instant::now() >= self.commit_at {
            self.committed = self.cursor.commit(done).await?;
            self.commit_at = Instant::now() + COMMIT_WITHIN;
        }
        Ok(())
    }

    /// For the status.
    fn note(&self) {
        self.counters.at(self.window.done(), self.window.next(), self.window.len());
    }

    fn take_in(&mut self, record: Record) {
        match record::decode(record.payload.clone()) {
            Ok(event) if !self.options.filter.passes(&event.packet) => {
                Counters::add(&self.counters.filtered, 1);
                self.window.pass(record.seq.next());
            }
            Ok(event) => {
                let packet = self.dress(event.packet, &event.session);
                self.window.push(record.seq, Entry::new(&event.session, packet, record.payload));
            }
            Err(why) => {
                Counters::add(&self.counters.lost, 1);
                tracing::error!(sink = self.name, seq = record.seq.0, "an event is lost: {why}");
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
                tracing::error!(sink = self.name, lost, "events are lost to this sink: {why}");
                self.counters.happened(&why);
                self.window.pass(self.reader.position());
            }
            ErrorKind::Codec => {
                tracing::error!(sink = self.name, "damaged events are passed over: {why}");
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

    fn dress(&self, packet: Packet, session: &str) -> Packet {
        if !self.options.metadata {
            return packet.with_metadata(haul_core::Metadata::new());
        }
        if session == DEFAULT_SESSION || packet.metadata().get(SESSION_ID).is_some() {
            return packet;
        }
        packet.with(SESSION_ID, session.to_owned())
    }

    /// Delivers `taken` once; answers whether to go on, which a sink that gives no answer may leave no time for.
    async fn deliver(&mut self, taken: Vec<Seq>) -> bool {
        Counters::add(&self.counters.deliveries, 1);
        self.counters.delivering(true);
        let answer = self.call(&taken).await;
        self.counters.delivering(false);
        let Some(answer) = answer else {
            return false;
        };
        match answer {
            Ok(outcomes) if outcomes.len() == taken.len() => self.settle(taken, outcomes).await,
            Ok(outcomes) => {
                let (given, answered) = (taken.len(), outcomes.len());
                let message = format!("sink {} answered {answered} outcomes for {given} packets", self.name);
                self.all_failed(&taken, &Error::new(ErrorKind::Internal, message));
            }
            Err(why) if is_of_the_sink(&why) => self.all_failed(&taken, &why),
            Err(why) if taken.len() == 1 => self.settle(taken, vec![Err(why)]).await,
            // Which packet it is about comes out one by one.
            Err(_) => self.window.put_back(&taken, true),
        }
        true
    }

    /// Calls the sink. `None` if it was told to end while it tried again what had failed, and got no answer soon.
    async fn call(&mut self, taken: &[Seq]) -> Option<Result<Vec<Result<Receipt>>>> {
        let packets: Batch = taken.iter().map(|seq| self.window.entry(*seq).packet.clone()).collect();
        let calling = call(&self.sink, packets);
        if self.trouble.attempt == 0 && taken.iter().any(|seq| self.window.attempt(*seq) == 0) {
            return Some(calling.await);
        }
        let mut until = self.until.clone();
        let told = async {
            // An error says that nobody can tell any more: then it is aborted.
            let _ = until.wait_for(|until| *until < NEVER).await;
            sleep(PATIENCE).await;
        };
        tokio::select! {
            answer = calling => Some(answer),
            () = told => None,
        }
    }

    async fn settle(&mut self, taken: Vec<Seq>, outcomes: Vec<Result<Receipt>>) {
        let mut failed: Vec<(Seq, Error)> = Vec::new();
        let mut held: HashSet<Arc<str>> = HashSet::new();
        let mut settled = 0;
        for (seq, outcome) in taken.iter().copied().zip(outcomes) {
            let session = self.window.entry(seq).session.clone();
            // Behind an event that is to come again, those of its session come again too, in order.
            if held.contains(&session) {
                continue;
            }
            let done = match outcome {
                Ok(_) => {
                    Counters::add(&self.counters.delivered, 1);
                    Ok(())
                }
                Err(why) if is_of_the_sink(&why) => Err(why),
                Err(why) => self.bury(seq, why).await,
            };
            match done {
                Ok(()) => {
                    self.window.settle(seq);
                    settled += 1;
                }
                Err(why) => {
                    held.insert(session);
                    failed.push((seq, why));
                }
            }
        }
        match failed.as_slice() {
            [] => self.goes_on(),
            // Nobody got through: it is not about single sessions.
            [(_, why), _, ..] if settled == 0 => self.all_failed(&taken, why),
            some => {
                self.trouble = Trouble::default();
                for (seq, why) in some {
                    let wait = self.failed(why, self.window.attempt(*seq));
                    self.window.wait(*seq, Instant::now() + wait);
                }
            }
        }
    }

    /// The delivery failed as a whole: everything waits.
    fn all_failed(&mut self, taken: &[Seq], why: &Error) {
        let wait = self.failed(why, self.trouble.attempt);
        self.trouble.attempt = self.trouble.attempt.saturating_add(1);
        self.trouble.until = Some(Instant::now() + wait);
        self.window.put_back(taken, false);
    }

    /// Takes down a failure after `attempt` others; answers how long to wait.
    fn failed(&self, why: &Error, attempt: u32) -> Duration {
        if !self.counters.is_stuck() {
            tracing::warn!(
                sink = self.name,
                "the sink takes no events; they are kept and tried again: {why}"
            );
        }
        self.counters.failed(why);
        Counters::add(&self.counters.retries, 1);
        let wait = self.options.backoff.wait(attempt, Backoff::random());
        why.retry_after().map_or(wait, |asked| asked.max(wait))
    }

    /// A delivery went through.
    fn goes_on(&mut self) {
        self.trouble = Trouble::default();
        if self.counters.is_stuck() && !self.window.is_stuck() {
            tracing::info!(sink = self.name, "the sink takes events again");
            self.counters.goes_on();
        }
    }

    /// Makes a dead letter of what the sink refused for good. Errors: it could not be written.
    async fn bury(&self, seq: Seq, why: Error) -> Result<()> {
        let letter = dead::encode(&self.name, seq, &why, &self.window.entry(seq).record);
        self.dead.write(letter).await.map_err(|error| {
            error.while_doing(format!("write the dead letter of event {seq} for sink {}", self.name))
        })?;
        tracing::warn!(sink = self.name, seq = seq.0, "the sink refused an event for good: {why}");
        Counters::add(&self.counters.dead, 1);
        self.counters.happened(&why);
        Ok(())
    }
}

async fn wait_until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// Whether the failure is the sink's, so that the event is to come again, and not the event's own.
fn is_of_the_sink(why: &Error) -> bool {
    let setup = matches!(why.kind(), ErrorKind::Config | ErrorKind::Unauthorized | ErrorKind::Tls);
    why.status() != Status::Permanent || setup
}

/// Calls the sink on a task of its own, so that a panic of it is an error.
async fn call(sink: &AnySink, batch: Batch) -> Result<Vec<Result<Receipt>>> {
    struct Abort(tokio::task::AbortHandle);
    impl Drop for Abort {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let sink = sink.clone();
    let task = tokio::spawn(async move { sink.call(batch).await });
    let _abort = Abort(task.abort_handle());
    task.await.unwrap_or_else(|why| Err(Error::new(ErrorKind::Internal, format!("the sink panicked: {why}"))))
}
