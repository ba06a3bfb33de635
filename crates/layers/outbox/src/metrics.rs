use haul_core::Result;
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
        }
    }

    /// What became of a call's packet.
    pub(crate) fn answered<T>(&self, outcome: &Result<T>) {
        match outcome {
            Ok(_) => self.stored.increment(1),
            Err(_) => self.refused.increment(1),
        }
    }

    /// Where the forwarder is; `next` is the number that the next packet will have.
    pub(crate) fn note(&self, counts: Counts, next: u64, bytes: u64) {
        self.pending.set((next.saturating_sub(counts.read) + counts.held) as f64);
        self.bytes.set(bytes as f64);
        self.deliveries.absolute(counts.deliveries);
        self.delivered.absolute(counts.delivered);
        self.retries.absolute(counts.retries);
        self.dead.absolute(counts.dead);
        self.lost.absolute(counts.lost);
    }
}
