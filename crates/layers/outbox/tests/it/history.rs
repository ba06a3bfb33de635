//! Random histories against a sink that fails parts at random; a seed says which.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use haul_core::{AnySink, Batch, Deliver, Error, ErrorKind, Level, Packet, Receipt, Result, Service, Sink};
use haul_journal::sim::Random;
use haul_outbox::forward::{DeliveryOptions, Order};
use haul_outbox::{Offline, Outbox, OutboxOptions, OutboxView, Which};

use crate::support::{LONG, quick, status, text, transient, within};

#[derive(Default)]
struct Seen {
    accepted: Vec<String>,
    /// What was refused for good, and why, in the sink's own words.
    refused: HashMap<String, String>,
    /// Keys that are under way: none is twice.
    under_way: HashSet<String>,
}

/// Accepts, fails and refuses at random.
#[derive(Clone)]
pub(crate) struct Moody {
    random: Arc<Mutex<Random>>,
    seen: Arc<Mutex<Seen>>,
}

impl Moody {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Arc::new(Mutex::new(Random::new(seed))), seen: Arc::default() }
    }

    pub(crate) fn accepted(&self) -> Vec<String> {
        self.seen.lock().unwrap().accepted.clone()
    }

    pub(crate) fn refused(&self) -> HashSet<String> {
        self.seen.lock().unwrap().refused.keys().cloned().collect()
    }

    /// Its calls were cut off.
    pub(crate) fn forget_what_was_under_way(&self) {
        self.seen.lock().unwrap().under_way.clear();
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap().below(bound)
    }

    fn one(&self, text: &str) -> Result<Receipt> {
        let (mood, words) = (self.below(10), self.below(1 << 40));
        let mut seen = self.seen.lock().unwrap();
        match mood {
            0 | 1 => Err(transient()),
            2 => {
                let why = format!("it is bad, says {words}");
                seen.refused.insert(text.to_owned(), why.clone());
                Err(Error::new(ErrorKind::Rejected, why))
            }
            3 => Err(Error::new(ErrorKind::Unauthorized, "the password has changed")),
            _ => {
                seen.accepted.push(text.to_owned());
                Ok(Receipt::new(Level::Stored, None))
            }
        }
    }

    /// Refuses the call as a whole, for good; what it is about is known if it is alone.
    fn refuse(&self, texts: &[String]) -> Error {
        const WHY: &str = "it is bad, as a whole";
        if let [alone] = texts {
            self.seen.lock().unwrap().refused.insert(alone.clone(), WHY.to_owned());
        }
        Error::new(ErrorKind::Rejected, WHY)
    }

    fn answer(&self, texts: &[String]) -> Result<Vec<Result<Receipt>>> {
        match self.below(20) {
            0 => Err(transient()),
            1 => Err(self.refuse(texts)),
            2 => {
                // It has some of them, and nobody knows.
                for text in texts.iter().filter(|_| self.below(2) == 0) {
                    self.seen.lock().unwrap().accepted.push(text.clone());
                }
                Err(transient())
            }
            3 => Ok(Vec::new()),
            _ => Ok(texts.iter().map(|text| self.one(text)).collect()),
        }
    }
}

impl Service<Batch> for Moody {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let texts: Vec<_> = batch.packets().iter().map(text).collect();
        let keys: HashSet<_> = texts.iter().map(|text| text.split('-').next().unwrap().to_owned()).collect();
        for key in &keys {
            let new = self.seen.lock().unwrap().under_way.insert(key.clone());
            assert!(new, "{key} is in two deliveries at once");
        }
        // The others have their turn.
        for _ in 0..self.below(3) {
            tokio::task::yield_now().await;
        }
        let answer = self.answer(&texts);
        self.seen.lock().unwrap().under_way.retain(|key| !keys.contains(key));
        answer
    }
}

impl Sink for Moody {}

async fn append(outbox: &Outbox, random: &mut Random, sessions: &mut [Vec<String>]) {
    for _ in 0..random.below(40) {
        let session = random.below(sessions.len() as u64) as usize;
        let text = format!("{session}-{}", sessions[session].len());
        let packet = Packet::text(text.as_str()).with("session_id", session.to_string());
        outbox.deliver(packet).await.unwrap();
        sessions[session].push(text);
    }
}

async fn history(seed: u64, runs: u32, order: Order) {
    let mut random = Random::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let sink = Moody::new(!seed);
    let mut sessions = vec![Vec::new(); 1 + random.below(6) as usize];
    let options = quick(&dir);
    let (batch, ahead) = (1 + random.below(12) as usize, 1 + random.below(30) as usize);
    let parallel = 1 + random.below(4) as usize;
    let delivery = DeliveryOptions { batch, ahead, parallel, order, ..options.delivery };
    let options = OutboxOptions { delivery, ..options };
    for run in 1..=runs {
        let outbox = Outbox::open(AnySink::new(sink.clone()), options.clone()).await.unwrap();
        append(&outbox, &mut random, &mut sessions).await;
        append(&outbox, &mut random, &mut sessions).await;
        if run == runs {
            status(&outbox, &format!("none to wait, seed {seed}"), |status| status.pending == 0).await;
        }
        within("the outbox to close", outbox.close(LONG)).await.unwrap();
        sink.forget_what_was_under_way();
    }
    let dead = dead_letters(dir.path());
    judge(&sink, &dead, &sessions, order, (seed, runs));
    replayed(dir.path(), &dead).await;
}

/// What was sent has arrived in order per session, and the dead letters are what was refused.
fn judge(
    sink: &Moody,
    dead: &HashMap<String, String>,
    sessions: &[Vec<String>],
    order: Order,
    (seed, runs): (u64, u32),
) {
    let seen = sink.seen.lock().unwrap();
    for (text, why) in dead {
        assert!(
            seen.refused.contains_key(text),
            "seed {seed}: {text} is a dead letter, and nobody refused it"
        );
        assert!(why.starts_with("it is bad"), "seed {seed}: {text} for {why}");
    }
    if runs == 1 && order == Order::Strict {
        assert_eq!(
            *dead, seen.refused,
            "seed {seed}: the dead letters are what was refused, with the reason"
        );
    }
    // Strictly it is the first time that counts; in batches the last, behind what had failed.
    let mut accepted: Vec<_> = seen.accepted.iter().collect();
    if order == Order::Batch {
        accepted.reverse();
    }
    let mut known = HashSet::new();
    accepted.retain(|text| known.insert(*text));
    if order == Order::Batch {
        accepted.reverse();
    }
    for (session, texts) in sessions.iter().enumerate() {
        // One that was refused may come again after a restart, and be accepted then.
        let counts = |text: &&String| texts.contains(text) && !dead.contains_key(*text);
        let arrived: Vec<_> = accepted.iter().copied().filter(counts).collect();
        let expected: Vec<_> = texts.iter().filter(|text| !dead.contains_key(*text)).collect();
        assert_eq!(arrived, expected, "seed {seed}: session {session} did not arrive whole and in order");
    }
}

/// Each dead letter's text and reason.
fn dead_letters(dir: &std::path::Path) -> HashMap<String, String> {
    let mut letters = OutboxView::open(dir, None).unwrap().dead().unwrap();
    let mut dead = HashMap::new();
    while let Some(letter) = letters.read().unwrap() {
        dead.insert(text(&letter.packet), letter.message);
    }
    dead
}

/// All of them wait again when they are replayed.
async fn replayed(dir: &std::path::Path, dead: &HashMap<String, String>) {
    let offline = Offline::open(dir, None).await.unwrap();
    offline.replay(&Which::All).await.unwrap();
    offline.close().await.unwrap();
    let waiting: HashSet<_> = crate::support::pending(dir).into_iter().collect();
    assert_eq!(waiting, dead.keys().cloned().collect());
    assert!(dead_letters(dir).is_empty());
}

/// The usual ones, or those that a long run asks for.
pub(crate) fn seeds(first: u64, usual: u64) -> std::ops::Range<u64> {
    let first = haul_services::seed(first);
    first..first + haul_services::histories(usual)
}

#[tokio::test]
async fn whatever_a_sink_fails_each_key_arrives_in_order_and_nothing_is_lost() {
    for seed in seeds(0, 30) {
        history(seed, 1, Order::Strict).await;
    }
}

#[tokio::test]
async fn whatever_a_sink_fails_each_key_arrives_in_order_over_restarts_too() {
    for seed in seeds(1000, 15) {
        history(seed, 4, Order::Strict).await;
    }
}

#[tokio::test]
async fn with_batches_of_a_key_it_has_arrived_in_order_in_the_end() {
    for seed in seeds(2000, 30) {
        history(seed, 1, Order::Batch).await;
    }
}
