//! The ids of packets that were delivered, and of those that are.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haul_core::{Ack, Packet, PacketId, Receipt, Result};
use tokio::sync::watch;

/// A bounded number of delivered packets, and the packets under way.
pub(crate) struct Window {
    most: usize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    entries: HashMap<PacketId, Entry>,
    /// Those that were delivered, the oldest first.
    done: VecDeque<PacketId>,
}

enum Entry {
    Open {
        /// It ends when the outcome is known.
        ended: watch::Receiver<()>,
        /// Answers to packets of the same id, which are given with the first.
        parked: Vec<Ack>,
    },
    Done(Receipt),
}

/// What is known of an id.
pub(crate) enum Claim {
    /// Nothing: it is the caller's to deliver.
    Mine(Ticket),
    /// It was delivered.
    Done(Receipt),
    /// It is under way.
    Open(Open),
}

/// The end of a delivery by another.
pub(crate) struct Open(watch::Receiver<()>);

impl Open {
    pub(crate) async fn settled(mut self) {
        // It is never written: the error is its end.
        while self.0.changed().await.is_ok() {}
    }
}

/// The right to deliver an id, and the duty to say how that went. Dropped, it is as if it had failed.
pub(crate) struct Ticket {
    window: Arc<Window>,
    id: PacketId,
    settled: bool,
    /// Whoever waits is woken when it is dropped.
    _alive: watch::Sender<()>,
}

impl Window {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, known: Mutex::default() }
    }

    pub(crate) fn claim(self: &Arc<Self>, id: PacketId) -> Claim {
        let mut known = self.known();
        match known.entries.get(&id) {
            Some(Entry::Done(receipt)) => return Claim::Done(receipt.clone()),
            Some(Entry::Open { ended, .. }) => return Claim::Open(Open(ended.clone())),
            None => {}
        }
        let (alive, ended) = watch::channel(());
        known.entries.insert(id, Entry::Open { ended, parked: Vec::new() });
        Claim::Mine(Ticket { window: self.clone(), id, settled: false, _alive: alive })
    }

    /// Claims each packet that has no outcome yet: those to deliver now, and one that another delivers. What was
    /// delivered before gets its outcome.
    #[allow(clippy::type_complexity, reason = "a pair of what it says")]
    pub(crate) fn claim_all(
        self: &Arc<Self>,
        packets: &[Packet],
        outcomes: &mut [Option<Result<Receipt>>],
    ) -> (Vec<(usize, Option<Ticket>)>, Option<Open>) {
        let (mut mine, mut other) = (Vec::new(), None);
        for (at, outcome) in outcomes.iter_mut().enumerate().filter(|(_, outcome)| outcome.is_none()) {
            match packets[at].id().map(|id| self.claim(id)) {
                None => mine.push((at, None)),
                Some(Claim::Mine(ticket)) => mine.push((at, Some(ticket))),
                Some(Claim::Done(receipt)) => *outcome = Some(Ok(receipt)),
                Some(Claim::Open(open)) => other = Some(open),
            }
        }
        (mine, other)
    }

    /// Keeps an answer until that of the packet under way with this id is known; gives it back if none is.
    pub(crate) fn park(&self, id: PacketId, ack: Ack) -> Option<Ack> {
        match self.known().entries.get_mut(&id) {
            Some(Entry::Open { parked, .. }) => {
                parked.push(ack);
                None
            }
            _ => Some(ack),
        }
    }

    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        self.known().entries.len()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what is under way, and gives back what was parked with it.
    fn end(&self, id: PacketId, receipt: Option<Receipt>) -> Vec<Ack> {
        let mut known = self.known();
        let entry = match receipt {
            Some(receipt) => {
                known.done.push_back(id);
                known.entries.insert(id, Entry::Done(receipt))
            }
            None => known.entries.remove(&id),
        };
        while known.done.len() > self.most {
            if let Some(oldest) = known.done.pop_front() {
                known.entries.remove(&oldest);
            }
        }
        match entry {
            Some(Entry::Open { parked, .. }) => parked,
            _ => Vec::new(),
        }
    }
}

impl Ticket {
    /// Remembers a packet that was delivered, forgets one that was not. Gives the answers that were parked.
    pub(crate) fn settle(mut self, outcome: &Result<Receipt>) -> Vec<Ack> {
        self.settled = true;
        self.window.end(self.id, outcome.as_ref().ok().cloned())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            // Dropping what was parked refuses it, which must not happen under the lock.
            drop(self.window.end(self.id, None));
        }
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("most", &self.most).field("done", &self.known().done.len()).finish()
    }
}
