mod histories;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use haul_core::{Batch, Deliver, DeliverAll, Level, Packet, Receipt, Sent, Shared, service_fn};
use tokio::sync::Semaphore;
use tokio::time::{advance, sleep};

use super::*;

/// A service that answers after a time, or fails as it is told, and counts its calls.
struct Peer {
    takes: Mutex<Duration>,
    fails: Mutex<Option<Error>>,
    calls: AtomicUsize,
    turns: Semaphore,
}

impl Peer {
    fn new() -> Arc<Self> {
        let (takes, fails, calls) = (Mutex::default(), Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { takes, fails, calls, turns: Semaphore::new(1 << 20) })
    }

    fn takes(&self, millis: u64) {
        *self.takes.lock().unwrap() = Duration::from_millis(millis);
    }

    fn fails(&self, why: impl Into<Option<Error>>) {
        *self.fails.lock().unwrap() = why.into();
    }

    /// Calls since this was asked last.
    fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::SeqCst)
    }
}

impl Service<Packet> for Peer {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let takes = *self.takes.lock().unwrap();
        sleep(takes).await;
        self.turns.acquire().await.unwrap().forget();
        match self.fails.lock().unwrap().clone() {
            Some(why) => Err(why),
            None => Ok(Receipt::new(Level::Stored, packet.id())),
        }
    }
}

fn over<const N: usize>(options: BalanceOptions, weights: [u32; N]) -> (Balance<Arc<Peer>>, [Arc<Peer>; N]) {
    let peers = weights.map(|_| Peer::new());
    let members: Vec<_> =
        peers.iter().zip(weights).map(|(peer, weight)| Member::new(peer.clone()).weight(weight)).collect();
    (Balance::new(options, members).unwrap(), peers)
}

fn by(by: By) -> BalanceOptions {
    BalanceOptions { by, eject: 3, readmit: TEN }
}

const TEN: Duration = Duration::from_secs(10);
const ALL: [By; 3] = [By::RoundRobin, By::LeastInFlight, By::Latency];

fn down() -> Error {
    Error::new(ErrorKind::Connect, "refused")
}

async fn call(balance: &Balance<Arc<Peer>>) -> Result<Receipt> {
    balance.deliver(Packet::text("x")).await
}

async fn calls(balance: &Balance<Arc<Peer>>, count: usize) {
    for _ in 0..count {
        call(balance).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn in_turns_each_member_is_called_as_often_as_its_weight_says() {
    let (balance, peers) = over(by(By::RoundRobin), [5, 1, 2]);
    for _ in 0..3 {
        calls(&balance, 8).await;
        assert_eq!(peers.each_ref().map(|peer| peer.calls()), [5, 1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_member_with_the_fewest_calls_under_way_for_its_weight_is_next() {
    let (balance, peers) = over(by(By::LeastInFlight), [1, 3]);
    for peer in &peers {
        peer.turns.forget_permits(1 << 20);
    }
    let under_way: Vec<_> = (0..12)
        .map(|_| {
            let balance = balance.clone();
            tokio::spawn(async move { call(&balance).await })
        })
        .collect();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(peers.each_ref().map(|peer| peer.calls()), [3, 9]);
    peers.iter().for_each(|peer| peer.turns.add_permits(1 << 19));
    for call in under_way {
        call.await.unwrap().unwrap();
    }
    let shared = peers.map(|peer| peer.calls());
    calls(&balance, 4).await;
    assert_eq!(shared, [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn without_calls_under_way_the_fewest_are_taken_in_turns() {
    let (balance, peers) = over(by(By::LeastInFlight), [1, 1, 1]);
    calls(&balance, 9).await;
    assert_eq!(peers.map(|peer| peer.calls()), [3, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn the_faster_of_two_is_called_and_one_that_was_slow_is_tried_again_after_a_time() {
    let (balance, [fast, slow]) = over(by(By::Latency), [1, 1]);
    fast.takes(1);
    slow.takes(50);
    calls(&balance, 200).await;
    let (fast_calls, slow_calls) = (fast.calls(), slow.calls());
    // The average of the slow one halves every 10 s, and these calls take some 0.2 s.
    assert!(slow_calls <= 2 && fast_calls >= 198, "{fast_calls} fast, {slow_calls} slow");
    slow.takes(0);
    advance(TEN * 9).await;
    // Both averages decayed alike: it is found out only where the fast one is measured anew.
    calls(&balance, 200).await;
    assert!(slow.calls() >= 1, "it was never tried again");
}

#[tokio::test(start_paused = true)]
async fn of_two_that_are_equally_fast_the_one_of_more_weight_is_called() {
    let seats: Vec<_> = [1, 9].map(|weight| Seat::new(Member::new(()).weight(weight))).into();
    let choice = Choice::new(By::Latency, 2);
    seats.iter().for_each(|seat| seat.works(Duration::from_secs(1)));
    assert!((0..100).all(|_| choice.of(&seats, |_| true) == Some(1)));
    assert_eq!(choice.of(&seats, |at| at == 0), Some(0));
    assert_eq!(choice.of(&seats, |_| false), None);
}

#[tokio::test(start_paused = true)]
async fn each_is_drawn_as_often_as_its_weight_says() {
    let seats: Vec<_> = [1, 8, 1].map(|weight| Seat::new(Member::new(()).weight(weight))).into();
    let heavy = (0..1000).filter(|_| choice::drawn(&seats, |_| true) == Some(1)).count();
    assert!((700..900).contains(&heavy), "{heavy} of 1000 where 800 were due");
}

#[tokio::test(start_paused = true)]
async fn no_packet_is_lost_when_a_member_dies() {
    for way in ALL {
        let (balance, [dead, b, c]) = over(by(way), [1, 1, 1]);
        dead.fails(down());
        calls(&balance, 60).await;
        assert_eq!(b.calls() + c.calls(), 60, "{way:?}");
        assert!(dead.calls() <= 3, "{way:?}: it is passed over after three failures");
        assert_eq!(balance.admitted()[1..], [true, true], "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_passed_over_is_tried_by_one_call_and_let_in_again_when_it_works() {
    let (balance, [a, b]) = over(by(By::RoundRobin), [1, 1]);
    a.fails(down());
    calls(&balance, 20).await;
    assert_eq!((a.calls(), b.calls(), balance.admitted()), (3, 20, vec![false, true]));
    advance(TEN + Duration::from_millis(1)).await;
    calls(&balance, 20).await;
    assert_eq!((a.calls(), b.calls()), (1, 20), "one call finds out");
    a.fails(None);
    advance(TEN + Duration::from_millis(1)).await;
    calls(&balance, 20).await;
    assert_eq!(balance.admitted(), [true, true]);
    assert!(a.calls() >= 10);
}

#[tokio::test(start_paused = true)]
async fn while_one_call_finds_out_the_others_pass_it_over() {
    let (balance, [a, _]) = over(by(By::RoundRobin), [1, 1]);
    a.fails(down());
    calls(&balance, 20).await;
    a.calls();
    a.turns.forget_permits(1 << 20);
    advance(TEN + Duration::from_millis(1)).await;
    let finds_out = tokio::spawn({
        let balance = balance.clone();
        async move { call(&balance).await }
    });
    while a.calls.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    let others = tokio::time::timeout(Duration::from_secs(1), calls(&balance, 9)).await;
    others.expect("they tried the one that is being tried");
    assert_eq!(a.calls(), 1);
    finds_out.abort();
}

#[tokio::test(start_paused = true)]
async fn failures_that_are_not_in_a_row_eject_nobody_and_permanent_ones_never() {
    let (balance, [a]) = over(by(By::RoundRobin), [1]);
    for _ in 0..5 {
        a.fails(down());
        for _ in 0..2 {
            call(&balance).await.unwrap_err();
        }
        a.fails(None);
        call(&balance).await.unwrap();
    }
    a.fails(Error::new(ErrorKind::Rejected, "no"));
    for _ in 0..5 {
        call(&balance).await.unwrap_err();
    }
    assert_eq!(balance.admitted(), [true]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_asks_for_longer_is_passed_over_for_longer() {
    let (balance, [a, _]) = over(by(By::RoundRobin), [1, 1]);
    a.fails(down().with_retry_after(TEN * 3));
    calls(&balance, 20).await;
    a.calls();
    advance(TEN * 2).await;
    calls(&balance, 20).await;
    assert_eq!(a.calls(), 0);
    advance(TEN * 2).await;
    calls(&balance, 20).await;
    assert_eq!(a.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_all_are_passed_over_each_is_tried_once_in_a_call_and_the_last_error_comes_as_it_was() {
    let (balance, peers) = over(by(By::RoundRobin), [1, 1, 1]);
    peers.iter().for_each(|peer| peer.fails(down().exhausted()));
    for _ in 0..9 {
        let error = call(&balance).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Connect, Status::Exhausted));
        assert_eq!(peers.each_ref().map(|peer| peer.calls()), [1, 1, 1]);
    }
    assert_eq!(balance.admitted(), [false; 3]);
    peers[1].fails(None);
    calls(&balance, 9).await;
    assert!(balance.admitted()[1]);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_delivered_goes_to_another_only_with_an_id() {
    let (balance, peers) = over(by(By::RoundRobin), [1, 1]);
    peers.iter().for_each(|peer| peer.fails(down().with_sent(Sent::Maybe)));
    call(&balance).await.unwrap_err();
    assert_eq!(peers.each_ref().map(|peer| peer.calls()).iter().sum::<usize>(), 1);
    balance.deliver(Packet::text("x").identified()).await.unwrap_err();
    assert_eq!(peers.map(|peer| peer.calls()), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_what_one_member_failed_is_delivered_by_another_and_nothing_twice() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let member = |parity: usize| {
        let seen = seen.clone();
        Shared::new(service_fn(move |batch: Batch| {
            let outcome = |packet: &Packet| match packet.len() % 2 == parity {
                true => {
                    seen.lock().unwrap().push(packet.len());
                    Ok(Receipt::new(Level::Stored, None).with_reference(parity.to_string()))
                }
                false => Err(down().exhausted()),
            };
            let outcomes = batch.packets().iter().map(outcome).collect();
            async { Ok(outcomes) }
        }))
    };
    let balance = BalanceLayer::new(by(By::RoundRobin), [Member::new(member(1))]).unwrap().layer(member(0));
    let batch: Batch = (0..9).map(|len| Packet::text("x".repeat(len))).collect();
    for _ in 0..2 {
        let outcomes = balance.deliver_all(batch.clone()).await.unwrap();
        for (len, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome.as_ref().unwrap().reference.as_deref(), Some(["0", "1"][len % 2]));
        }
        let mut all = std::mem::take(&mut *seen.lock().unwrap());
        all.sort_unstable();
        assert_eq!(all, (0..9).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_is_under_way_no_more() {
    let (balance, [a]) = over(by(By::LeastInFlight), [1]);
    a.turns.forget_permits(1 << 20);
    let call = tokio::spawn({
        let balance = balance.clone();
        async move { call(&balance).await }
    });
    tokio::task::yield_now().await;
    assert!(balance.seats[0].load() > 0.0);
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert!(balance.seats[0].load() == 0.0);
}

#[test]
fn options_come_from_toml_and_wrong_ones_are_refused() {
    let options: BalanceOptions =
        toml::from_str("by = \"least_in_flight\"\neject = 1\nreadmit = \"1m\"").unwrap();
    let readmit = Duration::from_secs(60);
    assert_eq!(options, BalanceOptions { by: By::LeastInFlight, eject: 1, readmit });
    assert!(toml::from_str::<BalanceOptions>("by = \"luck\"").is_err());
    assert!(toml::from_str::<BalanceOptions>("ejct = 1").is_err());
    let members = |count: usize, weight: u32| vec![Member::new(()).weight(weight); count];
    for (text, members) in [
        ("eject = 0", members(1, 1)),
        ("readmit = 0", members(1, 1)),
        ("", members(0, 1)),
        ("", members(MAX_MEMBERS + 1, 1)),
        ("", members(1, 0)),
        ("", members(1, 1001)),
    ] {
        let error = Balance::new(toml::from_str(text).unwrap(), members).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
    }
    assert!(Balance::new(BalanceOptions::default(), members(MAX_MEMBERS, 1000)).is_ok());
    assert!(BalanceLayer::new(BalanceOptions::default(), members(MAX_MEMBERS, 1)).is_err());
}
