//! The log that is written.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use haul_core::{AnySink, Error, ErrorKind, Level, Packet, PacketId, Receipt, Result};
use haul_journal::{Disk, Journal};
use haul_outbox::forward::{DeadLetters, Forwarding, OpenJournal, Route, SinkStatus, open_journal};
use tokio::time::Instant;

use crate::event::Event;
use crate::options::Options;
use crate::record;
use crate::sink::SinkOptions;
use crate::status::{Absent, Status};
use crate::view::{DEAD, EVENTS};

/// What cursors of sinks begin with.
pub(crate) const CURSOR: &str = "sink:";

/// The event logger: an event is on disk before it is answered, and goes to every sink from there.
///
/// Dropping it stops forwarding and closes the log; what the sinks have not got they get when it is opened again. The
/// folder is free once the forwarding tasks have ended, which [`close`](Self::close) waits for and a drop does not.
pub struct EventLog {
    journal: Journal,
    dead: Arc<DeadLetters>,
    sinks: Mutex<BTreeMap<String, Forwarding>>,
    max_packet: u64,
}

impl EventLog {
    /// Opens the log in the directory `dir`, which is made if it is not there. One process at a time can.
    ///
    /// Errors: `Overloaded` with the process id of who has it open; `Config`; `Io`; `Codec` for a damaged log. Sinks
    /// are attached with [`attach`](Self::attach).
    pub async fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        let (events, dead) = (dir.as_ref().join(EVENTS), dir.as_ref().join(DEAD));
        let (journal, letters) = (options.journal()?, options.dead_journal()?);
        let open: OpenJournal = Arc::new(move || Journal::open(&events, journal.clone()));
        let open_dead: OpenJournal = Arc::new(move || Journal::open(&dead, letters.clone()));
        Self::open_with(&options, open, open_dead).await
    }

    /// As [`open`](Self::open), on disks of any kind: one for the events, one for the dead letters.
    pub async fn open_on(events: Arc<dyn Disk>, dead: Arc<dyn Disk>, options: Options) -> Result<Self> {
        let (journal, letters) = (options.journal()?, options.dead_journal()?);
        let open: OpenJournal = Arc::new(move || Journal::open_on(events.clone(), journal.clone()));
        let open_dead: OpenJournal = Arc::new(move || Journal::open_on(dead.clone(), letters.clone()));
        Self::open_with(&options, open, open_dead).await
    }

    async fn open_with(options: &Options, open: OpenJournal, open_dead: OpenJournal) -> Result<Self> {
        let journal = open_journal(open).await?;
        Ok(Self {
            journal,
            dead: Arc::new(DeadLetters::open(open_dead).await?),
            sinks: Mutex::default(),
            max_packet: options.max_packet,
        })
    }

    /// Appends a packet to a session (an empty one is the default session) and answers when it is on disk: `Stored`,
    /// the reference being its number. No sink is waited for.
    ///
    /// A packet without an id is given one, by which receivers can tell what they are given twice.
    ///
    /// Errors: as [`submit`](Self::submit) and [`Appending`]. Cancelled, it may be appended all the same.
    pub async fn append(&self, session: impl Into<String>, packet: Packet) -> Result<Receipt> {
        let event = Event::new(packet).in_session(session);
        Ok(self.submit(event).await?.await?.receipt())
    }

    /// Queues an event and answers a future for when it is on disk; events are written in the order in which they
    /// were queued. Waits while the queue is full.
    ///
    /// Errors: `TooLarge` for payload, metadata or session id; `Io` or `Closed` when the log takes no more.
    /// Cancelled, nothing was queued.
    pub async fn submit(&self, mut event: Event) -> Result<Appending> {
        if event.packet.len() as u64 > self.max_packet {
            let message = format!(
                "append a packet of {} bytes to the event log: max_packet is {}",
                event.packet.len(),
                self.max_packet
            );
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        event.packet = event.packet.identified();
        let id = event.packet.id();
        let record = record::encode(event).map_err(|why| why.while_doing("append to the event log"))?;
        let pending = self.journal.submit(record).await?;
        Ok(Appending { pending, id })
    }

    /// Forwards to `sink` under `name`, from where a sink of that name had come, or from the oldest event on.
    ///
    /// Delivery is at least once and in order per session, as [`Forwarding`] says.
    ///
    /// Errors: `Config` if one of that name is attached, for a bad name, or for options without sense; `Io` or `Closed` from the log.
    pub async fn attach(&self, name: &str, sink: AnySink, options: SinkOptions) -> Result<()> {
        let taken =
            || Error::new(ErrorKind::Config, format!("sink {name}: there is one of that name already"));
        if name.is_empty() {
            return Err(Error::new(ErrorKind::Config, "a sink needs a name"));
        }
        options.delivery.check().map_err(|why| why.while_doing(format!("attach sink {name}")))?;
        if self.lock().contains_key(name) {
            return Err(taken());
        }
        let cursor = self.journal.cursor(format!("{CURSOR}{name}")).await?;
        let route = Route {
            name: name.to_owned(),
            sink,
            options: options.delivery,
            records: Arc::new(options),
            dead: self.dead.clone(),
        };
        let mut sinks = self.lock();
        if sinks.contains_key(name) {
            return Err(taken());
        }
        sinks.insert(name.to_owned(), Forwarding::start(&self.journal, cursor, route)?);
        Ok(())
    }

    /// Ends forwarding to the sink `name` and closes it, when it has all there is now, or can only wait for what it
    /// failed, or at the deadline, and answers where it stands. Its position is kept: one attached under that name goes on from there.
    ///
    /// Errors: `NotFound`; the sink's own when it was closed. Cancelled, forwarding has ended.
    pub async fn detach(&self, name: &str, deadline: Duration) -> Result<SinkStatus> {
        let missing = || Error::new(ErrorKind::NotFound, format!("no sink {name} is attached"));
        let attached = self.lock().remove(name).ok_or_else(missing)?;
        let (status, closed) = attached.end(deadline).await;
        closed.map(|()| status)
    }

    /// Forgets the position of a sink that is not attached, which then holds no events any more. Errors: `Config` if
    /// it is attached; `NotFound`; `Io` or `Closed`.
    pub async fn forget(&self, name: &str) -> Result<()> {
        if self.lock().contains_key(name) {
            return Err(Error::new(ErrorKind::Config, format!("sink {name} is attached: detach it first")));
        }
        let cursor = format!("{CURSOR}{name}");
        if !self.journal.cursors().iter().any(|(known, _)| *known == cursor) {
            return Err(Error::new(ErrorKind::NotFound, format!("no sink {name} is known")));
        }
        self.journal.cursor(cursor).await?.remove().await
    }

    /// Ends forwarding when every sink has all there is or can only wait for what it failed, or at the deadline, closes
    /// the sinks and then the log. The answer says for each sink where it stands and how closing it went: what it has not got it gets next time.
    ///
    /// Errors: `Io` if the log's disk failed, now or before.
    pub async fn close(&self, deadline: Duration) -> Result<Vec<(SinkStatus, Result<()>)>> {
        let deadline = Instant::now() + deadline;
        let sinks = std::mem::take(&mut *self.lock());
        sinks.values().for_each(Forwarding::finish);
        let mut ends = Vec::new();
        for attached in sinks.into_values() {
            ends.push(attached.end(deadline.saturating_duration_since(Instant::now())).await);
        }
        let dead = self.dead.close().await;
        self.journal.close().await.and(dead).map(|()| ends)
    }

    /// What the log and its sinks are doing.
    pub fn status(&self) -> Status {
        let stats = self.journal.stats();
        let next = self.journal.next().0;
        let sinks = self.lock();
        let absent = self.journal.cursors().into_iter().filter_map(|(cursor, position)| {
            let name = cursor.strip_prefix(CURSOR)?;
            let events = next.saturating_sub(position.0);
            let absent = Absent { name: name.to_owned(), position: position.0, events };
            (!sinks.contains_key(name)).then_some(absent)
        });
        Status {
            first: self.journal.first().0,
            next,
            appended: stats.records,
            syncs: stats.syncs,
            bytes: stats.bytes,
            queued_bytes: stats.queued_bytes,
            failure: self.failure().map(|why| why.to_string()),
            absent: absent.collect(),
            sinks: sinks.values().map(Forwarding::status).collect(),
        }
    }

    /// The failure that closed the log, if one did: it takes nothing more until it is opened again.
    pub fn failure(&self) -> Option<Error> {
        self.journal.failure()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Forwarding>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLog").field("status", &self.status()).finish()
    }
}

/// An event that is queued: resolves when it is on disk, or with why it may not be.
///
/// Dropping it changes nothing: the event is written all the same. Errors: `Io` when a write or sync failed, which
/// closes the log.
#[must_use = "the event is not on disk before it resolves"]
#[derive(Debug)]
pub struct Appending {
    pending: haul_journal::Pending,
    id: Option<PacketId>,
}

impl Future for Appending {
    type Output = Result<Stored>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let range = ready!(Pin::new(&mut self.pending).poll(context))?;
        Poll::Ready(Ok(Stored { seq: range.start.0, id: self.id, at: SystemTime::now() }))
    }
}

/// An event that is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Its number in the log.
    pub seq: u64,
    /// The packet's id.
    pub id: Option<PacketId>,
    /// When that became known.
    pub at: SystemTime,
}

impl Stored {
    /// The same as a receipt, its number as the reference.
    pub fn receipt(&self) -> Receipt {
        let mut receipt = Receipt::new(Level::Stored, self.id).with_reference(self.seq.to_string());
        receipt.at = self.at;
        receipt
    }
}
