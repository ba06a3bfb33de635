//! From the log to one sink: at least once, in order per session.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use haul_core::{AnySink, Backoff, Batch, Error, ErrorKind, Packet, Receipt, Result, Service, Status};
use haul_journal::{Cursor, Reader, Record, Seq};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::dead::{self, DeadLetters};
use crate::event::{DEFAULT_SESSION, SESSION_ID};
use crate::filter::Filter;
use crate::record;
use crate::status::Counters;

/// A position is on disk at the latest this long after it was reached.
const COMMIT_WITHIN: Duration = Duration::from_millis(100);

/// How events go to one sink.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SinkOptions {
    /// Most events in one delivery. Default 256; with 1 a sink never sees a later event of a session before an
    /// earlier one that it failed.
    pub batch: usize,
    /// A delivery is full when its payloads have this many bytes. Default 1 MiB.
    pub batch_bytes: usize,
    /// Waits between tries. Default 100 ms, doubled up to 30 s.
    pub backoff: Backoff,
    /// Which events it gets. Default all.
    pub filter: Filter,
    /// Whether packets keep their metadata, and get `session_id` if they are in a session of their own. Without it
    /// they go bare, as sinks need that carry none. Default yes.
    pub metadata: bool,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            batch: 256,
            batch_bytes: 1 << 20,
            backoff: Backoff { base: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(30) },
            filter: Filter::default(),
            metadata: true,
        }
    }
}

impl SinkOptions {
    /// The options with this filter.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// The options with these waits between tries.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The options with at most so many events in one delivery; at least one.
    #[must_use]
    pub fn batch(mut self, events: usize) -> Self {
        self.batch = events.max(1);
        self
    }

    /// The options, packets going without metadata.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.metadata = false;
        self
    }
}

/// An event on its way.
struct Entry {
    seq: Seq,
    session: String,
    packet: Packet,
    record: Bytes,
}

pub(crate) struct Forwarder {
    pub(crate) name: String,
    pub(crate) sink: AnySink,
    pub(crate) options: SinkOptions,
    pub(crate) reader: Reader,
    pub(crate) cursor: Cursor,
    pub(crate) committed: Seq,
    pub(crate) counters: Arc<Counters>,
    pub(crate) dead: Arc<DeadLetters>,
    /// Where to end; the number that no event has until it is to end.
    pub(crate) until: watch::Receiver<Seq>,
}

impl Forwarder {
    /// Forwards until it is told to end and has come there. Errors: the journal's, when it is closed.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut commit_at = Instant::now() + COMMIT_WITHIN;
        loop {
            let done = self.done();
            if done > self.committed && (Instant::now() >= commit_at || done >= *self.until.borrow()) {
                self.committed = self.cursor.commit(done).await?;
                commit_at = Instant::now() + COMMIT_WITHIN;
            }
            if done >= *self.until.borrow() {
                return Ok(());
            }
            let pending = done > self.committed;
            let first = tokio::select! {
                first = self.reader.follow() => first,
                _ = self.until.changed() => continue,
                () = tokio::time::sleep_until(commit_at), if pending => continue,
            };
            if !pending {
                commit_at = Instant::now() + COMMIT_WITHIN;
            }
            let (records, trouble) = match first {
                Ok(first) => self.gather(first).await,
                Err(why) => (Vec::new(), Some(why)),
            };
            self.forward(records).await;
            if let Some(why) = trouble {
                self.unreadable(why).await?;
            }
        }
    }

    fn done(&self) -> Seq {
        Seq(self.counters.done.load(Relaxed))
    }

    fn advance(&self, to: Seq) {
        self.counters.done.store(to.0, Relaxed);
    }

    /// Takes what stands on disk behind `first`, as much as a delivery holds.
    async fn gather(&mut self, first: Record) -> (Vec<Record>, Option<Error>) {
        let mut bytes = first.payload.len();
        let mut records = vec![first];
        while records.len() < self.options.batch && bytes < self.options.batch_bytes {
            match self.reader.next().await {
                Ok(Some(record)) => {
                    bytes += record.payload.len();
                    records.push(record);
                }
                Ok(None) => break,
                Err(why) => return (records, Some(why)),
            }
        }
        (records, None)
    }

    /// What could not be read is counted and passed; a disk that fails is asked again.
    async fn unreadable(&mut self, why: Error) -> Result<()> {
        let why = why.while_doing(format!("forward to sink {}", self.name));
        match why.kind() {
            ErrorKind::Closed => return Err(why),
            ErrorKind::Gap => {
                let lost = self.reader.gap().map_or(0, |gap| gap.end() - gap.start() + 1);
                Counters::add(&self.counters.lost, lost as usize);
                tracing::error!(sink = self.name, lost, "events are lost to this sink: {why}");
                self.counters.failed(&why);
                self.counters.goes_on();
                self.advance(self.reader.position().max(self.done()));
            }
            ErrorKind::Codec => {
                tracing::error!(sink = self.name, "damaged events are passed over: {why}");
                self.counters.failed(&why);
                self.reader.skip();
            }
            _ => {
                self.counters.failed(&why);
                sleep(self.options.backoff.cap.min(Duration::from_secs(1))).await;
            }
        }
        Ok(())
    }

    async fn forward(&mut self, records: Vec<Record>) {
        let Some(last) = records.last().map(|record| record.seq) else {
            return;
        };
        let mut todo = Vec::with_capacity(records.len());
        for record in records {
            match record::decode(record.payload.clone()) {
                Ok(event) if !self.options.filter.passes(&event.packet) => {
                    Counters::add(&self.counters.filtered, 1);
                }
                Ok(event) => todo.push(Entry {
                    seq: record.seq,
                    packet: self.dress(event.packet, &event.session),
                    session: event.session,
                    record: record.payload,
                }),
                Err(why) => {
                    Counters::add(&self.counters.lost, 1);
                    tracing::error!(sink = self.name, seq = record.seq.0, "an event is lost: {why}");
                    self.counters.failed(&why);
                    self.counters.goes_on();
                }
            }
        }
        self.deliver(todo).await;
        self.advance(last.next());
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

    /// Delivers all of `todo`, however long that takes.
    async fn deliver(&self, mut todo: Vec<Entry>) {
        let mut attempt = 0;
        let mut one_by_one = false;
        while let Some(first) = todo.first() {
            self.advance(first.seq);
            let count = if one_by_one { 1 } else { todo.len() };
            let later = todo.split_off(count);
            let (mut rest, why) = self.try_once(todo, &mut one_by_one).await;
            let progress = rest.len() < count;
            rest.extend(later);
            todo = rest;
            let Some(why) = why else {
                self.counters.goes_on();
                continue;
            };
            attempt = if progress { 0 } else { attempt + 1 };
            self.counters.failed(&why);
            Counters::add(&self.counters.retries, 1);
            let wait = self.options.backoff.wait(attempt, Backoff::random());
            sleep(why.retry_after().map_or(wait, |asked| asked.max(wait))).await;
        }
    }

    /// Delivers `todo` once; answers what must be delivered again, and why if that needs a wait.
    async fn try_once(&self, todo: Vec<Entry>, one_by_one: &mut bool) -> (Vec<Entry>, Option<Error>) {
        let packets: Batch = todo.iter().map(|entry| entry.packet.clone()).collect();
        self.counters.delivering(true);
        let answer = call(&self.sink, packets).await;
        self.counters.delivering(false);
        let outcomes = match answer {
            Ok(outcomes) if outcomes.len() == todo.len() => outcomes,
            Ok(outcomes) => {
                let (given, answered) = (todo.len(), outcomes.len());
                let message = format!("sink {} answered {answered} outcomes for {given} packets", self.name);
                return (todo, Some(Error::new(ErrorKind::Internal, message)));
            }
            Err(why) if is_of_the_sink(&why) => return (todo, Some(why)),
            Err(why) if todo.len() == 1 => vec![Err(why)],
            Err(_) => {
                // Which packet it is about comes out one by one.
                *one_by_one = true;
                return (todo, None);
            }
        };
        self.settle(todo, outcomes).await
    }

    async fn settle(&self, todo: Vec<Entry>, outcomes: Vec<Result<Receipt>>) -> (Vec<Entry>, Option<Error>) {
        let mut again = Vec::new();
        let mut held: HashSet<String> = HashSet::new();
        let mut reason = None;
        for (entry, outcome) in todo.into_iter().zip(outcomes) {
            // Behind an event that is to come again, those of its session come again too, in order.
            if held.contains(&entry.session) {
                again.push(entry);
                continue;
            }
            let why = match outcome {
                Ok(_) => {
                    Counters::add(&self.counters.delivered, 1);
                    continue;
                }
                Err(why) => why,
            };
            let failed = match is_of_the_sink(&why) {
                true => Err(why),
                false => self.bury(&entry, why).await,
            };
            if let Err(why) = failed {
                held.insert(entry.session.clone());
                again.push(entry);
                reason = Some(why);
            }
        }
        (again, reason)
    }

    /// Makes a dead letter of what the sink refused for good. Errors: it could not be written.
    async fn bury(&self, entry: &Entry, why: Error) -> Result<()> {
        let letter = dead::encode(&self.name, entry.seq, &why, &entry.record);
        self.dead.write(letter).await.map_err(|error| {
            error.while_doing(format!("write the dead letter of event {} for sink {}", entry.seq, self.name))
        })?;
        tracing::warn!(sink = self.name, seq = entry.seq.0, "the sink refused an event for good: {why}");
        Counters::add(&self.counters.dead, 1);
        self.counters.failed(&why);
        Ok(())
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
