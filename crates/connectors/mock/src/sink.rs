//! The sink that records.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haul_core::{Batch, Error, ErrorKind, Level, Packet, Receipt, Result, Sent, Service, Sink};
use tokio::sync::watch;

use crate::gate::Gate;
use crate::script::Script;

/// Packets that are kept unless [`Mock::with_capacity`] says otherwise.
const CAPACITY: usize = 65_536;

/// A sink for tests: records packets, fails on demand, waits on demand. Clones share everything.
#[derive(Clone)]
pub struct Mock(Arc<Shared>);

struct Shared {
    inside: Mutex<Inside>,
    gate: Gate,
    count: watch::Sender<u64>,
}

struct Inside {
    packets: VecDeque<Packet>,
    capacity: usize,
    dropped: u64,
    attempts: u64,
    script: Script,
    level: Level,
    closed: bool,
}

impl Inside {
    fn take(&mut self, packet: Packet) -> Result<Receipt> {
        self.attempts += 1;
        if let Some(error) = self.script.verdict(&packet) {
            return Err(error);
        }
        let receipt = Receipt::new(self.level, packet.id());
        self.packets.push_back(packet);
        self.trim();
        Ok(receipt)
    }

    fn trim(&mut self) {
        while self.packets.len() > self.capacity {
            self.packets.pop_front();
            self.dropped += 1;
        }
    }
}

impl Default for Mock {
    fn default() -> Self {
        Self::new()
    }
}

impl Mock {
    /// A mock that takes everything.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            inside: Mutex::new(Inside {
                packets: VecDeque::new(),
                capacity: CAPACITY,
                dropped: 0,
                attempts: 0,
                script: Script::default(),
                level: Level::Acknowledged,
                closed: false,
            }),
            gate: Gate::open(),
            count: watch::Sender::new(0),
        }))
    }

    /// The mock, keeping at most `packets` packets; [`dropped`](Self::dropped) counts those it let go.
    #[must_use]
    pub fn with_capacity(self, packets: usize) -> Self {
        let mut inside = self.lock();
        inside.capacity = packets;
        inside.trim();
        drop(inside);
        self
    }

    /// The mock, answering receipts of this level.
    #[must_use]
    pub fn with_level(self, level: Level) -> Self {
        self.lock().level = level;
        self
    }

    /// The next `packets` packets fail with `error`; replaces what an earlier call left over.
    pub fn fail_next(&self, packets: usize, error: Error) {
        self.lock().script.fail_next(packets, error);
    }

    /// Every packet fails with `error` until [`recover`](Self::recover).
    pub fn fail_always(&self, error: Error) {
        self.lock().script.fail_always(error);
    }

    /// Packets fail with what `verdict` answers for them: the partial failure of a batch, say. The closure must not
    /// call the mock.
    pub fn fail_when(&self, verdict: impl FnMut(&Packet) -> Option<Error> + Send + 'static) {
        self.lock().script.fail_when(Box::new(verdict));
    }

    /// Nothing fails any more.
    pub fn recover(&self) {
        self.lock().script = Script::default();
    }

    /// Calls wait from now on, before anything of them is recorded.
    pub fn hold(&self) {
        self.0.gate.hold(true);
    }

    /// Lets those go that wait, and no later call waits.
    pub fn release(&self) {
        self.0.gate.hold(false);
    }

    /// Waits until `calls` calls wait. Cancel-safe.
    pub async fn wait_until_held(&self, calls: usize) {
        self.0.gate.wait_until_waiting(calls).await;
    }

    /// How many packets were delivered since the last [`reset`](Self::reset), also those no longer kept.
    pub fn count(&self) -> u64 {
        *self.0.count.borrow()
    }

    /// Waits until at least `packets` packets were delivered. Cancel-safe.
    pub async fn wait_for_count(&self, packets: u64) {
        let mut count = self.0.count.subscribe();
        // The sender lives as long as `self`.
        let _ = count.wait_for(|count| *count >= packets).await;
    }

    /// How many packets came, failed ones included.
    pub fn attempts(&self) -> u64 {
        self.lock().attempts
    }

    /// The packets that were delivered and are kept, oldest first.
    pub fn packets(&self) -> Vec<Packet> {
        self.lock().packets.iter().cloned().collect()
    }

    /// How many delivered packets were let go because the record was full.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// As new: no record, no failures, open, nobody held. Capacity and level stay.
    pub fn reset(&self) {
        let mut inside = self.lock();
        inside.packets.clear();
        (inside.dropped, inside.attempts, inside.closed) = (0, 0, false);
        inside.script = Script::default();
        self.0.count.send_replace(0);
        drop(inside);
        self.release();
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // A verdict that panicked left nothing half done.
        self.0.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_all(&self, packets: Vec<Packet>) -> Result<Vec<Result<Receipt>>> {
        let mut inside = self.lock();
        if inside.closed {
            return Err(closed());
        }
        let outcomes: Vec<_> = packets.into_iter().map(|packet| inside.take(packet)).collect();
        let delivered = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        // Under the lock, so that record and count agree for whoever waits for the count.
        self.0.count.send_modify(|count| *count += delivered as u64);
        Ok(outcomes)
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "deliver to the mock: the sink is closed").with_sent(Sent::No)
}

impl Service<Batch> for Mock {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.0.gate.pass().await;
        self.take_all(batch.into_packets())
    }
}

impl Service<Packet> for Mock {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        self.0.gate.pass().await;
        let mut outcomes = self.take_all(vec![packet])?;
        outcomes.pop().expect("one outcome per packet")
    }
}

impl Sink for Mock {
    /// Fails with the error of [`fail_always`](Mock::fail_always), as the health check of a broken server would.
    async fn ready(&self) -> Result<()> {
        let inside = self.lock();
        match inside.script.broken() {
            _ if inside.closed => Err(closed()),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    async fn close(&self) -> Result<()> {
        self.lock().closed = true;
        Ok(())
    }
}

impl fmt::Debug for Mock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = self.lock();
        f.debug_struct("Mock")
            .field("count", &self.count())
            .field("attempts", &inside.attempts)
            .field("kept", &inside.packets.len())
            .field("dropped", &inside.dropped)
            .field("closed", &inside.closed)
            .finish_non_exhaustive()
    }
}
