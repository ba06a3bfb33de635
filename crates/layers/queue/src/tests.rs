mod histories;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use haul_core::{
    Batch, Deliver, DeliverAll, Error, ErrorKind, Level, Packet, Receipt, Sent, Status, service_fn,
};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, advance};

use super::*;

/// Notes the calls in their order, holds each until it may answer, and fails as it is told.
struct Probe {
    order: Mutex<Vec<String>>,
    turns: Semaphore,
    under_way: AtomicUsize,
    fails: Mutex<VecDeque<Error>>,
}

struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service<Packet> for Probe {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        self.order.lock().unwrap().push(packet.as_text().unwrap().to_owned());
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let _under_way = UnderWay(&self.under_way);
        self.turns.acquire().await.unwrap().forget();
        match self.fails.lock().unwrap().pop_front() {
            Some(why) => Err(why),
            None => Ok(Receipt::new(Level::Stored, packet.id())),
        }
    }
}

impl Probe {
    fn order(&self) -> Vec<String> {
        self.order.lock().unwrap().clone()
    }
}

type Packets = Queue<Arc<Probe>, Packet>;

const OPEN: usize = 1 << 20;

fn queue(options: QueueOptions, turns: usize) -> (Arc<Packets>, Arc<Probe>) {
    let probe = Arc::new(Probe {
        order: Mutex::default(),
        turns: Semaphore::new(turns),
        under_way: AtomicUsize::new(0),
        fails: Mutex::default(),
    });
    (Arc::new(QueueLayer::new(options).unwrap().layer(probe.clone())), probe)
}

fn one() -> QueueOptions {
    QueueOptions {
        concurrency: 1,
        base: Duration::from_secs(1),
        cap: Duration::from_secs(1),
        ..QueueOptions::default()
    }
}

fn call(queue: &Arc<Packets>, text: &str, priority: u8, attempts: u32) -> JoinHandle<Result<Receipt>> {
    let (queue, packet) = (queue.clone(), Packet::text(text));
    tokio::spawn(async move { queue.call_with(packet, Policy { priority, attempts }).await })
}

/// Lets the other tasks run until all of them wait; the clock does not move meanwhile.
async fn all_idle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

fn busy() -> Error {
    Error::new(ErrorKind::Overloaded, "busy")
}

#[tokio::test(start_paused = true)]
async fn the_most_urgent_goes_next_and_of_one_priority_who_came_first() {
    let (queue, probe) = queue(one(), 0);
    let mut calls = Vec::new();
    for (text, priority) in [("first", 0), ("a0", 0), ("b2", 2), ("c1", 1), ("d2", 2), ("e0", 0)] {
        calls.push(call(&queue, text, priority, 1));
        all_idle().await;
    }
    assert_eq!((probe.order().len(), queue.waiting()), (1, 5));
    probe.turns.add_permits(6);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(probe.order(), ["first", "b2", "d2", "c1", "a0", "e0"]);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_for_long_goes_before_a_higher_priority_that_came_late() {
    let (queue, probe) = queue(QueueOptions { ageing: Duration::from_secs(1), ..one() }, 0);
    let mut calls = Vec::new();
    for (text, priority, later) in [("first", 0, 0), ("old", 0, 0), ("soon", 2, 1900), ("late", 2, 200)] {
        advance(Duration::from_millis(later)).await;
        calls.push(call(&queue, text, priority, 1));
        all_idle().await;
    }
    probe.turns.add_permits(4);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(probe.order(), ["first", "soon", "old", "late"]);
}

#[tokio::test(start_paused = true)]
async fn as_many_are_under_way_as_allowed_and_no_more() {
    let (queue, probe) = queue(QueueOptions { concurrency: 3, ..one() }, 0);
    let calls: Vec<_> = (0..9).map(|_| call(&queue, "x", 0, 1)).collect();
    for done in 0..9 {
        all_idle().await;
        assert_eq!(probe.under_way.load(Ordering::SeqCst), 3.min(9 - done));
        probe.turns.add_permits(1);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_try_that_failed_pauses_and_holds_up_nobody() {
    let (queue, probe) = queue(one(), OPEN);
    let pause = Duration::from_secs(60);
    probe.fails.lock().unwrap().push_back(busy().with_retry_after(pause));
    let start = Instant::now();
    let again = call(&queue, "again", 9, 2);
    all_idle().await;
    for _ in 0..5 {
        call(&queue, "other", 0, 1).await.unwrap().unwrap();
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "the others waited for a pause");
    again.await.unwrap().unwrap();
    assert!(start.elapsed() >= pause);
    assert_eq!(probe.order(), ["again", "other", "other", "other", "other", "other", "again"]);
}

#[tokio::test(start_paused = true)]
async fn after_the_last_of_several_tries_what_failed_is_exhausted_and_after_one_it_is_as_it_came() {
    for (attempts, status) in [(0, Status::Transient), (1, Status::Transient), (3, Status::Exhausted)] {
        let (queue, probe) = queue(one(), OPEN);
        probe.fails.lock().unwrap().extend((0..9).map(|_| busy()));
        let error = call(&queue, "x", 0, attempts).await.unwrap().unwrap_err();
        assert_eq!((error.status(), probe.order().len()), (status, 1.max(attempts as usize)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_sent_is_tried_again_only_with_an_id() {
    let (queue, probe) = queue(QueueOptions { attempts: 3, ..one() }, OPEN);
    let maybe = || Error::new(ErrorKind::Timeout, "no answer");
    for (packet, tries) in [(Packet::text("x"), 1), (Packet::text("x").identified(), 2)] {
        *probe.fails.lock().unwrap() = [maybe()].into();
        let answer = queue.deliver(packet).await;
        assert_eq!((answer.is_ok(), probe.order().len()), (tries == 2, tries));
        probe.order.lock().unwrap().clear();
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_only_what_is_undone_goes_again() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = sizes.clone();
    let halves = service_fn(move |batch: Batch| {
        seen.lock().unwrap().push(batch.len());
        let half = batch.len().div_ceil(2);
        let outcome = |at| if at < half { Ok(Receipt::new(Level::Stored, None)) } else { Err(busy()) };
        let outcomes = (0..batch.len()).map(outcome).collect();
        async { Ok(outcomes) }
    });
    let queue = QueueLayer::new(QueueOptions { attempts: 5, ..one() }).unwrap().layer(halves);
    let outcomes = queue.deliver_all(vec![Packet::text("x"); 8]).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(*sizes.lock().unwrap(), [8, 4, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_the_queue_full_is_refused_and_pauses_count() {
    let (queue, probe) = queue(QueueOptions { capacity: 3, ..one() }, 0);
    probe.fails.lock().unwrap().push_back(busy().with_retry_after(Duration::from_secs(60)));
    let calls = [call(&queue, "pauses", 0, 2), call(&queue, "x", 0, 1), call(&queue, "x", 0, 1)];
    all_idle().await;
    probe.turns.add_permits(1);
    all_idle().await;
    let error = queue.deliver(Packet::text("four")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.status(), error.sent()),
        (ErrorKind::Overloaded, Status::Transient, Sent::No)
    );
    assert_eq!(error.message(), "deliver 4 bytes: the queue is full: 3 calls are in it");
    probe.turns.add_permits(9);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    queue.deliver(Packet::text("x")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_least_urgent_that_waits_makes_room_for_a_more_urgent_one() {
    let (queue, probe) = queue(QueueOptions { capacity: 3, overflow: Overflow::Evict, ..one() }, 0);
    let under_way = call(&queue, "under way", 0, 1);
    all_idle().await;
    let (low, high) = (call(&queue, "low", 1, 1), call(&queue, "high", 3, 1));
    all_idle().await;
    let refused = call(&queue, "same", 1, 1).await.unwrap().unwrap_err();
    assert_eq!(refused.message(), "deliver 4 bytes: the queue is full: 3 calls are in it");
    let urgent = call(&queue, "urgent", 2, 1);
    let evicted = low.await.unwrap().unwrap_err();
    assert_eq!((evicted.kind(), evicted.sent()), (ErrorKind::Overloaded, Sent::No));
    assert_eq!(evicted.message(), "deliver 3 bytes: a more urgent call took its place in the queue");
    probe.turns.add_permits(9);
    for call in [under_way, high, urgent] {
        call.await.unwrap().unwrap();
    }
    assert_eq!(probe.order(), ["under way", "high", "urgent"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_loses_its_place_before_another_try_answers_what_it_failed_with() {
    let (queue, probe) = queue(QueueOptions { capacity: 2, overflow: Overflow::Evict, ..one() }, 0);
    probe.fails.lock().unwrap().push_back(busy().with_retry_after(Duration::from_secs(5)));
    let again = call(&queue, "again", 0, 3);
    all_idle().await;
    probe.turns.add_permits(1);
    all_idle().await;
    let other = call(&queue, "other", 0, 1);
    advance(Duration::from_secs(6)).await;
    all_idle().await;
    assert_eq!(queue.waiting(), 1);
    let urgent = call(&queue, "urgent", 9, 1);
    let error = again.await.unwrap().unwrap_err();
    assert_eq!((error.message(), error.status()), ("busy", Status::Exhausted));
    probe.turns.add_permits(9);
    for call in [other, urgent] {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_outside_comes_in_when_there_is_room() {
    let (queue, probe) = queue(QueueOptions { capacity: 2, overflow: Overflow::Wait, ..one() }, 0);
    let calls: Vec<_> = ["a", "b", "c", "d"].map(|text| call(&queue, text, 0, 1)).into();
    all_idle().await;
    assert_eq!(queue.waiting(), 1, "one is under way, one waits, two are outside");
    probe.turns.add_permits(9);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(probe.order(), ["a", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_out_of_the_queue_and_its_turn_goes_on() {
    let (queue, probe) = queue(QueueOptions { capacity: 3, ..one() }, 0);
    let (first, waits, last) =
        (call(&queue, "first", 0, 1), call(&queue, "waits", 0, 1), call(&queue, "last", 0, 1));
    all_idle().await;
    waits.abort();
    assert!(waits.await.unwrap_err().is_cancelled());
    assert_eq!(queue.waiting(), 1);
    let again = call(&queue, "again", 0, 1);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    probe.turns.add_permits(9);
    for call in [last, again] {
        call.await.unwrap().unwrap();
    }
    assert_eq!(probe.order(), ["first", "last", "again"]);
}

#[test]
fn options_come_from_toml_and_wrong_ones_are_refused() {
    let options: QueueOptions =
        toml::from_str("concurrency = 2\noverflow = \"evict\"\nageing = \"5s\"").unwrap();
    let (overflow, ageing) = (Overflow::Evict, Duration::from_secs(5));
    assert_eq!(options, QueueOptions { concurrency: 2, overflow, ageing, ..QueueOptions::default() });
    assert!(toml::from_str::<QueueOptions>("overflow = \"drop\"").is_err());
    assert!(toml::from_str::<QueueOptions>("size = 2").is_err());
    for text in [
        "concurrency = 0",
        "concurrency = 5\ncapacity = 4",
        "capacity = 1048577",
        "attempts = 0",
        "factor = 0.5",
        "factor = inf",
        "ageing = 0",
    ] {
        let error = QueueLayer::<Packet>::new(toml::from_str(text).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
    }
}
