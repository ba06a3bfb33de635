//! Watching what flows: each stored packet, or each delivery of a route, is copied to who watches, and never waits for
//! them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use haul_core::{Batch, Info, Packet, Receipt, Result};
use haul_event_log::{DEFAULT_SESSION, Filter, SESSION_ID, Stored, Watch};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::receipt::rfc3339;

/// Packets that may wait for one who watches.
const WAITING: usize = 4096;

/// Bytes that may wait for one who watches.
const WAITING_BYTES: usize = 8 << 20;

/// What somebody wants to see.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wish {
    /// What goes to the receivers of this route, with its outcome, instead of what is stored.
    pub(crate) route: Option<String>,
    session: Option<String>,
    filter: Filter,
}

impl Wish {
    fn wants(&self, packet: &Packet, session: &str) -> bool {
        self.session.as_ref().is_none_or(|wanted| wanted == session) && self.filter.passes(packet)
    }
}

/// All who watch.
#[derive(Default)]
pub(crate) struct Taps {
    count: AtomicUsize,
    taps: Mutex<Vec<Arc<Tap>>>,
}

struct Tap {
    wish: Wish,
    out: mpsc::Sender<Copied>,
    waiting: AtomicUsize,
    lost: AtomicU64,
}

struct Copied {
    packet: Packet,
    /// Packets that were lost between the one before and this.
    lost: u64,
}

impl Taps {
    /// Whether anybody watches: then packets are worth a copy.
    pub(crate) fn watched(&self) -> bool {
        self.count.load(Relaxed) > 0
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Begins to watch.
    pub(crate) fn open(self: &Arc<Self>, wish: Wish) -> Watching {
        let (out, copies) = mpsc::channel(WAITING);
        let tap = Arc::new(Tap { wish, out, waiting: AtomicUsize::new(0), lost: AtomicU64::new(0) });
        let mut taps = self.taps();
        taps.push(tap.clone());
        self.count.store(taps.len(), Relaxed);
        Watching { tap, copies, taps: self.clone() }
    }

    /// Copies a packet that was stored to all who want to see it.
    pub(crate) fn publish(&self, packet: &Packet, session: &str, stored: &Stored, info: &Info) {
        let taps = self.taps();
        for tap in taps.iter().filter(|tap| tap.wish.route.is_none() && tap.wish.wants(packet, session)) {
            let copy = packet
                .clone()
                .with("haul.seq", stored.seq.to_string())
                .with("haul.session", session.to_owned())
                .with("haul.at", rfc3339(stored.at))
                .with("haul.protocol", info.protocol)
                .with("haul.peer", info.peer.clone());
            tap.offer(copy);
        }
    }

    fn taps(&self) -> MutexGuard<'_, Vec<Arc<Tap>>> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Taps {
    fn watches(&self, route: &str) -> bool {
        self.watched() && self.taps().iter().any(|tap| tap.wish.route.as_deref() == Some(route))
    }

    /// Copies what was given to a receiver of `route`, with what became of each packet; without an answer nobody waited
    /// for that.
    fn delivered(
        &self,
        route: &str,
        receiver: &str,
        batch: &Batch,
        answer: Option<&Result<Vec<Result<Receipt>>>>,
    ) {
        let at = rfc3339(SystemTime::now());
        let taps = self.taps();
        let taps: Vec<_> = taps.iter().filter(|tap| tap.wish.route.as_deref() == Some(route)).collect();
        for (number, packet) in batch.packets().iter().enumerate() {
            let session = packet.metadata().get(SESSION_ID).unwrap_or(DEFAULT_SESSION);
            for tap in taps.iter().filter(|tap| tap.wish.wants(packet, session)) {
                let copy = packet
                    .clone()
                    .with("haul.route", route.to_owned())
                    .with("haul.receiver", receiver.to_owned())
                    .with("haul.session", session.to_owned())
                    .with("haul.at", at.clone());
                let outcome = answer.map(|answer| answer.as_ref().map(|outcomes| outcomes.get(number)));
                tap.offer(match outcome {
                    Some(Ok(Some(Ok(receipt)))) => {
                        let copy = copy.with("haul.outcome", receipt.level.as_str());
                        match &receipt.reference {
                            Some(reference) => copy.with("haul.reference", reference.to_string()),
                            None => copy,
                        }
                    }
                    Some(Ok(Some(Err(why))) | Err(why)) => {
                        copy.with("haul.outcome", why.kind().as_str()).with("haul.error", why.to_string())
                    }
                    Some(Ok(None)) => copy.with("haul.outcome", "unanswered"),
                    None => copy.with("haul.outcome", "abandoned"),
                });
            }
        }
    }
}

impl Tap {
    fn offer(&self, copy: Packet) {
        let weight = copy.weight();
        let room = self.waiting.load(Relaxed) + weight <= WAITING_BYTES;
        let Some(slot) = room.then(|| self.out.try_reserve().ok()).flatten() else {
            self.lost.fetch_add(1, Relaxed);
            return;
        };
        self.waiting.fetch_add(weight, Relaxed);
        slot.send(Copied { packet: copy, lost: self.lost.swap(0, Relaxed) });
    }
}

/// One who watches. Dropped, it does not any more.
pub(crate) struct Watching {
    tap: Arc<Tap>,
    copies: mpsc::Receiver<Copied>,
    taps: Arc<Taps>,
}

impl Watching {
    /// The next packets to show: a note of what was lost before, if something was, and a packet. Cancel-safe.
    pub(crate) async fn next(&mut self) -> (Option<Packet>, Option<Packet>) {
        if self.copies.is_empty() {
            // Nothing follows the loss that could carry it.
            let lost = self.tap.lost.swap(0, Relaxed);
            if lost > 0 {
                return (Some(gap(lost)), None);
            }
        }
        let copied = self.copies.recv().await;
        let Some(Copied { packet, lost }) = copied else {
            return (None, None);
        };
        self.tap.waiting.fetch_sub(packet.weight(), Relaxed);
        ((lost > 0).then(|| gap(lost)), Some(packet))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut taps = self.taps.taps();
        taps.retain(|tap| !Arc::ptr_eq(tap, &self.tap));
        self.taps.count.store(taps.len(), Relaxed);
    }
}

fn gap(lost: u64) -> Packet {
    Packet::text_static("").with("haul.gap", lost.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(log: &[u64]) -> Vec<Stored> {
        // A `Stored` comes from a log alone.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let log_ = haul_event_log::EventLog::open(dir.path(), Default::default()).await.unwrap();
            let mut all = Vec::new();
            for _ in log {
                let event = haul_event_log::Event::new(Packet::text("x"));
                all.push(log_.submit(event).await.unwrap().await.unwrap());
            }
            all
        })
    }

    #[test]
    fn a_slow_watcher_loses_visibly_and_in_its_place() {
        let stored = stored(&[1])[0];
        assert!(stored.at <= SystemTime::now());
        let taps = Arc::new(Taps::default());
        let mut watching = taps.open(Wish::default());
        let info = Info::new("tcp", "lines");
        let large = Packet::binary(vec![0; WAITING_BYTES / 2]);
        for _ in 0..3 {
            taps.publish(&large, "s", &stored, &info);
        }
        let next = |watching: &mut Watching| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (gap, packet) = runtime.block_on(watching.next());
            let lost = gap.map(|gap| gap.metadata().get("haul.gap").unwrap().to_owned());
            (lost, packet.map(|packet| packet.len()))
        };
        assert_eq!(next(&mut watching), (None, Some(large.len())));
        taps.publish(&Packet::text("after"), "s", &stored, &info);
        assert_eq!(next(&mut watching), (Some("2".into()), Some(5)));
        taps.publish(&Packet::binary(vec![0; WAITING_BYTES + 1]), "s", &stored, &info);
        assert_eq!(next(&mut watching), (Some("1".into()), None));
        drop(watching);
        assert!(!taps.watched());
    }

    #[test]
    fn a_wish_lets_pass_what_it_asks_for() {
        let stored = stored(&[1])[0];
        let taps = Arc::new(Taps::default());
        let wish = serde_json::from_str(r#"{"session":"a","filter":{"type":"x"}}"#).unwrap();
        let mut watching = taps.open(wish);
        let info = Info::new("tcp", "lines");
        taps.publish(&Packet::text("1").with("type", "x"), "b", &stored, &info);
        taps.publish(&Packet::text("2"), "a", &stored, &info);
        taps.publish(&Packet::text("3").with("type", "x"), "a", &stored, &info);
        assert_eq!(watching.copies.try_recv().unwrap().packet.as_text(), Some("3"));
        assert!(watching.copies.try_recv().is_err());
    }
}
