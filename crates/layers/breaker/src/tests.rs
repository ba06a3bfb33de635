mod histories;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use haul_core::{
    Batch, Body, Call, Deliver, DeliverAll, Level, Packet, Receipt, Request, Response, Sent, Status,
    service_fn,
};
use tokio::sync::Semaphore;
use tokio::time::advance;

use super::*;

/// A service that fails when it is told to, and holds each call until it may answer.
struct Peer {
    fails: Mutex<Option<Error>>,
    calls: AtomicUsize,
    turns: Semaphore,
}

impl Service<Packet> for Peer {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.turns.acquire().await.unwrap().forget();
        match self.fails.lock().unwrap().clone() {
            Some(why) => Err(why),
            None => Ok(Receipt::new(Level::Stored, packet.id())),
        }
    }
}

impl Peer {
    fn fails(&self, why: impl Into<Option<Error>>) {
        *self.fails.lock().unwrap() = why.into();
    }

    fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::SeqCst)
    }
}

fn around(options: BreakerOptions, turns: usize) -> (Breaker<Arc<Peer>>, Arc<Peer>) {
    let (fails, calls) = (Mutex::default(), AtomicUsize::new(0));
    let peer = Arc::new(Peer { fails, calls, turns: Semaphore::new(turns) });
    (BreakerLayer::new(options).unwrap().layer(peer.clone()), peer)
}

const OPEN: usize = 1 << 20;

fn down() -> Error {
    Error::new(ErrorKind::Connect, "refused")
}

async fn call(breaker: &Breaker<Arc<Peer>>) -> Result<Receipt> {
    breaker.deliver(Packet::text("four")).await
}

async fn fail(breaker: &Breaker<Arc<Peer>>, peer: &Peer, times: usize) {
    peer.fails(down());
    for _ in 0..times {
        call(breaker).await.unwrap_err();
    }
    peer.fails(None);
}

const TEN: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_a_success_between_them_starts_the_row_again() {
    let (breaker, peer) = around(BreakerOptions { consecutive: 3, ..BreakerOptions::default() }, OPEN);
    for _ in 0..5 {
        fail(&breaker, &peer, 2).await;
        call(&breaker).await.unwrap();
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, &peer, 3).await;
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn the_rate_of_the_last_calls_opens_it_once_enough_are_known() {
    let options = BreakerOptions {
        consecutive: 100,
        failure_rate: 0.5,
        window: 10,
        least: 4,
        ..BreakerOptions::default()
    };
    let (breaker, peer) = around(options.clone(), OPEN);
    fail(&breaker, &peer, 3).await;
    assert_eq!(breaker.state(), BreakerState::Closed, "three calls are too few");
    fail(&breaker, &peer, 1).await;
    assert_eq!(breaker.state(), BreakerState::Open);
    let (breaker, peer) = around(options, OPEN);
    for _ in 0..20 {
        call(&breaker).await.unwrap();
    }
    fail(&breaker, &peer, 4).await;
    assert_eq!(breaker.state(), BreakerState::Closed, "4 of the last 10");
    fail(&breaker, &peer, 1).await;
    assert_eq!(breaker.state(), BreakerState::Open, "5 of the last 10");
}

#[tokio::test(start_paused = true)]
async fn while_it_is_open_nothing_is_sent_and_the_error_says_for_how_long_and_why() {
    let (breaker, peer) = around(BreakerOptions { open: TEN, ..BreakerOptions::default() }, OPEN);
    fail(&breaker, &peer, 5).await;
    peer.calls();
    advance(Duration::from_secs(4)).await;
    let error = call(&breaker).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.status(), error.sent()),
        (ErrorKind::CircuitOpen, Status::Transient, Sent::No)
    );
    assert_eq!(error.retry_after(), Some(Duration::from_secs(6)));
    assert_eq!(
        error.to_string(),
        "deliver 4 bytes: the circuit is open for another 6.0s (opened_by=refused)"
    );
    assert_eq!(peer.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn half_open_lets_so_many_probes_through_and_a_dropped_one_gives_its_place_back() {
    let options = BreakerOptions { open: TEN, probes: 2, ..BreakerOptions::default() };
    let (breaker, peer) = around(options, OPEN);
    fail(&breaker, &peer, 5).await;
    peer.calls();
    peer.turns.forget_permits(OPEN);
    advance(TEN).await;
    let probe = || {
        let breaker = breaker.clone();
        tokio::spawn(async move { call(&breaker).await })
    };
    let (first, second) = (probe(), probe());
    tokio::task::yield_now().await;
    assert_eq!((breaker.state(), peer.calls()), (BreakerState::HalfOpen, 2));
    let refused = call(&breaker).await.unwrap_err();
    assert_eq!((refused.kind(), refused.retry_after()), (ErrorKind::CircuitOpen, None));
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let third = probe();
    tokio::task::yield_now().await;
    assert_eq!(peer.calls(), 1, "the place of the dropped one");
    peer.turns.add_permits(1);
    second.await.unwrap().unwrap();
    assert_eq!(breaker.state(), BreakerState::HalfOpen, "one success of two");
    assert!(call(&breaker).await.is_err(), "one is proved, one is under way");
    peer.turns.add_permits(2);
    third.await.unwrap().unwrap();
    assert_eq!(breaker.state(), BreakerState::Closed);
    call(&breaker).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_opens_it_again_for_the_whole_time_or_as_long_as_the_peer_asks() {
    let (breaker, peer) = around(BreakerOptions { open: TEN, ..BreakerOptions::default() }, OPEN);
    fail(&breaker, &peer, 5).await;
    advance(TEN).await;
    peer.fails(down().with_retry_after(TEN * 6));
    assert_eq!(call(&breaker).await.unwrap_err().kind(), ErrorKind::Connect);
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!(call(&breaker).await.unwrap_err().retry_after(), Some(TEN * 6));
    peer.fails(None);
    advance(TEN * 6).await;
    call(&breaker).await.unwrap();
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_began_before_a_change_says_nothing_after_it() {
    let (breaker, peer) = around(BreakerOptions { open: TEN, ..BreakerOptions::default() }, 0);
    let old: Vec<_> = (0..9)
        .map(|_| {
            let breaker = breaker.clone();
            tokio::spawn(async move { call(&breaker).await })
        })
        .collect();
    tokio::task::yield_now().await;
    peer.fails(down());
    peer.turns.add_permits(5);
    while breaker.state() == BreakerState::Closed {
        tokio::task::yield_now().await;
    }
    advance(TEN).await;
    let probe = tokio::spawn({
        let breaker = breaker.clone();
        async move { call(&breaker).await }
    });
    tokio::task::yield_now().await;
    peer.turns.add_permits(4);
    for call in old {
        call.await.unwrap().unwrap_err();
    }
    assert_eq!(breaker.state(), BreakerState::HalfOpen, "old failures are no probes");
    peer.fails(None);
    peer.turns.add_permits(1);
    probe.await.unwrap().unwrap();
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_is_permanent_does_not_count_unless_its_kind_is_named() {
    let rejected = || Error::new(ErrorKind::Rejected, "no");
    for (on, why, opens) in [
        (None, rejected(), false),
        (None, down().exhausted(), true),
        (Some(vec![ErrorKind::Rejected]), rejected(), true),
        (Some(vec![ErrorKind::Rejected]), down(), false),
    ] {
        let (breaker, peer) = around(BreakerOptions { on, ..BreakerOptions::default() }, OPEN);
        peer.fails(why.clone());
        for _ in 0..9 {
            call(&breaker).await.unwrap_err();
        }
        assert_eq!(breaker.state() == BreakerState::Open, opens, "{why:?}");
    }
}

#[tokio::test]
async fn failures_inside_an_answer_count() {
    let layer = BreakerLayer::new(BreakerOptions { consecutive: 1, ..BreakerOptions::default() }).unwrap();
    let half = layer
        .layer(service_fn(|_: Batch| async { Ok(vec![Ok(Receipt::new(Level::Sent, None)), Err(down())]) }));
    half.deliver_all(vec![Packet::text("x"); 2]).await.unwrap();
    assert_eq!(half.state(), BreakerState::Open);
    let busy = layer.layer(service_fn(|_: Request| async {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        Ok(answer)
    }));
    busy.request(Request::new(Body::empty())).await.unwrap();
    assert_eq!(busy.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn whoever_watches_sees_the_states_until_the_breaker_is_gone() {
    let (breaker, peer) = around(BreakerOptions { open: TEN, ..BreakerOptions::default() }, OPEN);
    let mut watch = breaker.watch();
    assert_eq!(watch.get(), BreakerState::Closed);
    fail(&breaker, &peer, 5).await;
    assert_eq!(watch.changed().await, Some(BreakerState::Open));
    advance(TEN).await;
    call(&breaker).await.unwrap();
    assert_eq!(watch.changed().await, Some(BreakerState::Closed));
    drop(breaker);
    assert_eq!(watch.changed().await, None);
    assert_eq!(BreakerState::HalfOpen.as_str(), "half_open");
}

#[test]
fn options_come_from_toml_and_wrong_ones_are_refused() {
    let options: BreakerOptions =
        toml::from_str("consecutive = 2\nopen = \"1m\"\non = [\"timeout\"]").unwrap();
    let (open, on) = (Duration::from_secs(60), Some(vec![ErrorKind::Timeout]));
    assert_eq!(options, BreakerOptions { consecutive: 2, open, on, ..BreakerOptions::default() });
    assert!(toml::from_str::<BreakerOptions>("opens = \"1m\"").is_err());
    for text in [
        "failure_rate = 0.0",
        "failure_rate = 1.1",
        "failure_rate = nan",
        "window = 0",
        "window = 65537",
        "least = 0",
        "least = 101",
        "consecutive = 0",
        "probes = 0",
        "open = 0",
    ] {
        let error = BreakerLayer::new(toml::from_str(text).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
    }
}
