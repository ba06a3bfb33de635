mod adaptive;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use haul_core::{
    Batch, Deliver, DeliverAll, Error, ErrorKind, Level, Packet, Receipt, Sent, ServiceFn, Status, service_fn,
};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{advance, sleep};

use super::*;

fn ready() -> impl Service<Packet> {
    service_fn(|packet: Packet| async move { Ok(Receipt::new(Level::Sent, packet.id())) })
}

fn layer(options: LimitOptions) -> LimitLayer {
    LimitLayer::new(options).unwrap()
}

fn rate(rate: u32, burst: u32, when_full: WhenFull) -> LimitOptions {
    LimitOptions { rate: Some(rate), burst: Some(burst), when_full, ..LimitOptions::default() }
}

fn call<S: Service<Packet>>(service: &Arc<S>) -> JoinHandle<Result<Receipt>> {
    let service = service.clone();
    tokio::spawn(async move { service.deliver(Packet::text("x")).await })
}

async fn all_idle() {
    for _ in 0..200 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_goes_at_once_and_the_rest_at_its_rate() {
    let limit = layer(rate(10, 3, WhenFull::Wait)).layer(ready());
    let start = Instant::now();
    let mut times = Vec::new();
    for _ in 0..6 {
        limit.deliver(Packet::text("x")).await.unwrap();
        times.push((start.elapsed().as_secs_f64() * 10.0).round());
    }
    assert_eq!(times, [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_told_when_there_is_room_and_nothing_of_it_was_sent() {
    let limit = layer(rate(10, 1, WhenFull::Refuse)).layer(ready());
    limit.deliver(Packet::text("x")).await.unwrap();
    advance(Duration::from_millis(30)).await;
    let error = limit.deliver(Packet::text("four")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.status(), error.sent()),
        (ErrorKind::RateLimited, Status::Transient, Sent::No)
    );
    assert_eq!(error.retry_after(), Some(Duration::from_millis(70)));
    assert_eq!(error.message(), "deliver 4 bytes: the rate is reached");
    advance(Duration::from_millis(70)).await;
    limit.deliver(Packet::text("x")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_packet_of_a_batch_counts_and_one_larger_than_the_burst_waits_or_is_too_large() {
    let sink = || {
        service_fn(|batch: Batch| async move {
            Ok(batch.packets().iter().map(|_| Ok(Receipt::new(Level::Sent, None))).collect())
        })
    };
    let batch = |count| vec![Packet::text("x"); count];
    let limit = layer(rate(10, 5, WhenFull::Wait)).layer(sink());
    let start = Instant::now();
    for (count, millis) in [(5, 0), (5, 500), (12, 1700), (0, 1700)] {
        limit.deliver_all(batch(count)).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), millis, "{count} packets");
    }
    let limit = layer(rate(10, 5, WhenFull::Refuse)).layer(sink());
    let error = limit.deliver_all(batch(6)).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::TooLarge, Status::Permanent));
    limit.deliver_all(batch(5)).await.unwrap();
}

/// A service that holds its calls until it is told, and notes their order.
struct Gate {
    turns: Semaphore,
    under_way: AtomicUsize,
    order: Mutex<Vec<usize>>,
}

impl Service<Packet> for Gate {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        struct UnderWay<'a>(&'a AtomicUsize);
        impl Drop for UnderWay<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.order.lock().unwrap().push(packet.len());
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let _under_way = UnderWay(&self.under_way);
        self.turns.acquire().await.unwrap().forget();
        Ok(Receipt::new(Level::Sent, None))
    }
}

fn gate() -> Arc<Gate> {
    Arc::new(Gate { turns: Semaphore::new(0), under_way: AtomicUsize::new(0), order: Mutex::default() })
}

fn at_once(most: usize, when_full: WhenFull) -> LimitOptions {
    LimitOptions { concurrency: Some(most), when_full, ..LimitOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_are_under_way_than_may_be_and_the_others_follow_in_order() {
    let gate = gate();
    let limit = Arc::new(layer(at_once(3, WhenFull::Wait)).layer(gate.clone()));
    let calls: Vec<_> = (0..10)
        .map(|len| {
            let limit = limit.clone();
            tokio::spawn(async move { limit.deliver(Packet::text("x".repeat(len))).await })
        })
        .collect();
    for _ in 0..10 {
        all_idle().await;
        assert!(gate.under_way.load(Ordering::SeqCst) <= 3);
        gate.turns.add_permits(1);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(*gate.order.lock().unwrap(), (0..10).collect::<Vec<_>>());
    assert_eq!(limit.allowed(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_call_too_many_is_overloaded_where_nobody_waits_and_a_dropped_one_leaves_its_place() {
    let gate = gate();
    let limit = Arc::new(layer(at_once(1, WhenFull::Refuse)).layer(gate.clone()));
    let first = call(&limit);
    all_idle().await;
    let error = limit.deliver(Packet::text("four")).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Overloaded, Sent::No));
    assert_eq!(error.message(), "deliver 4 bytes: 1 calls are under way, as many as may be");
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.turns.add_permits(1);
    limit.deliver(Packet::text("x")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_those_that_wait_one_more_than_may_is_refused_and_who_leaves_makes_room() {
    for options in [
        LimitOptions { waiting: 2, ..at_once(1, WhenFull::Wait) },
        LimitOptions { waiting: 2, per: Duration::from_secs(3600), ..rate(1, 1, WhenFull::Wait) },
    ] {
        let gate = gate();
        let limit = Arc::new(layer(options.clone()).layer(gate.clone()));
        let mut calls: Vec<_> = (0..3).map(|_| call(&limit)).collect();
        all_idle().await;
        let error = limit.deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Overloaded, Sent::No), "{options:?}");
        assert!(error.message().contains("2 calls wait already"), "{error}");
        let gone = calls.pop().expect("there are three");
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        calls.push(call(&limit));
        gate.turns.add_permits(9);
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_came_later_does_not_take_the_tokens_of_who_waits() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let sink: ServiceFn<_> = service_fn(move |batch: Batch| {
        seen.lock().unwrap().push(batch.len());
        let outcomes = batch.packets().iter().map(|_| Ok(Receipt::new(Level::Sent, None))).collect();
        async { Ok(outcomes) }
    });
    let limit = Arc::new(layer(rate(100, 10, WhenFull::Wait)).layer(sink));
    let deliver = |count| {
        let limit = limit.clone();
        tokio::spawn(async move { limit.deliver_all(vec![Packet::text("x"); count]).await })
    };
    let (first, large) = (deliver(9), deliver(10));
    all_idle().await;
    // One token is there, but ten are waited for.
    let small = deliver(1);
    for call in [first, large, small] {
        call.await.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [9, 10, 1]);
}

#[tokio::test(start_paused = true)]
async fn services_of_one_layer_share_its_limit() {
    let layer = layer(rate(1, 1, WhenFull::Refuse));
    layer.layer(ready()).deliver(Packet::text("x")).await.unwrap();
    assert!(layer.clone().layer(ready()).deliver(Packet::text("x")).await.is_err());
}

#[test]
fn options_come_from_toml_and_wrong_ones_are_refused() {
    let options: LimitOptions = toml::from_str("rate = 5\nper = \"1m\"\nwhen_full = \"refuse\"").unwrap();
    let per = Duration::from_secs(60);
    assert_eq!(
        options,
        LimitOptions { rate: Some(5), per, when_full: WhenFull::Refuse, ..LimitOptions::default() }
    );
    assert!(toml::from_str::<LimitOptions>("rates = 5").is_err());
    assert!(toml::from_str::<LimitOptions>("when_full = \"drop\"").is_err());
    for text in [
        "",
        "rate = 0",
        "rate = 5\nburst = 0",
        "burst = 5\nconcurrency = 1",
        "rate = 5\nper = 0",
        "rate = 2000000000\nper = \"1s\"",
        "concurrency = 0",
        "concurrency = 1048577",
        "rate = 1\nadaptive = true",
        "rate = 1\nwaiting = 1048577",
    ] {
        let error = LimitLayer::new(toml::from_str(text).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
    }
}
