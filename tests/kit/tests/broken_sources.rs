//! Sources.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use haul_core::{AnySource, BoxFuture, Delivery, Error, ErrorKind, Packet, Receipt, Result, Settle, Source};
use haul_kit::source::{self, Rig};
use tokio::sync::Notify;

use crate::proof::{ALL_TIME, PATIENCE, caught, each_is_caught, names, proves};

/// As `capabilities.toml` says.
const MAX_UNACKED: usize = 4;

/// Packets between two that are spoiled.
const EVERY: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Sound,
    Drops,
    Truncates,
    Reorders,
    EndsWhereNothingIsYet,
    IsNotWoken,
    ForgetsWhatWasAcknowledged,
    AcknowledgesByItself,
    LosesWhatWasRefused,
    LosesWhatWasDropped,
    AcknowledgesAllBefore,
    GivesWithoutBound,
    KeepsItsPlace,
    LosesWhatWasCancelled,
    TakesLateAnswersForNothing,
}

struct Log {
    how: How,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    packets: Vec<Packet>,
    acked: BTreeSet<usize>,
    /// Given to the reader of now, and not answered.
    given: BTreeSet<usize>,
    /// Which reader is the one of now.
    reader: usize,
    /// There is a reader.
    taken: bool,
}

impl Log {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    fn put(&self, packets: Vec<Packet>) {
        self.state().packets.extend(packets);
        if self.how != How::IsNotWoken {
            self.changed.notify_waiters();
        }
    }

    async fn open(self: Arc<Self>) -> AnySource {
        if self.how == How::KeepsItsPlace && self.state().taken {
            pending::<()>().await;
        }
        let mut state = self.state();
        state.taken = true;
        state.reader += 1;
        state.given.clear();
        if self.how == How::ForgetsWhatWasAcknowledged {
            state.acked.clear();
        }
        let reader = state.reader;
        drop(state);
        AnySource::new(Reader { log: self, reader })
    }

    fn answer(&self, reader: usize, at: usize, acked: bool) -> Result<()> {
        let mut state = self.state();
        if state.reader != reader || !state.taken {
            if self.how == How::TakesLateAnswersForNothing {
                return Ok(());
            }
            return Err(Error::new(ErrorKind::Closed, "its source is gone"));
        }
        state.given.remove(&at);
        if acked {
            state.acked.insert(at);
        }
        if acked && self.how == How::AcknowledgesAllBefore {
            state.acked.extend(0..at);
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }
}

struct Reader {
    log: Arc<Log>,
    reader: usize,
}

impl Reader {
    fn take(&self) -> Option<usize> {
        let mut state = self.log.state();
        if state.given.len() >= MAX_UNACKED && self.log.how != How::GivesWithoutBound {
            return None;
        }
        let open = |at: &usize| !state.acked.contains(at) && !state.given.contains(at);
        let mut all = (0..state.packets.len()).filter(open);
        let next = match self.log.how {
            How::Reorders => all.nth(1).or_else(|| (0..state.packets.len()).find(open)),
            How::Drops => all.find(|at| at % EVERY != 1),
            _ => all.next(),
        }?;
        state.given.insert(next);
        if self.log.how == How::AcknowledgesByItself {
            state.acked.insert(next);
        }
        Some(next)
    }
}

impl Source for Reader {
    async fn next(&mut self) -> Result<Option<Delivery>> {
        let how = self.log.how;
        let at = loop {
            let changed = self.log.changed.notified();
            if let Some(at) = self.take() {
                break at;
            }
            if how == How::EndsWhereNothingIsYet {
                return Ok(None);
            }
            changed.await;
        };
        if how == How::LosesWhatWasCancelled {
            tokio::task::yield_now().await;
        }
        let mut packet = self.log.state().packets[at].clone();
        if how == How::Truncates && at % EVERY == 1 {
            let cut = packet.len() - 1;
            packet = Packet::text(String::from_utf8_lossy(&packet.payload()[..cut]).into_owned());
        }
        Ok(Some(Delivery::new(packet, Answer { log: self.log.clone(), reader: self.reader, at })))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.log.how != How::KeepsItsPlace {
            self.log.state().taken = false;
        }
    }
}

struct Answer {
    log: Arc<Log>,
    reader: usize,
    at: usize,
}

impl Settle for Answer {
    fn settle(self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>> {
        let acked = outcome.is_ok() || self.log.how == How::LosesWhatWasRefused;
        Box::pin(async move { self.log.answer(self.reader, self.at, acked) })
    }

    fn dropped(self: Box<Self>) {
        let acked = self.log.how == How::LosesWhatWasDropped;
        // Whose source is gone is given again.
        let _ = self.log.answer(self.reader, self.at, acked);
    }
}

async fn failed(how: How, checks: Vec<&'static str>, patience: Duration) -> Vec<&'static str> {
    let suite = source::Suite::new("haul-kit", move || async move {
        let log = Arc::new(Log { how, state: Mutex::default(), changed: Notify::new() });
        let theirs = log.clone();
        let put = move |packets| {
            theirs.put(packets);
            async {}
        };
        Rig::new(put, move || log.clone().open())
    });
    names(&suite.only(&checks).patience(patience).failures().await)
}

const CAUGHT: &[(How, &str)] = &[
    (How::Drops, "all"),
    (How::Truncates, "all"),
    (How::Reorders, "all"),
    (How::EndsWhereNothingIsYet, "later"),
    (How::IsNotWoken, "later"),
    (How::ForgetsWhatWasAcknowledged, "acked"),
    (How::KeepsItsPlace, "acked"),
    (How::AcknowledgesByItself, "unacked"),
    (How::KeepsItsPlace, "unacked"),
    (How::LosesWhatWasRefused, "nacked"),
    (How::LosesWhatWasDropped, "nacked"),
    (How::AcknowledgesAllBefore, "gap"),
    (How::GivesWithoutBound, "bounded"),
    (How::LosesWhatWasCancelled, "cancelled"),
    (How::TakesLateAnswersForNothing, "answered_late"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_source_is_caught_by_its_check() {
    each_is_caught(CAUGHT, |how, check| failed(how, vec![check], PATIENCE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_source_is_not_caught() {
    let checks: Vec<_> = source::Suite::promises().into_iter().map(|(check, _)| check).collect();
    assert_eq!(failed(How::Sound, checks, ALL_TIME).await, [""; 0]);
}

#[test]
fn every_promise_of_sources_is_broken_by_something() {
    proves("source", &source::Suite::promises(), &caught(CAUGHT));
}
