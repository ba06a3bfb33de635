use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use haul_core::{AnySink, Result};
use haul_journal::{Disk, Journal};
use serde::Serialize;

use crate::forward::{DeadLetters, Forwarding, OpenJournal, Route, SinkStatus, open_journal};
use crate::metrics::Meters;
use crate::options::OutboxOptions;
use crate::packets::Packets;
use crate::place::{self, DEAD, PACKETS};
use crate::record::Codec;
use crate::room::Room;
use crate::seal::Seal;

/// A sink that has packets on disk before it answers `Stored`, and delivers them to the sink behind it until that has
/// accepted them, over restarts too. Clones are the same outbox.
///
/// The reference of a receipt is the packet's number. A packet without an id is given one, by which receivers know what
/// they get twice. Dropping the last clone stops delivering; [`close`](Self::close) drains first.
#[derive(Clone)]
pub struct Outbox(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) options: OutboxOptions,
    pub(crate) name: String,
    pub(crate) journal: Journal,
    pub(crate) codec: Arc<Codec>,
    pub(crate) room: Room,
    dead: Arc<DeadLetters>,
    pub(crate) meters: Arc<Meters>,
    state: Mutex<State>,
}

enum State {
    Open(Forwarding),
    Closed(SinkStatus),
}

/// An outbox at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct OutboxStatus {
    /// Packets that are not delivered; it is also the lag of [`sink`](Self::sink).
    pub pending: u64,
    /// Packets stored since it was opened.
    pub stored: u64,
    /// Size in bytes on disk of what waits, in whole files.
    pub bytes: u64,
    /// Packets removed to make room, since it was opened; those are among them that were being delivered already.
    pub dropped: u64,
    /// Why it takes no more, if its disk failed: then it has to be opened again.
    pub failure: Option<String>,
    /// The sink behind it.
    pub sink: SinkStatus,
}

impl Outbox {
    /// Opens the outbox in [`dir`](OutboxOptions::dir) and goes on delivering to `sink` what is there. Of a large
    /// backlog it reads the newest file, and then what is delivered next.
    ///
    /// Errors: `Overloaded` with the process id of who has it open; `Config` for an option out of its range and for a
    /// wrong key; `Io`; `Codec` for a damaged journal.
    pub async fn open(sink: AnySink, options: OutboxOptions) -> Result<Self> {
        options.check()?;
        let at = |folder: &str, of: haul_journal::Options| -> OpenJournal {
            let dir = options.dir.join(folder);
            Arc::new(move || Journal::open(&dir, of.clone()))
        };
        let (packets, dead) = (at(PACKETS, options.journal()), at(DEAD, options.dead_journal()));
        Self::open_with(sink, packets, dead, options).await
    }

    /// As [`open`](Self::open), on disks of any kind: one for the packets, one for the dead letters.
    pub async fn open_on(
        sink: AnySink,
        packets: Arc<dyn Disk>,
        dead: Arc<dyn Disk>,
        options: OutboxOptions,
    ) -> Result<Self> {
        options.check()?;
        let on = |disk: Arc<dyn Disk>, of: haul_journal::Options| -> OpenJournal {
            Arc::new(move || Journal::open_on(disk.clone(), of.clone()))
        };
        let (packets, dead) = (on(packets, options.journal()), on(dead, options.dead_journal()));
        Self::open_with(sink, packets, dead, options).await
    }

    async fn open_with(
        sink: AnySink,
        packets: OpenJournal,
        dead: OpenJournal,
        options: OutboxOptions,
    ) -> Result<Self> {
        let name = options.name();
        let journal = open_journal(packets).await?;
        let seal = options.encryption.as_ref().map(Seal::new).transpose()?;
        let cursor = place::cursor(&journal, &options.dir, seal.as_ref().map(Seal::id)).await?;
        let codec = Arc::new(Codec { seal });
        let dead = DeadLetters::open(dead).await?.max_bytes(options.max_dead_bytes as u64);
        let (dead, meters) = (Arc::new(dead), Arc::new(Meters::new(&name)));
        let records = Packets {
            codec: codec.clone(),
            max_age: options.max_age,
            meters: meters.clone(),
            journal: journal.clone(),
        };
        let route = Route {
            name: name.clone(),
            sink,
            records: Arc::new(records),
            dead: dead.clone(),
            options: options.delivery,
        };
        let forwarding = Forwarding::start(&journal, cursor, route)?;
        let (most, when_full) = (options.max_bytes as u64, options.when_full);
        let room = Room::new(name.clone(), journal.clone(), most, when_full, forwarding.progress());
        let state = Mutex::new(State::Open(forwarding));
        Ok(Self(Arc::new(Inner { options, name, journal, codec, room, dead, meters, state })))
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.0.options.dir
    }

    /// What it is doing.
    pub fn status(&self) -> OutboxStatus {
        let sink = match &*self.state() {
            State::Open(forwarding) => forwarding.status(),
            State::Closed(status) => status.clone(),
        };
        let stats = self.0.journal.stats();
        OutboxStatus {
            pending: sink.lag,
            stored: stats.records,
            bytes: stats.bytes,
            dropped: self.0.room.dropped(),
            failure: self.0.journal.failure().map(|why| why.to_string()),
            sink,
        }
    }

    /// Lets the sink take what is there, until it has all, or can only wait for what it failed, or `deadline` is over;
    /// closes it, and takes no more packets. The answer says what is left: nothing of it is lost, it goes on when the
    /// outbox is opened again.
    ///
    /// Errors: `Io` if the disk failed, now or before; the sink's when it was closed. Cancelled, delivering has ended.
    pub async fn close(&self, deadline: Duration) -> Result<OutboxStatus> {
        let before = {
            let mut state = self.state();
            let status = match &*state {
                State::Open(forwarding) => forwarding.status(),
                State::Closed(status) => status.clone(),
            };
            std::mem::replace(&mut *state, State::Closed(status))
        };
        let State::Open(forwarding) = before else {
            return Ok(self.status());
        };
        let (status, closed) = forwarding.end(deadline).await;
        *self.state() = State::Closed(status);
        let dead = self.0.dead.close().await;
        self.0.journal.close().await.and(dead).and(closed)?;
        Ok(self.status())
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(&*self.state(), State::Open(_))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("name", &self.0.name).field("status", &self.status()).finish()
    }
}
