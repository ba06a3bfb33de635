//! What was read from the log and a sink has not got yet, and which of it may be delivered now.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use haul_core::Packet;
use haul_journal::Seq;
use tokio::time::Instant;

use crate::sink::Order;

/// Bytes of payloads at which no more is read.
const BYTES: usize = 16 << 20;

/// An event on its way.
pub(crate) struct Entry {
    pub(crate) session: Arc<str>,
    pub(crate) packet: Packet,
    pub(crate) record: Bytes,
    /// It was in a delivery that was refused as a whole: it goes alone.
    alone: bool,
}

impl Entry {
    pub(crate) fn new(session: &str, packet: Packet, record: Bytes) -> Self {
        Self { session: session.into(), packet, record, alone: false }
    }
}

/// A session that has events here.
#[derive(Default)]
struct Session {
    /// Its events, those under way included.
    events: BTreeSet<Seq>,
    /// Failures of its oldest event.
    attempt: u32,
    waits: bool,
}

/// Events that were read and are not settled. Those of a session whose oldest failed wait behind it; the others go on.
pub(crate) struct Window {
    order: Order,
    /// How far behind the oldest event may be read.
    ahead: u64,
    entries: BTreeMap<Seq, Entry>,
    sessions: HashMap<Arc<str>, Session>,
    /// May be delivered now.
    ready: BTreeSet<Seq>,
    /// Sessions that wait: until when, and for which event.
    waiting: BTreeSet<(Instant, Seq)>,
    bytes: usize,
    /// What is read next.
    next: Seq,
}

impl Window {
    pub(crate) fn new(order: Order, ahead: usize, next: Seq) -> Self {
        Self {
            order,
            ahead: ahead.max(1) as u64,
            entries: BTreeMap::new(),
            sessions: HashMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            bytes: 0,
            next,
        }
    }

    /// The first event that is not settled: everything before it is.
    pub(crate) fn done(&self) -> Seq {
        self.entries.first_key_value().map_or(self.next, |(seq, _)| *seq)
    }

    /// What is read next.
    pub(crate) fn next(&self) -> Seq {
        self.next
    }

    /// Events that are not settled.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Events that may be delivered now.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Whether more may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.next.0 - self.done().0 < self.ahead && self.bytes < BYTES
    }

    /// Whether a session waits after a failure.
    pub(crate) fn is_stuck(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn entry(&self, seq: Seq) -> &Entry {
        self.entries.get(&seq).expect("what was taken is here until it is settled")
    }

    /// How often the session of `seq` has failed.
    pub(crate) fn attempt(&self, seq: Seq) -> u32 {
        self.sessions.get(&self.entry(seq).session).map_or(0, |session| session.attempt)
    }

    /// Everything before `next` was read, or is not to be delivered.
    pub(crate) fn pass(&mut self, next: Seq) {
        self.next = self.next.max(next);
    }

    /// An event that was read; they come in their order.
    pub(crate) fn push(&mut self, seq: Seq, entry: Entry) {
        self.pass(seq.next());
        self.bytes += entry.record.len();
        let session = self.sessions.entry(entry.session.clone()).or_default();
        session.events.insert(seq);
        let offered = self.order == Order::Batch || session.events.len() == 1;
        if offered && !session.waits {
            self.ready.insert(seq);
        }
        self.entries.insert(seq, entry);
    }

    /// The oldest events that may be delivered, at most `count`, and no more once they have `bytes`.
    pub(crate) fn take(&mut self, count: usize, bytes: usize) -> Vec<Seq> {
        let mut taken = Vec::new();
        let mut weight = 0;
        while let Some(seq) = self.ready.first().copied() {
            let entry = self.entry(seq);
            let alone = entry.alone;
            if taken.len() >= count || weight >= bytes || (alone && !taken.is_empty()) {
                break;
            }
            weight += entry.packet.len();
            self.ready.remove(&seq);
            taken.push(seq);
            if alone {
                break;
            }
        }
        taken
    }

    /// What was taken comes again; `alone` if it is to be found out which of it is at fault.
    pub(crate) fn put_back(&mut self, taken: &[Seq], alone: bool) {
        for seq in taken {
            self.ready.insert(*seq);
            if let Some(entry) = self.entries.get_mut(seq) {
                entry.alone |= alone;
            }
        }
    }

    /// The event is delivered, or a dead letter: the next of its session may go.
    pub(crate) fn settle(&mut self, seq: Seq) -> Entry {
        let entry = self.entries.remove(&seq).expect("what is settled was taken");
        self.bytes -= entry.record.len();
        let session = self.sessions.get_mut(&entry.session).expect("a session is here as long as its events");
        session.events.remove(&seq);
        session.attempt = 0;
        match (session.events.first(), self.order) {
            (None, _) => drop(self.sessions.remove(&entry.session)),
            (Some(next), Order::Strict) => drop(self.ready.insert(*next)),
            (Some(_), Order::Batch) => {}
        }
        entry
    }

    /// The event is to come again at `when`, and what is behind it in its session not before it.
    pub(crate) fn wait(&mut self, seq: Seq, when: Instant) {
        let session = self.entry(seq).session.clone();
        let session = self.sessions.get_mut(&session).expect("a session is here as long as its events");
        session.attempt = session.attempt.saturating_add(1);
        session.waits = true;
        for behind in &session.events {
            self.ready.remove(behind);
        }
        self.waiting.insert((when, seq));
    }

    /// When the first session that waits goes on.
    pub(crate) fn wakes(&self) -> Option<Instant> {
        self.waiting.first().map(|(when, _)| *when)
    }

    /// Sessions that have waited long enough by `now` go on.
    pub(crate) fn wake(&mut self, now: Instant) {
        while let Some((when, seq)) = self.waiting.first().copied().filter(|(when, _)| *when <= now) {
            self.waiting.remove(&(when, seq));
            let session = self.entry(seq).session.clone();
            let session = self.sessions.get_mut(&session).expect("a session is here as long as its events");
            session.waits = false;
            match self.order {
                Order::Strict => drop(self.ready.insert(seq)),
                Order::Batch => self.ready.extend(&session.events),
            }
        }
    }
}
