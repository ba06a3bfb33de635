use std::sync::{Mutex, MutexGuard, PoisonError};

use haul_core::Result;
use haul_journal::Journal;
use metrics::{Counter, Gauge, counter, gauge};

use crate::forward::Counts;

/// The handles of one outbox, asked of the recorder when it is opened.
pub(crate) struct Meters {
    stored: Counter,
    refused: Counter,
    pending: Gauge,
    bytes: Gauge,
    deliveries: Counter,
    delivered: Counter,
    retries: Counter,
    dead: Counter,
    lost: Counter,
    /// What was told last.
    told: Mutex<Counts>,
}

impl Meters {
    pub(crate) fn new(outbox: &str) -> Self {
        let counter = |name: &'static str| counter!(name, "outbox" => outbox.to_owned());
        let gauge = |name: &'static str| gauge!(name, "outbox" => outbox.to_owned());
        Self {
            stored: counter("haul_outbox_stored_total"),
            refused: counter("haul_outbox_refused_total"),
            pending: gauge("haul_outbox_pending"),
            bytes: gauge("haul_outbox_bytes"),
            deliveries: counter("haul_outbox_deliveries_total"),
            delivered: counter("haul_outbox_delivered_total"),
            retries: counter("haul_outbox_retries_total"),
            dead: counter("haul_outbox_dead_letters_total"),
            lost: counter("haul_outbox_lost_total"),
            told: Mutex::default(),
        }
    }

    /// What became of a call's packet.
    pub(crate) fn answered<T>(&self, outcome: &Result<T>, journal: &Journal) {
        match outcome {
            Ok(_) => self.stored.increment(1),
            Err(_) => self.refused.increment(1),
        }
        self.gauge(*self.told(), journal);
    }

    /// Where the forwarder is.
    pub(crate) fn note(&self, counts: Counts, journal: &Journal) {
        let told = std::mem::replace(&mut *self.told(), counts);
        self.deliveries.increment(counts.deliveries - told.deliveries);
        self.delivered.increment(counts.delivered - told.delivered);
        self.retries.increment(counts.retries - told.retries);
        self.dead.increment(counts.dead - told.dead);
        self.lost.increment(counts.lost - told.lost);
        self.gauge(counts, journal);
    }

    fn gauge(&self, counts: Counts, journal: &Journal) {
        self.pending.set((journal.next().0.saturating_sub(counts.read) + counts.held) as f64);
        self.bytes.set(journal.stats().bytes as f64);
    }

    fn told(&self) -> MutexGuard<'_, Counts> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
