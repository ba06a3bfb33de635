//! The source: the rows of a table in order, read by a task of its own, so that a `next` that is given up loses nothing.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use haul_core::{
    Backoff, BoxFuture, Delivery, Error, ErrorKind, Packet, Receipt, Result, Settle, Source, Status,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio_postgres::Row;

use crate::config::QueueConfig;
use crate::failure::failed;
use crate::row;
use crate::server::{Connector, Setup};
use crate::table::Table;

/// Rows that are asked for, or deleted, at once.
const COUNT: usize = 256;

/// Between tries while the server is away, or another source reads the table.
const AWAY: Backoff = Backoff { base: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(5) };

/// The number of the one statement that each connection is for.
const ONLY: usize = 0;

/// Reads a table as a queue, in the order of `seq`: at least once. An acknowledgement deletes the row; what is refused or
/// dropped is given again at once, and what is neither, by the next source. While the server is away it is tried again for
/// ever.
///
/// One source reads a table at a time, by an advisory lock of its connection; others wait until it is gone.
pub struct PostgresSource {
    queue: Arc<Queue>,
    entries: mpsc::Receiver<Result<Entry>>,
    acks: mpsc::Sender<Acked>,
    first: Option<First>,
    reading: Option<AbortHandle>,
}

/// What the tasks of a source begin with.
struct First {
    reads: Connector,
    entries: mpsc::Sender<Result<Entry>>,
    deletes: Connector,
    acks: mpsc::Receiver<Acked>,
}

/// What a source shares with its tasks and its deliveries.
struct Queue {
    config: QueueConfig,
    room: Arc<Semaphore>,
    /// The numbers of rows that were read and are not deleted.
    open: Mutex<HashSet<i64>>,
    /// Where what is to be given again goes.
    again: mpsc::WeakSender<Result<Entry>>,
}

/// A row that is not acknowledged, and its place among those.
struct Entry {
    seq: i64,
    packet: Packet,
    _place: OwnedSemaphorePermit,
}

/// A row to be deleted, and who waits for that.
type Acked = (i64, oneshot::Sender<Result<()>>);

impl PostgresSource {
    /// A source with this configuration; nothing is connected until the first `next`. Errors: `Config`.
    pub fn new(config: QueueConfig) -> Result<Self> {
        config.check()?;
        let table = Table::parse(&config.table)?;
        let create = config.create.then_some(config.payload);
        let connector = |statement, alone| {
            let setup = Setup { table: table.clone(), create, statements: vec![statement], alone };
            Connector::new(&config.server, setup)
        };
        let (reads, deletes) = (connector(table.read(), true)?, connector(table.delete(), false)?);
        // Each has a place, so that what is given again always fits.
        let (first, entries) = mpsc::channel(config.max_unacked + 1);
        let (acks, acked) = mpsc::channel(COUNT);
        let room = Arc::new(Semaphore::new(config.max_unacked));
        let queue = Queue { room, open: Mutex::default(), again: first.downgrade(), config };
        let first = Some(First { reads, entries: first, deletes, acks: acked });
        Ok(Self { queue: Arc::new(queue), entries, acks, first, reading: None })
    }
}

impl Source for PostgresSource {
    async fn next(&mut self) -> Result<Option<Delivery>> {
        if let Some(First { reads, entries, deletes, acks }) = self.first.take() {
            tokio::spawn(delete(deletes, acks));
            self.reading = Some(tokio::spawn(read(self.queue.clone(), reads, entries)).abort_handle());
        }
        let Some(entry) = self.entries.recv().await else { return Ok(None) };
        let entry = entry?;
        let packet = entry.packet.clone();
        let answer = Answer { queue: self.queue.clone(), acks: self.acks.clone(), entry: Some(entry) };
        Ok(Some(Delivery::new(packet, answer)))
    }
}

impl Drop for PostgresSource {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}

/// Reads rows as places are free.
async fn read(queue: Arc<Queue>, reads: Connector, entries: mpsc::Sender<Result<Entry>>) {
    let mut tries = 0;
    loop {
        let Ok(place) = queue.room.clone().acquire_owned().await else { return };
        let free = queue.room.available_permits().min(COUNT - 1);
        let rows = match queue.rows(&reads, 1 + free).await {
            Ok(rows) => rows,
            Err(why) if why.status() == Status::Permanent => {
                // Whoever drops the source has no use for it.
                let _ = entries.send(Err(why)).await;
                return;
            }
            Err(why) => {
                tracing::warn!(table = queue.config.table, "{why}; trying again");
                tokio::time::sleep(AWAY.wait(tries, Backoff::random())).await;
                tries += 1;
                continue;
            }
        };
        tries = 0;
        if rows.is_empty() {
            tokio::time::sleep(queue.config.poll).await;
        }
        let mut place = Some(place);
        for row in rows {
            let place = match place.take() {
                Some(place) => place,
                None => match queue.room.clone().acquire_owned().await {
                    Ok(place) => place,
                    Err(_) => return,
                },
            };
            if entries.send(queue.entry(&row, place)).await.is_err() {
                return;
            }
        }
    }
}

/// Deletes what was acknowledged, as much as there is at once.
async fn delete(deletes: Connector, mut acks: mpsc::Receiver<Acked>) {
    let mut some = Vec::new();
    while acks.recv_many(&mut some, COUNT).await > 0 {
        let numbers: Vec<i64> = some.iter().map(|(seq, _)| *seq).collect();
        let deleted = deletes.ask(ONLY, &[&numbers]).await.map(drop);
        for (_, answered) in some.drain(..) {
            // Who gave the answer up is not told.
            let _ = answered.send(deleted.clone());
        }
    }
}

impl Queue {
    fn open(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doing(&self, why: Error) -> Error {
        why.while_doing(format!("read postgres {}", self.config.table))
    }

    /// The next rows: those that are there and not open. A row that is deleted was open before this began, or is not seen.
    async fn rows(&self, reads: &Connector, most: usize) -> Result<Vec<Row>> {
        let open: Vec<i64> = self.open().iter().copied().collect();
        reads.ask(ONLY, &[&open, &(most as i64)]).await.map_err(|why| self.doing(why))
    }

    /// What a row has. One that cannot be read stays where it is, and keeps its place: its error says which it is.
    fn entry(&self, row: &Row, place: OwnedSemaphorePermit) -> Result<Entry> {
        let seq = row.try_get("seq").map_err(|why| self.doing(failed(&why)))?;
        self.open().insert(seq);
        match row::packet(row) {
            Ok(packet) => Ok(Entry { seq, packet, _place: place }),
            Err(why) => {
                place.forget();
                Err(self.doing(why.with("seq", seq)))
            }
        }
    }
}

/// The answer to a row. What it does not acknowledge is given again.
struct Answer {
    queue: Arc<Queue>,
    acks: mpsc::Sender<Acked>,
    entry: Option<Entry>,
}

impl Answer {
    async fn acknowledge(mut self) -> Result<()> {
        let Some(Entry { seq, .. }) = self.entry else { return Ok(()) };
        let (answered, answer) = oneshot::channel();
        let gone = || Error::new(ErrorKind::Closed, "the runtime is shutting down");
        let deleted = match self.acks.send((seq, answered)).await {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(gone()),
        };
        match deleted {
            Ok(()) => {
                self.queue.open().remove(&seq);
                self.entry = None;
                Ok(())
            }
            Err(why) => Err(Error::new(ErrorKind::Closed, "not acknowledged, given again").with_source(why)),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let (Some(entry), Some(again)) = (self.entry.take(), self.queue.again.upgrade()) {
            // There is room for all that have places; where the source is gone, another gives it.
            let _ = again.try_send(Ok(entry));
        }
    }
}

impl Settle for Answer {
    fn settle(self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            match outcome {
                Ok(_) => self.acknowledge().await,
                Err(_) => Ok(()),
            }
        })
    }

    fn dropped(self: Box<Self>) {}
}

impl fmt::Debug for PostgresSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSource").field("table", &self.queue.config.table).finish_non_exhaustive()
    }
}
