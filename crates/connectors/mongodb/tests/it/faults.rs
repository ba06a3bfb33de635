//! Servers that are away, stuck or killed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use haul_core::{Deliver, DeliverAll, ErrorKind, Packet, Sent, Sink, Status};
use haul_faults::{Cut, TcpFaults, TcpRelay};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::net::TcpListener;

use crate::server::Ferret;
use crate::support::{facts, payloads, sink, soon};

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_have_got_nothing() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let sink = sink(&format!("mongodb://u:secret@127.0.0.1:{port}/db?collection=c&connect_timeout=300ms"));
    for why in [sink.ready().await.unwrap_err(), sink.deliver(Packet::text("x")).await.unwrap_err()] {
        assert_eq!(facts(&why), (ErrorKind::Connect, Status::Transient, Sent::No), "{why}");
        assert!(why.to_string().contains(&format!("127.0.0.1:{port}")), "{why}");
        assert!(!format!("{why:?}").contains("secret"), "{why:?}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sink = Arc::new(sink(&format!("mongodb://127.0.0.1:{port}/db?collection=c&connect_timeout=1s")));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let sink = sink.clone();
        calls.spawn(async move { sink.deliver(Packet::text("x")).await });
    }
    // Together, not one after the other.
    for outcome in soon("the timeouts", calls.join_all()).await {
        let why = outcome.unwrap_err();
        assert_eq!(facts(&why), (ErrorKind::Connect, Status::Transient, Sent::No), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_is_given_up_on_and_used_again_when_it_moves() {
    let Some(ferret) = Ferret::start(&[]) else { return };
    // Nobody else looks at it meanwhile.
    let options = "collection=c&connect_timeout=500ms&timeout=500ms&heartbeatFrequencyMS=600000";
    given_up_on_and_used_again(&ferret, options, ErrorKind::Timeout).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_when_the_watch_gave_a_server_up_may_have_arrived() {
    let Some(ferret) = Ferret::start(&[]) else { return };
    let options = "collection=c&connect_timeout=3s&timeout=10m&heartbeatFrequencyMS=500";
    given_up_on_and_used_again(&ferret, options, ErrorKind::Closed).await;
}

async fn given_up_on_and_used_again(ferret: &Ferret, options: &str, kind: ErrorKind) {
    let sink = sink(&ferret.url(options));
    soon("a delivery", async { while sink.deliver(Packet::text("1")).await.is_err() {} }).await;
    let packet = Packet::text("2").identified();
    tokio::task::block_in_place(|| ferret.stand_still());
    let why = soon("the failure", sink.deliver(packet.clone())).await.unwrap_err();
    assert_eq!(facts(&why), (kind, Status::Transient, Sent::Maybe), "{why}");
    ferret.go_on();
    soon("a delivery", async { while sink.deliver(packet.clone()).await.is_err() {} }).await;
    let there = payloads(ferret.port, "c").await;
    assert_eq!(there.iter().filter(|text| *text == "2").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_is_found_again() {
    let Some(mut ferret) = Ferret::start(&[]) else { return };
    let sink = sink(&ferret.url("collection=c&connect_timeout=1s"));
    soon("a delivery", async { while sink.deliver(Packet::text("1")).await.is_err() {} }).await;
    tokio::task::block_in_place(|| ferret.stop());
    let packet = Packet::text("2").identified();
    let why = soon("the failure", sink.deliver(packet.clone())).await.unwrap_err();
    assert_eq!(why.status(), Status::Transient, "{why}");
    assert_eq!(sink.ready().await.unwrap_err().kind(), ErrorKind::Connect);
    tokio::task::block_in_place(|| ferret.start_again());
    soon("a delivery", async { while sink.deliver(packet.clone()).await.is_err() {} }).await;
    soon("ready", sink.ready()).await.unwrap();
    assert_eq!(payloads(ferret.port, "c").await.last().unwrap(), "2");
}

/// Delivers all packets in batches of random sizes, each until it is answered: at least once. Answers those that nobody
/// could tell apart, as they have no id, and that may be there twice.
async fn deliver(url: String, seed: u64, many: u32) -> BTreeSet<String> {
    let (sink, mut dice) = (sink(&url), SmallRng::seed_from_u64(seed));
    let all: Vec<_> = (0..many).map(|number| Packet::text(number.to_string())).collect();
    let mut all =
        all.into_iter().map(|packet| if dice.random_bool(0.7) { packet.identified() } else { packet });
    let (mut sizes, mut twice) = (SmallRng::seed_from_u64(seed ^ 1), BTreeSet::new());
    loop {
        let mut rest: Vec<_> = all.by_ref().take(sizes.random_range(1..40)).collect();
        if rest.is_empty() {
            return twice;
        }
        while !rest.is_empty() {
            let outcomes = sink.deliver_all(rest.clone()).await.unwrap();
            let mut left = Vec::new();
            for (packet, outcome) in rest.into_iter().zip(outcomes) {
                let Err(why) = outcome else { continue };
                assert_eq!(why.status(), Status::Transient, "{why}");
                if why.sent() == Sent::Maybe && packet.id().is_none() {
                    twice.insert(packet.as_text().unwrap().to_owned());
                }
                left.push(packet);
            }
            rest = left;
            // Faults come in between.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// All is there, and twice only what may be.
async fn all_is_there(port: u16, collection: &str, many: u32, twice: &BTreeSet<String>) {
    let mut there: Vec<String> = payloads(port, collection)
        .await
        .iter()
        .map(|text| String::from_utf8(text.to_vec()).unwrap())
        .collect();
    there.sort_by_key(|text| text.parse::<u32>().unwrap());
    let more: Vec<_> =
        there.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone()).collect();
    there.dedup();
    let want: Vec<_> = (0..many).map(|number| number.to_string()).collect();
    assert_eq!(there, want, "what is there once or more");
    let invented: Vec<_> = more.iter().filter(|text| !twice.contains(*text)).collect();
    assert_eq!(invented, Vec::<&String>::new(), "what is there twice though nothing was unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn through_kills_and_shutdowns_nothing_is_missing_or_invented() {
    const MANY: u32 = 600;
    let Some(mut ferret) = Ferret::start(&[]) else { return };
    let seed = haul_services::seed(7);
    println!("seed {seed}");
    let sending = tokio::spawn(deliver(ferret.url("collection=kept&connect_timeout=2s"), seed, MANY));
    let mut dice = SmallRng::seed_from_u64(seed ^ 2);
    for _ in 0..haul_services::kills() {
        tokio::time::sleep(Duration::from_millis(dice.random_range(20..300))).await;
        let kills = dice.random_bool(0.6);
        tokio::task::block_in_place(|| {
            if kills {
                ferret.kill();
            } else {
                ferret.stop();
            }
            ferret.start_again();
        });
    }
    let twice = soon("all to be answered", sending).await.unwrap();
    all_is_there(ferret.port, "kept", MANY, &twice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_connections_that_are_reset_nothing_is_missing_or_invented() {
    const MANY: u32 = 400;
    let Some(ferret) = Ferret::start(&[]) else { return };
    let seed = haul_services::seed(11);
    println!("seed {seed}");
    let to = format!("127.0.0.1:{}", ferret.port).parse().unwrap();
    let relay = TcpRelay::new(to, seed, TcpFaults::default()).await.unwrap();
    let url = ferret.url("collection=kept&connect_timeout=2s");
    let url = url.replace(&ferret.port.to_string(), &relay.address().port().to_string());
    let sending = tokio::spawn(deliver(url, seed, MANY));
    let mut dice = SmallRng::seed_from_u64(seed ^ 2);
    for _ in 0..haul_services::histories(10) {
        tokio::time::sleep(Duration::from_millis(dice.random_range(20..200))).await;
        relay.cut(Cut::Reset);
    }
    let twice = soon("all to be answered", sending).await.unwrap();
    all_is_there(ferret.port, "kept", MANY, &twice).await;
}
