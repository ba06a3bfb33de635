//! The mock does what a test tells it to.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use haul_core::{Deliver, DeliverAll, Error, ErrorKind, Level, Packet, Sink};
use haul_mock::Mock;

fn packets(texts: &[&str]) -> Vec<Packet> {
    texts.iter().map(|text| Packet::text(*text)).collect()
}

fn busy() -> Error {
    Error::new(ErrorKind::Overloaded, "busy")
}

fn failures(outcomes: &[haul_core::Result<haul_core::Receipt>]) -> Vec<bool> {
    outcomes.iter().map(Result::is_err).collect()
}

#[tokio::test]
async fn the_next_n_packets_fail_and_only_the_others_are_recorded() {
    let mock = Mock::new();
    mock.fail_next(2, busy());
    let outcomes = mock.deliver_all(packets(&["a", "b", "c"])).await.unwrap();
    assert_eq!(failures(&outcomes), [true, true, false]);
    assert_eq!(outcomes[2].as_ref().unwrap().level, Level::Acknowledged);
    assert_eq!(mock.packets(), packets(&["c"]));
    assert_eq!((mock.count(), mock.attempts()), (1, 3));
}

#[tokio::test]
async fn it_fails_always_until_it_recovers() {
    let mock = Mock::new();
    mock.fail_always(busy());
    for _ in 0..3 {
        assert_eq!(mock.deliver(Packet::text("a")).await.unwrap_err().message(), "busy");
        assert!(mock.ready().await.is_err());
    }
    mock.recover();
    mock.ready().await.unwrap();
    mock.deliver(Packet::text("b")).await.unwrap();
    assert_eq!(mock.packets(), packets(&["b"]));
}

#[tokio::test]
async fn a_closure_chooses_which_packets_of_a_batch_fail() {
    let mock = Mock::new();
    mock.fail_when(|packet| (packet.as_text() == Some("b")).then(busy));
    let outcomes = mock.deliver_all(packets(&["a", "b", "c"])).await.unwrap();
    assert_eq!(failures(&outcomes), [false, true, false]);
    assert_eq!(mock.packets(), packets(&["a", "c"]));
}

#[tokio::test]
async fn held_calls_wait_until_they_are_released_and_a_dropped_one_delivers_nothing() {
    let deadline = Duration::from_secs(10);
    let mock = Mock::new();
    mock.hold();
    let spawn = |text: &'static str| {
        let mock = mock.clone();
        tokio::spawn(async move { mock.deliver(Packet::text(text)).await })
    };
    let (kept, cancelled) = (spawn("kept"), spawn("cancelled"));
    let held = tokio::time::timeout(deadline, mock.wait_until_held(2)).await;
    held.expect("two calls to be held");
    assert_eq!(mock.count(), 0);
    cancelled.abort();
    assert!(cancelled.await.unwrap_err().is_cancelled());
    mock.release();
    let counted = tokio::time::timeout(deadline, mock.wait_for_count(1)).await;
    counted.expect("the kept packet to arrive");
    kept.await.unwrap().unwrap();
    assert_eq!(mock.packets(), packets(&["kept"]));
}

#[tokio::test]
async fn a_full_record_lets_the_oldest_go_and_says_so() {
    let mock = Mock::new().with_capacity(2).with_level(Level::Stored);
    let outcomes = mock.deliver_all(packets(&["a", "b", "c"])).await.unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap().level, Level::Stored);
    assert_eq!(mock.packets(), packets(&["b", "c"]));
    assert_eq!((mock.count(), mock.dropped()), (3, 1));
}

#[tokio::test]
async fn reset_makes_it_as_new_and_close_closes_it() {
    let mock = Mock::new();
    mock.deliver(Packet::text("a")).await.unwrap();
    mock.fail_always(busy());
    mock.close().await.unwrap();
    assert_eq!(mock.deliver(Packet::text("b")).await.unwrap_err().kind(), ErrorKind::Closed);
    mock.reset();
    assert_eq!((mock.count(), mock.attempts(), mock.packets().len()), (0, 0, 0));
    mock.deliver(Packet::text("c")).await.unwrap();
}
