//! The source: a consumer of a group, read by a task of its own, so that a `next` that is given up loses nothing.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use haul_core::{Backoff, BoxFuture, Delivery, Error, ErrorKind, Receipt, Result, Settle, Source, Status};
use redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};
use redis::{Cmd, FromRedisValue, RedisError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;

use crate::config::GroupConfig;
use crate::entry;
use crate::failure::failed;
use crate::server::Connector;

/// How long the server may hold a question for new entries.
const BLOCK: Duration = Duration::from_secs(1);

/// Entries asked for at once.
const COUNT: usize = 256;

/// Between tries while the server is away.
const AWAY: Backoff = Backoff { base: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(5) };

/// Reads a stream as a consumer of a group: at least once. An acknowledgement is `XACK`; what is refused or dropped is given
/// again at once, and what is neither, when the consumer comes back. While the server is away it is tried again for ever.
pub struct RedisSource {
    group: Arc<Group>,
    entries: mpsc::Receiver<Result<Entry>>,
    reading: Option<AbortHandle>,
    first: Option<mpsc::Sender<Result<Entry>>>,
}

/// The consumer, and what it asks the server.
struct Group {
    config: GroupConfig,
    /// The server holds a question on this one, and all behind it.
    reads: Connector,
    acks: Connector,
    /// Where what is to be given again goes.
    again: mpsc::WeakSender<Result<Entry>>,
    room: Arc<Semaphore>,
    /// The ids of entries that were read and not acknowledged.
    open: Mutex<HashSet<String>>,
}

/// An entry that is not acknowledged, and its place among those.
struct Entry {
    id: StreamId,
    _place: OwnedSemaphorePermit,
}

impl RedisSource {
    /// A source with this configuration; nothing is connected until the first `next`. Errors: `Config`.
    pub fn new(config: GroupConfig) -> Result<Self> {
        config.check()?;
        let (reads, acks) = (Connector::new(config.server.clone())?, Connector::new(config.server.clone())?);
        // Each has a place, so that what is given again always fits.
        let (first, entries) = mpsc::channel(config.max_unacked + 1);
        let room = Arc::new(Semaphore::new(config.max_unacked));
        let group =
            Arc::new(Group { reads, acks, again: first.downgrade(), room, open: Mutex::default(), config });
        Ok(Self { group, entries, reading: None, first: Some(first) })
    }
}

impl Source for RedisSource {
    async fn next(&mut self) -> Result<Option<Delivery>> {
        if let Some(queue) = self.first.take() {
            self.reading = Some(tokio::spawn(read(self.group.clone(), queue)).abort_handle());
        }
        loop {
            let Some(entry) = self.entries.recv().await else { return Ok(None) };
            let entry = entry?;
            let id = entry.id.id.clone();
            let settle = Answer { group: self.group.clone(), entry: Some(entry) };
            match settle.packet() {
                Some(Ok(packet)) => return Ok(Some(Delivery::new(packet, settle))),
                // It was deleted from the stream: there is nothing to give.
                None => settle.acknowledge().await?,
                Some(Err(why)) => return Err(settle.refuse_for_good(why.with("entry", id)).await),
            }
        }
    }
}

impl Drop for RedisSource {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}

/// Reads what was given to the consumer and not acknowledged, then what is new, as places are free.
async fn read(group: Arc<Group>, queue: mpsc::Sender<Result<Entry>>) {
    // Entries of ours behind this one that were given before; then new ones.
    let mut history = Some("0".to_owned());
    let (mut claimed, mut tries) = (Instant::now(), 0);
    loop {
        let Ok(place) = group.room.clone().acquire_owned().await else { return };
        let due = group.config.claim.filter(|after| claimed.elapsed() > *after / 2);
        let free = group.room.available_permits().min(COUNT - 1);
        let read = match due {
            Some(idle) if history.is_none() => {
                claimed = Instant::now();
                group.claim(idle, 1 + free).await
            }
            _ => group.entries(history.as_deref(), 1 + free).await,
        };
        let entries = match read {
            Ok(entries) => entries,
            Err(why) if why.status() == Status::Permanent => {
                // Whoever drops the source has no use for it.
                let _ = queue.send(Err(why)).await;
                return;
            }
            Err(why) => {
                tracing::warn!(stream = group.config.stream, "{why}; trying again");
                // What an answer that was lost gave us is ours, and is asked for again.
                history.get_or_insert_with(|| "0".to_owned());
                tokio::time::sleep(AWAY.wait(tries, Backoff::random())).await;
                tries += 1;
                continue;
            }
        };
        tries = 0;
        if let Some(behind) = &mut history {
            match entries.last() {
                Some(last) => behind.clone_from(&last.id),
                None => history = None,
            }
        }
        let mut place = Some(place);
        for id in entries {
            // Asked for again after a failure, though it had come.
            if !group.open().insert(id.id.clone()) {
                continue;
            }
            let place = match place.take() {
                Some(place) => place,
                None => match group.room.clone().acquire_owned().await {
                    Ok(place) => place,
                    Err(_) => return,
                },
            };
            if queue.send(Ok(Entry { id, _place: place })).await.is_err() {
                return;
            }
        }
    }
}

impl Group {
    fn open(&self) -> MutexGuard<'_, HashSet<String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doing(&self, why: Error) -> Error {
        why.while_doing(format!(
            "read redis {} as {} of {}",
            self.config.stream, self.config.consumer, self.config.group
        ))
    }

    async fn ask<T: FromRedisValue>(&self, connector: &Connector, command: &Cmd) -> Result<T> {
        let mut connection = connector.connection().await.map_err(|why| self.doing(why))?;
        let answered = command.query_async::<T>(&mut connection).await;
        if let Err(why) = &answered {
            connector.judge(why).await;
        }
        answered.map_err(|why: RedisError| self.doing(failed(&why)))
    }

    /// Entries of ours behind `history`, or new ones.
    async fn entries(&self, history: Option<&str>, most: usize) -> Result<Vec<StreamId>> {
        let GroupConfig { stream, group, consumer, .. } = &self.config;
        let mut command = Cmd::new();
        command.arg("XREADGROUP").arg("GROUP").arg(group).arg(consumer).arg("COUNT").arg(most);
        if history.is_none() {
            command.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        }
        command.arg("STREAMS").arg(stream).arg(history.unwrap_or(">"));
        let read = self.ask::<Option<StreamReadReply>>(&self.reads, &command).await;
        match read {
            Err(why) if why.kind() == ErrorKind::NotFound => self.make().await.map(|()| Vec::new()),
            read => Ok(read?.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids).collect()),
        }
    }

    /// Makes the group, and the stream with it. One that another made meanwhile serves as well.
    async fn make(&self) -> Result<()> {
        let GroupConfig { stream, group, start, .. } = &self.config;
        let mut command = Cmd::new();
        command.arg("XGROUP").arg("CREATE").arg(stream).arg(group).arg(start).arg("MKSTREAM");
        match self.ask::<()>(&self.reads, &command).await {
            Err(why) if why.to_string().contains("BUSYGROUP") => Ok(()),
            made => made,
        }
    }

    /// Takes over what other consumers were given and did not acknowledge for `idle`.
    async fn claim(&self, idle: Duration, most: usize) -> Result<Vec<StreamId>> {
        let GroupConfig { stream, group, consumer, .. } = &self.config;
        let mut command = Cmd::new();
        command.arg("XAUTOCLAIM").arg(stream).arg(group).arg(consumer);
        command.arg(idle.as_millis() as u64).arg("0-0").arg("COUNT").arg(most);
        Ok(self.ask::<StreamAutoClaimReply>(&self.reads, &command).await?.claimed)
    }
}

/// The answer to an entry.
struct Answer {
    group: Arc<Group>,
    entry: Option<Entry>,
}

impl Answer {
    /// `None` if the entry is no more.
    fn packet(&self) -> Option<Result<haul_core::Packet>> {
        let fields = &self.entry.as_ref()?.id.map;
        (!fields.is_empty()).then(|| entry::packet(fields.clone()))
    }

    async fn acknowledge(mut self) -> Result<()> {
        let Some(entry) = self.entry.take() else { return Ok(()) };
        let GroupConfig { stream, group, .. } = &self.group.config;
        let mut command = Cmd::new();
        command.arg("XACK").arg(stream).arg(group).arg(&entry.id.id);
        let acknowledged = self.group.ask::<u64>(&self.group.acks, &command).await;
        if let Err(why) = acknowledged {
            self.entry = Some(entry);
            self.give_again();
            return Err(Error::new(ErrorKind::Closed, "not acknowledged, and given again").with_source(why));
        }
        self.group.open().remove(&entry.id.id);
        Ok(())
    }

    /// What cannot be read is acknowledged, so that it does not come for ever; its error says which entry it is.
    async fn refuse_for_good(self, why: Error) -> Error {
        let group = self.group.clone();
        match self.acknowledge().await {
            Ok(()) => group.doing(why),
            Err(other) => other,
        }
    }

    fn give_again(&mut self) {
        if let (Some(entry), Some(again)) = (self.entry.take(), self.group.again.upgrade()) {
            // There is room for all that have places; where the source is gone, the server gives it again.
            let _ = again.try_send(Ok(entry));
        }
    }
}

impl Settle for Answer {
    fn settle(mut self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            match outcome {
                Ok(_) => self.acknowledge().await,
                Err(_) => {
                    self.give_again();
                    Ok(())
                }
            }
        })
    }

    fn dropped(mut self: Box<Self>) {
        self.give_again();
    }
}

impl fmt::Debug for RedisSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSource").field("stream", &self.group.config.stream).finish_non_exhaustive()
    }
}
