mod sources;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use haul_core::{Deliver, DeliverAll, Level, PacketId, Status, service_fn};
use tokio::sync::Semaphore;
use tokio::task::yield_now;

use super::*;

/// Stores packets when it may, with their place as the reference, and fails those that are to fail.
struct Store {
    turns: Semaphore,
    stored: Mutex<Vec<String>>,
    calls: AtomicUsize,
    fails: Mutex<HashSet<String>>,
}

impl Store {
    fn new(turns: usize) -> Arc<Self> {
        let (stored, calls, fails) = (Mutex::default(), AtomicUsize::new(0), Mutex::default());
        Arc::new(Self { turns: Semaphore::new(turns), stored, calls, fails })
    }

    fn fails(&self, text: &str) {
        self.fails.lock().unwrap().insert(text.to_owned());
    }

    fn heal(&self) {
        self.fails.lock().unwrap().clear();
    }

    fn stored(&self) -> Vec<String> {
        self.stored.lock().unwrap().clone()
    }

    fn store(&self, packet: &Packet) -> Result<Receipt> {
        let text = packet.as_text().unwrap().to_owned();
        if self.fails.lock().unwrap().contains(&text) {
            return Err(Error::new(ErrorKind::Timeout, "no answer"));
        }
        let mut stored = self.stored.lock().unwrap();
        stored.push(text);
        Ok(Receipt::new(Level::Stored, packet.id()).with_reference(stored.len().to_string()))
    }
}

impl Service<Packet> for Store {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.turns.acquire().await.unwrap().forget();
        self.store(&packet)
    }
}

impl Service<Batch> for Store {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.turns.acquire().await.unwrap().forget();
        if self.fails.lock().unwrap().contains("all") {
            return Err(Error::new(ErrorKind::Connect, "refused"));
        }
        Ok(batch.packets().iter().map(|packet| self.store(packet)).collect())
    }
}

fn dedupe(window: usize) -> DedupeLayer {
    DedupeLayer::new(DedupeOptions { window }).unwrap()
}

fn numbered(number: u8) -> Packet {
    Packet::text(number.to_string()).with_id(PacketId::from_bytes([number; 16]))
}

const OPEN: usize = 1 << 20;

#[tokio::test]
async fn a_packet_is_delivered_once_and_answered_with_the_receipt_of_then() {
    let store = Store::new(OPEN);
    let once = dedupe(100).layer(store.clone());
    let first = once.deliver(numbered(1)).await.unwrap();
    once.deliver(numbered(2)).await.unwrap();
    assert_eq!(once.deliver(numbered(1)).await.unwrap(), first);
    assert_eq!(store.stored(), ["1", "2"]);
}

#[tokio::test]
async fn a_packet_without_an_id_always_passes() {
    let store = Store::new(OPEN);
    let once = dedupe(100).layer(store.clone());
    for _ in 0..2 {
        once.deliver(Packet::text("x")).await.unwrap();
        once.deliver_all(vec![Packet::text("y"); 2]).await.unwrap();
    }
    assert_eq!(store.stored(), ["x", "y", "y", "x", "y", "y"]);
}

#[tokio::test]
async fn what_failed_passes_when_it_comes_again() {
    let store = Store::new(OPEN);
    let once = dedupe(100).layer(store.clone());
    store.fails("1");
    once.deliver(numbered(1)).await.unwrap_err();
    store.heal();
    once.deliver(numbered(1)).await.unwrap();
    assert_eq!(store.stored(), ["1"]);
}

#[tokio::test]
async fn of_the_last_deliveries_as_many_are_known_as_the_window_holds() {
    let store = Store::new(OPEN);
    let layer = dedupe(3);
    let once = layer.layer(store.clone());
    for number in [1, 2, 3, 4, 2, 4, 1, 1] {
        once.deliver(numbered(number)).await.unwrap();
    }
    assert_eq!(store.stored(), ["1", "2", "3", "4", "1"]);
    assert_eq!(format!("{:?}", layer.0), "Window { most: 3, done: 3 }");
    assert_eq!(layer.0.size(), 3);
}

#[tokio::test]
async fn who_comes_while_it_is_under_way_waits_for_its_outcome() {
    let store = Store::new(0);
    let once = dedupe(100).layer(store.clone());
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let once = once.clone();
            tokio::spawn(async move { once.deliver(numbered(1)).await })
        })
        .collect();
    for _ in 0..50 {
        yield_now().await;
    }
    assert_eq!(store.calls.load(Ordering::SeqCst), 1);
    store.turns.add_permits(5);
    let receipts: Vec<_> = join_all(calls).await.into_iter().map(|call| call.unwrap().unwrap()).collect();
    assert!(receipts.iter().all(|receipt| *receipt == receipts[0]), "{receipts:?}");
    assert_eq!(store.stored(), ["1"]);
}

#[tokio::test]
async fn when_it_fails_or_is_dropped_one_of_those_who_wait_goes_itself() {
    let store = Store::new(0);
    let once = dedupe(100).layer(store.clone());
    let call = || {
        let once = once.clone();
        tokio::spawn(async move { once.deliver(numbered(1)).await })
    };
    let calls = [call(), call(), call()];
    for _ in 0..50 {
        yield_now().await;
    }
    let [first, second, third] = calls;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    store.fails("1");
    store.turns.add_permits(1);
    while store.calls.load(Ordering::SeqCst) < 3 {
        yield_now().await;
    }
    store.heal();
    store.turns.add_permits(1);
    let outcomes = [second.await.unwrap(), third.await.unwrap()];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "one failed, one went after it");
    assert_eq!(store.stored(), ["1"]);
}

#[tokio::test]
async fn of_a_batch_only_what_is_new_goes_on_and_the_outcomes_stand_in_its_order() {
    let store = Store::new(OPEN);
    let once = dedupe(100).layer(store.clone());
    once.deliver(numbered(2)).await.unwrap();
    let batch: Batch = [1, 2, 3, 1].map(numbered).into_iter().chain([Packet::text("none")]).collect();
    let outcomes = once.deliver_all(batch).await.unwrap();
    let places: Vec<_> =
        outcomes.into_iter().map(|outcome| outcome.unwrap().reference.unwrap().into_owned()).collect();
    assert_eq!(places, ["2", "1", "3", "2", "4"]);
    assert_eq!(store.stored(), ["2", "1", "3", "none"]);
}

#[tokio::test]
async fn of_a_batch_what_failed_is_forgotten_and_a_whole_failure_is_one() {
    let store = Store::new(OPEN);
    let once = dedupe(100).layer(store.clone());
    let batch = || [1, 2].map(numbered).into_iter().collect::<Batch>();
    store.fails("all");
    let error = once.deliver_all(batch()).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Connect, Status::Transient));
    store.heal();
    store.fails("2");
    let outcomes = once.deliver_all(batch()).await.unwrap();
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
    store.heal();
    assert!(once.deliver_all(batch()).await.unwrap().iter().all(Result::is_ok));
    assert_eq!(store.stored(), ["1", "2"]);
    store.fails("all");
    let outcomes = once.deliver_all([1, 3].map(numbered).into_iter().collect::<Batch>()).await.unwrap();
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn batches_with_the_same_packets_in_another_order_do_not_wait_for_each_other() {
    let store = Store::new(OPEN);
    let once = dedupe(1000).layer(store.clone());
    let calls = (0..8).map(|turn| {
        let numbers: Vec<u8> = if turn % 2 == 0 { (0..100).collect() } else { (0..100).rev().collect() };
        let once = once.clone();
        tokio::spawn(async move {
            let batch: Batch = numbers.into_iter().map(numbered).collect();
            once.deliver_all(batch).await
        })
    });
    let all = tokio::time::timeout(std::time::Duration::from_secs(20), join_all(calls)).await;
    for outcomes in all.expect("the batches wait for each other") {
        assert!(outcomes.unwrap().unwrap().iter().all(Result::is_ok));
    }
    assert_eq!(store.stored().len(), 100);
}

#[tokio::test]
async fn a_service_that_answers_too_few_outcomes_is_told_and_nothing_is_ok() {
    let once =
        dedupe(10).layer(service_fn(|_: Batch| async { Ok(vec![Ok(Receipt::new(Level::Sent, None))]) }));
    for outcome in once.deliver_all([1, 2].map(numbered).into_iter().collect::<Batch>()).await.unwrap() {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Internal);
    }
}

#[test]
fn options_come_from_toml_and_wrong_ones_are_refused() {
    let options: DedupeOptions = toml::from_str("window = 7").unwrap();
    assert_eq!(options, DedupeOptions { window: 7 });
    assert!(toml::from_str::<DedupeOptions>("windows = 7").is_err());
    for window in [0, (1 << 24) + 1] {
        assert_eq!(DedupeLayer::new(DedupeOptions { window }).unwrap_err().kind(), ErrorKind::Config);
    }
}
