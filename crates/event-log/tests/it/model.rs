//! Random histories against a sink that fails parts at random; a seed says which.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haul_core::{AnySink, Batch, Error, ErrorKind, Level, Packet, Receipt, Result, Service, Sink};
use haul_event_log::{EventLog, LogView, Options, Order};

use crate::support::{quick, transient, within};

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }
}

#[derive(Default)]
struct Seen {
    accepted: Vec<String>,
    /// What was refused for good, and why, in the sink's own words.
    refused: HashMap<String, String>,
}

/// Accepts, fails and refuses at random.
#[derive(Clone)]
struct Moody {
    random: Arc<Mutex<Random>>,
    seen: Arc<Mutex<Seen>>,
}

impl Moody {
    fn one(&self, random: &mut Random, text: &str) -> Result<Receipt> {
        let mut seen = self.seen.lock().unwrap();
        match random.below(10) {
            0 | 1 => Err(transient()),
            2 => {
                let why = format!("it is bad, says {}", random.below(1 << 40));
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
    fn refuse(&self, texts: &[&str]) -> Error {
        const WHY: &str = "it is bad, as a whole";
        if let [alone] = texts {
            self.seen.lock().unwrap().refused.insert((*alone).to_owned(), WHY.to_owned());
        }
        Error::new(ErrorKind::Rejected, WHY)
    }
}

impl Service<Batch> for Moody {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let mut random = self.random.lock().unwrap();
        let texts: Vec<_> = batch.packets().iter().map(|packet| packet.as_text().unwrap()).collect();
        match random.below(20) {
            0 => Err(transient()),
            1 => Err(self.refuse(&texts)),
            2 => {
                // It has some of them, and nobody knows.
                for text in texts.iter().filter(|_| random.below(2) == 0) {
                    self.seen.lock().unwrap().accepted.push((*text).to_owned());
                }
                Err(transient())
            }
            3 => Ok(Vec::new()),
            _ => Ok(texts.iter().map(|text| self.one(&mut random, text)).collect()),
        }
    }
}

impl Sink for Moody {}

/// What was appended, session by session.
async fn append(log: &EventLog, random: &mut Random, sessions: &mut [Vec<String>]) {
    for _ in 0..random.below(40) {
        let session = random.below(sessions.len() as u64) as usize;
        let text = format!("{session}-{}", sessions[session].len());
        log.append(session.to_string(), Packet::text(text.as_str())).await.unwrap();
        sessions[session].push(text);
    }
}

async fn history(seed: u64, restarts: bool, order: Order) {
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let sink = Moody { random: Arc::new(Mutex::new(Random(!seed))), seen: Arc::default() };
    let mut sessions = vec![Vec::new(); 1 + random.below(6) as usize];
    let (batch, ahead) = (1 + random.below(12) as usize, 1 + random.below(30) as usize);
    let options = quick().batch(batch).ahead(ahead).order(order);
    let runs = if restarts { 4 } else { 1 };
    for run in 1..=runs {
        let log = EventLog::open(dir.path(), Options::default()).await.unwrap();
        append(&log, &mut random, &mut sessions).await;
        log.attach("x", AnySink::new(sink.clone()), options.clone()).await.unwrap();
        append(&log, &mut random, &mut sessions).await;
        if run == runs {
            crate::support::status(&log, &format!("no lag, seed {seed}"), |status| status.lag == 0).await;
        }
        within("the log to close", log.close(Duration::from_secs(20))).await.unwrap();
    }
    let seen = sink.seen.lock().unwrap();
    let dead = dead_letters(dir.path());
    for (text, why) in &dead {
        assert!(
            seen.refused.contains_key(text),
            "seed {seed}: {text} is a dead letter, and nobody refused it"
        );
        assert!(why.starts_with("it is bad"), "seed {seed}: {text} for {why}");
    }
    if !restarts && order == Order::Strict {
        assert_eq!(dead, seen.refused, "seed {seed}: the dead letters are what was refused, with the reason");
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
    let mut letters = LogView::open(dir).unwrap().dead().unwrap();
    let mut dead = HashMap::new();
    while let Some(letter) = letters.read().unwrap() {
        let text = letter.event.packet.as_text().unwrap().to_owned();
        dead.insert(text, letter.message);
    }
    dead
}

#[tokio::test]
async fn whatever_a_sink_fails_each_session_arrives_in_order_and_nothing_is_lost() {
    for seed in 0..40 {
        history(seed, false, Order::Strict).await;
    }
}

#[tokio::test]
async fn whatever_a_sink_fails_each_session_arrives_in_order_over_restarts_too() {
    for seed in 1000..1020 {
        history(seed, true, Order::Strict).await;
    }
}

#[tokio::test]
async fn with_batches_of_a_session_it_has_arrived_in_order_in_the_end() {
    for seed in 2000..2040 {
        history(seed, false, Order::Batch).await;
    }
}
