//! Outboxes in front of random stacks: stopped and opened again, dropped in the middle, until everything is delivered.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use haul_core::{
    AnySink, Backoff, Batch, DeliverAll, ErrorKind, Packet, Receipt, Result, Service, Shared, Sink,
};
use haul_outbox::forward::DeliveryOptions;
use haul_outbox::{Outbox, OutboxOptions, OutboxView};
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::faulty::{Temper, Tempers};
use super::stacks::{Draw, Stack};
use super::{is_bad, seeds, text_of};
use crate::soon;

/// Histories at once: they mostly wait.
const AT_ONCE: u64 = 6;

/// An outbox, and what was put into it.
pub(super) struct Story {
    pub(super) draw: Draw,
    pub(super) stack: Stack<Batch>,
    temper: Tempers,
    folder: tempfile::TempDir,
    options: OutboxOptions,
    /// The packets of each key that were answered as stored, in order.
    stored: Vec<Vec<u32>>,
    next: u32,
    /// One of the sinks refuses nothing.
    takes_all: bool,
}

impl Story {
    /// A story over a drawn stack whose first sink is `first`, or a faulty one.
    pub(super) fn new(seed: u64, first: Option<AnySink>) -> Self {
        let temper = Tempers::new(Mutex::new(Temper { faults: 30, lies: false }));
        let mut draw = Draw::new(seed, temper.clone());
        // On a machine that is busy, what works is not to take longer than this.
        draw.timeouts = 1000..=3000;
        let takes_all = first.is_some();
        draw.first = first;
        let storeys = draw.dice.random_range(0..4);
        let stack = draw.stack(storeys);
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder, &mut draw.dice);
        let keys = draw.dice.random_range(1..6);
        Self { draw, stack, temper, folder, options, stored: vec![Vec::new(); keys], next: 0, takes_all }
    }

    /// Opens the outbox; one that was dropped lets go of its folder when its tasks have ended.
    pub(super) async fn open(&self) -> Outbox {
        let open = async {
            loop {
                match Outbox::open(sink_of(&self.stack), self.options.clone()).await {
                    Err(why) if why.kind() == ErrorKind::Overloaded => sleep(Duration::from_millis(2)).await,
                    opened => return opened.unwrap(),
                }
            }
        };
        soon("the folder to be free", open).await
    }

    /// Stores packets of all keys, some in one call.
    pub(super) async fn store(&mut self, outbox: &Outbox) {
        for _ in 0..self.draw.dice.random_range(0..12) {
            let some: Vec<_> = (0..self.draw.dice.random_range(1..8)).filter_map(|_| self.packet()).collect();
            for outcome in outbox.deliver_all(some).await.unwrap() {
                outcome.unwrap();
            }
        }
    }

    /// The next packet, of any key, as stored.
    fn packet(&mut self) -> Option<Packet> {
        let key = self.draw.dice.random_range(0..self.stored.len());
        let packet = Packet::text(text_of(self.next)).with("session_id", key.to_string());
        self.next += 1;
        if self.takes_all && is_bad(&packet) {
            return None;
        }
        self.stored[key].push(self.next - 1);
        Some(packet)
    }

    /// Lets the sinks work, and everything arrive.
    pub(super) async fn end(&self, outbox: Outbox) {
        self.temper.lock().unwrap().faults = 0;
        let empty = async {
            while outbox.status().pending > 0 {
                sleep(Duration::from_millis(2)).await;
            }
        };
        soon(&format!("all to be delivered by {}", self.stack.what), empty).await;
        let left = soon("the outbox to close", outbox.close(Duration::from_secs(60))).await.unwrap();
        assert_eq!((left.pending, left.sink.lost, left.dropped), (0, 0, 0), "{}", self.stack.what);
    }

    /// All that was stored is at the sinks, or a dead letter if it is bad, and nothing else is.
    pub(super) fn judge(&self) {
        let what = &self.stack.what;
        let taken = self.draw.taken.all();
        let mut sinks: HashMap<&str, HashSet<usize>> = HashMap::new();
        for (sink, packet) in &taken {
            sinks.entry(packet.as_text().unwrap()).or_default().insert(*sink);
        }
        let dead = self.dead_letters();
        for number in self.stored.iter().flatten() {
            let text = text_of(*number);
            let at = sinks.remove(&*text).unwrap_or_default().len();
            match text.starts_with("bad") {
                true => assert!(at == 0 && dead.contains(&text), "{text} is no dead letter, by {what}"),
                false => assert!(at >= self.stack.least, "{text} is at {at} sinks, by {what}"),
            }
        }
        assert!(sinks.is_empty(), "nobody stored {sinks:?}, by {what}");
        assert!(dead.iter().all(|text| text.starts_with("bad")), "{dead:?} was refused by nobody, by {what}");
    }

    /// What of a key came first is in order.
    fn is_in_order(&self) {
        let mut seen = HashSet::new();
        let taken = self.draw.taken.all().into_iter().map(|(_, packet)| packet.as_text().unwrap().to_owned());
        let first: Vec<String> = taken.filter(|text| seen.insert(text.clone())).collect();
        for stored in &self.stored {
            let stored: Vec<_> = stored.iter().map(|number| text_of(*number)).collect();
            let of_key = |text: &&String| stored.contains(*text);
            let good = |text: &&String| text.starts_with("good");
            let arrived: Vec<_> = first.iter().filter(of_key).collect();
            let expected: Vec<_> = stored.iter().filter(good).collect();
            assert_eq!(arrived, expected, "by {}", self.stack.what);
        }
    }

    fn dead_letters(&self) -> HashSet<String> {
        let mut letters = OutboxView::open(self.folder.path(), None).unwrap().dead().unwrap();
        let mut dead = HashSet::new();
        while let Some(letter) = letters.read().unwrap() {
            assert!(is_bad(&letter.packet), "{} for {}", self.stack.what, letter.message);
            dead.insert(letter.packet.as_text().unwrap().to_owned());
        }
        dead
    }
}

/// The stack as a sink, which has nothing to be asked or closed.
fn sink_of(stack: &Stack<Batch>) -> AnySink {
    struct Plain(Shared<Batch>);
    impl Service<Batch> for Plain {
        async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
            self.0.call(batch).await
        }
    }
    impl Sink for Plain {}
    AnySink::new(Plain(stack.service.clone()))
}

/// Quick tries, and small files, of which some are finished and removed.
fn options(folder: &tempfile::TempDir, dice: &mut SmallRng) -> OutboxOptions {
    let wait = Duration::from_millis(dice.random_range(1..4));
    let delivery = DeliveryOptions {
        backoff: Backoff { base: wait, factor: 1.0, cap: wait },
        batch: dice.random_range(1..20),
        ahead: dice.random_range(1..60),
        parallel: dice.random_range(1..5),
        ..DeliveryOptions::default()
    };
    let (max_packet, max_bytes) = (100, 300_000);
    OutboxOptions { max_packet, max_bytes, delivery, ..OutboxOptions::new(folder.path()) }
}

async fn history(seed: u64) {
    let mut story = Story::new(seed, None);
    for _ in 0..story.draw.dice.random_range(0..3) {
        let outbox = story.open().await;
        story.store(&outbox).await;
        match story.draw.dice.random() {
            true => drop(outbox),
            false => drop(soon("the outbox to close", outbox.close(Duration::ZERO)).await.unwrap()),
        }
    }
    let outbox = story.open().await;
    story.store(&outbox).await;
    story.end(outbox).await;
    story.judge();
    story.is_in_order();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_stands_behind_an_outbox_all_that_it_stored_arrives_in_order() {
    let mut seeds = seeds(2_000_000, 200);
    let (mut under_way, mut ended_well) = (JoinSet::new(), 0);
    loop {
        while let Some(seed) = (under_way.len() < AT_ONCE as usize).then(|| seeds.next()).flatten() {
            under_way.spawn(async move {
                // A panic that names no seed is of no use.
                let ended = tokio::spawn(history(seed)).await;
                ended.unwrap_or_else(|why| panic!("HAUL_SEED={seed}: {why}"));
            });
        }
        let Some(ended) = under_way.join_next().await else { break };
        ended.unwrap();
        ended_well += 1;
    }
    println!("{ended_well} histories");
}
