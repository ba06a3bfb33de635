//! What was read from the journal and the sink has not got yet, and which of it may be delivered now.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use haul_core::{Batch, Packet};
use haul_journal::{Record, Seq};
use tokio::time::Instant;

use super::options::{DeliveryOptions, Order};

/// Bytes of records at which no more is read.
const BYTES: usize = 16 << 20;

/// A packet on its way.
pub(super) struct Entry {
    pub(super) key: Arc<str>,
    pub(super) packet: Packet,
    pub(super) record: Bytes,
    /// When it was appended, in microseconds since 1970.
    pub(super) stored: u64,
    /// Deliveries that it was in.
    pub(super) tries: u32,
    /// It was in a delivery that was refused as a whole: it goes alone.
    alone: bool,
}

impl Entry {
    pub(super) fn new(key: Arc<str>, packet: Packet, record: &Record) -> Self {
        Self { key, packet, record: record.payload.clone(), stored: record.micros, tries: 0, alone: false }
    }
}

/// A key that has packets here.
#[derive(Default)]
struct Key {
    /// Its packets, those under way included.
    packets: BTreeSet<Seq>,
    /// Failures of its oldest packet.
    attempt: u32,
    /// It failed, and is to come again later.
    waits: bool,
    /// Some of it is under way.
    busy: bool,
}

impl Key {
    /// Its first `run` packets may go, unless it waits or is busy.
    fn offer(&self, run: usize, ready: &mut BTreeSet<Seq>) {
        if !self.waits && !self.busy {
            ready.extend(self.packets.iter().take(run));
        }
    }
}

/// What goes in one delivery. Its keys are busy until they are [released](Window::release).
pub(super) struct Taken {
    pub(super) seqs: Vec<Seq>,
    keys: Vec<Arc<str>>,
}

/// Packets that were read and are not settled. Those of a key whose oldest failed wait behind it; the others go on.
pub(super) struct Window {
    /// Most packets of a key in one delivery.
    run: usize,
    /// How far behind the oldest packet may be read.
    ahead: u64,
    entries: BTreeMap<Seq, Entry>,
    keys: HashMap<Arc<str>, Key>,
    /// May be delivered now: the first few of each key that neither waits nor is busy.
    ready: BTreeSet<Seq>,
    /// Keys that wait: until when, and for which packet.
    waiting: BTreeSet<(Instant, Seq)>,
    bytes: usize,
    /// What is read next.
    next: Seq,
}

impl Window {
    pub(super) fn new(options: &DeliveryOptions, next: Seq) -> Self {
        let run = match options.order {
            Order::Strict => 1,
            Order::Batch => options.batch,
        };
        Self {
            run,
            ahead: options.ahead.max(1) as u64,
            entries: BTreeMap::new(),
            keys: HashMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            bytes: 0,
            next,
        }
    }

    /// The first packet that is not settled: everything before it is.
    pub(super) fn done(&self) -> Seq {
        self.entries.first_key_value().map_or(self.next, |(seq, _)| *seq)
    }

    /// What is read next.
    pub(super) fn next(&self) -> Seq {
        self.next
    }

    /// Packets that are not settled.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Packets that may be delivered now.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Whether more may be read.
    pub(super) fn has_room(&self) -> bool {
        self.next.0 - self.done().0 < self.ahead && self.bytes < BYTES
    }

    /// Whether a key waits after a failure.
    pub(super) fn is_stuck(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn entry(&self, seq: Seq) -> &Entry {
        self.entries.get(&seq).expect("what was taken is here until it is settled")
    }

    /// How often the oldest packet of the key of `seq` has failed.
    pub(super) fn attempt(&self, seq: Seq) -> u32 {
        self.keys.get(&self.entry(seq).key).map_or(0, |key| key.attempt)
    }

    /// Everything before `next` was read, or is not to be delivered.
    pub(super) fn pass(&mut self, next: Seq) {
        self.next = self.next.max(next);
    }

    /// A packet that was read; they come in their order.
    pub(super) fn push(&mut self, seq: Seq, entry: Entry) {
        self.pass(seq.next());
        self.bytes += entry.record.len();
        let key = self.keys.entry(entry.key.clone()).or_default();
        key.packets.insert(seq);
        if !key.waits && !key.busy && key.packets.len() <= self.run {
            self.ready.insert(seq);
        }
        self.entries.insert(seq, entry);
    }

    /// The oldest packets that may be delivered, at most `count`, and no more once they have `bytes`.
    pub(super) fn take(&mut self, count: usize, bytes: usize) -> Taken {
        let (mut seqs, mut keys) = (Vec::new(), Vec::new());
        let mut weight = 0;
        while let Some(seq) = self.ready.first().copied() {
            let entry = self.entry(seq);
            if seqs.len() >= count || weight >= bytes || (entry.alone && !seqs.is_empty()) {
                break;
            }
            let alone = entry.alone;
            weight += entry.packet.len();
            self.ready.remove(&seq);
            seqs.push(seq);
            if alone {
                break;
            }
        }
        for seq in &seqs {
            let name = self.entry(*seq).key.clone();
            let key = self.keys.get_mut(&name).expect("a key is here as long as its packets");
            if !key.busy {
                key.busy = true;
                // What did not fit waits for what did.
                for behind in key.packets.iter().take(self.run) {
                    self.ready.remove(behind);
                }
                keys.push(name);
            }
        }
        Taken { seqs, keys }
    }

    /// The delivery is over, and what became of its packets was said: the rest of its keys may go.
    pub(super) fn release(&mut self, taken: &Taken) {
        for name in &taken.keys {
            if let Some(key) = self.keys.get_mut(name) {
                key.busy = false;
                key.offer(self.run, &mut self.ready);
            }
        }
    }

    /// What was taken goes to the sink; answers the packets.
    pub(super) fn send(&mut self, taken: &Taken) -> Batch {
        let mut packets = Vec::with_capacity(taken.seqs.len());
        for seq in &taken.seqs {
            let entry = self.entries.get_mut(seq).expect("what was taken is here until it is settled");
            entry.tries = entry.tries.saturating_add(1);
            packets.push(entry.packet.clone());
        }
        Batch::new(packets)
    }

    /// What was taken is to go alone, to find out which of it is at fault.
    pub(super) fn part(&mut self, taken: &Taken) {
        for seq in &taken.seqs {
            if let Some(entry) = self.entries.get_mut(seq) {
                entry.alone = true;
            }
        }
    }

    /// The packet is delivered, or a dead letter.
    pub(super) fn settle(&mut self, seq: Seq) {
        let entry = self.entries.remove(&seq).expect("what is settled was taken");
        self.bytes -= entry.record.len();
        let key = self.keys.get_mut(&entry.key).expect("a key is here as long as its packets");
        key.packets.remove(&seq);
        key.attempt = 0;
        if key.packets.is_empty() {
            self.keys.remove(&entry.key);
        }
    }

    /// The packet is to come again at `when`, and what is behind it in its key not before it.
    pub(super) fn wait(&mut self, seq: Seq, when: Instant) {
        let name = self.entry(seq).key.clone();
        let key = self.keys.get_mut(&name).expect("a key is here as long as its packets");
        key.attempt = key.attempt.saturating_add(1);
        key.waits = true;
        self.waiting.insert((when, seq));
    }

    /// When the first key that waits goes on.
    pub(super) fn wakes(&self) -> Option<Instant> {
        self.waiting.first().map(|(when, _)| *when)
    }

    /// Keys that have waited long enough by `now` go on.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some((when, seq)) = self.waiting.first().copied().filter(|(when, _)| *when <= now) {
            self.waiting.remove(&(when, seq));
            let name = self.entry(seq).key.clone();
            let key = self.keys.get_mut(&name).expect("a key is here as long as its packets");
            key.waits = false;
            key.offer(self.run, &mut self.ready);
        }
    }
}
