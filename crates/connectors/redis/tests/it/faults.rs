//! Servers that are away, stuck, full, or do not know us.

use std::process::Command;

use haul_core::{
    Deliver, DeliverAll, Endpoint, ErrorKind, Level, Packet, Receipt, Sent, Sink, Source, Status,
};
use haul_redis::{GroupConfig, RedisConfig, RedisSink, RedisSource};
use tempfile::TempDir;

use crate::support::{self, Redis, entries, soon};

fn sink(url: &str) -> RedisSink {
    RedisSink::new(RedisConfig::from_endpoint(&Endpoint::parse(url).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_have_got_nothing() {
    let sink = sink(&format!("redis://127.0.0.1:{}/x", support::closed_port().await));
    let why = sink.ready().await.unwrap_err();
    assert_eq!(
        (why.kind(), why.status(), why.sent()),
        (ErrorKind::Connect, Status::Transient, Sent::No),
        "{why}"
    );
    let why = sink.deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Connect, Sent::No), "{why}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_for_good_and_the_right_one_works() {
    let Some(redis) = Redis::start(&["--requirepass", "secret"]) else { return };
    for url in ["redis://", "redis://:wrong@"] {
        let why =
            sink(&format!("{url}127.0.0.1:{}/x", redis.port)).deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!(
            (why.kind(), why.status(), why.sent()),
            (ErrorKind::Unauthorized, Status::Permanent, Sent::No),
            "{why}"
        );
        assert!(!format!("{why:?}").contains("wrong"), "it shows the password: {why:?}");
    }
    sink(&format!("redis://:secret@127.0.0.1:{}/x", redis.port)).deliver(Packet::text("x")).await.unwrap();
}

#[tokio::test]
async fn tls_trusts_whom_it_is_told_to_and_shows_who_it_is() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["right", "wrong"] {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(file(&format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(file(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    let [cert, key] = ["right.pem", "right.key"].map(file);
    let port = support::closed_port().await;
    let at_port = port.to_string();
    let tls = ["--tls-port", &at_port, "--tls-cert-file", &cert, "--tls-key-file", &key];
    let tls = [&tls[..], &["--tls-ca-cert-file", &cert, "--tls-auth-clients", "yes"]].concat();
    let Some(redis) = Redis::start(&tls) else { return };
    let url = |scheme: &str, rest: &str| format!("{scheme}://127.0.0.1:{port}/x?connect_timeout=60s{rest}");
    let known = format!("&ca={cert}&cert={cert}&key={key}");
    sink(&url("rediss", &known)).deliver(Packet::text("secret")).await.unwrap();
    let why = sink(&url("rediss", &format!("&ca={}", file("wrong.pem"))));
    let why = soon("a refusal", why.deliver(Packet::text("x"))).await.unwrap_err();
    let facts = (why.kind(), why.status(), why.sent());
    assert_eq!(facts, (ErrorKind::Tls, Status::Permanent, Sent::No), "{why}");
    // Nobody is let in who shows no certificate, or speaks in the clear.
    for refused in [url("rediss", &format!("&ca={cert}")), url("redis", "")] {
        let why = soon("a refusal", sink(&refused).deliver(Packet::text("x"))).await.unwrap_err();
        assert_eq!(why.sent(), Sent::No, "{why}");
    }
    assert_eq!(entries(redis.port, "x").await.len(), 1);
}

#[tokio::test]
async fn calls_to_a_server_that_never_answers_do_not_wait_for_one_another() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sink = sink(&format!("redis://{}/x?connect_timeout=1s", silent.local_addr().unwrap()));
    let sink = std::sync::Arc::new(sink);
    // One after the other, they would take longer than we wait.
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let sink = sink.clone();
        calls.spawn(async move { sink.deliver(Packet::text("x")).await });
    }
    for answer in soon("the answers", calls.join_all()).await {
        let why = answer.unwrap_err();
        assert_eq!((why.kind(), why.sent()), (ErrorKind::Timeout, Sent::No), "{why}");
    }
}

#[tokio::test]
async fn a_server_that_is_full_refuses_and_may_be_asked_again() {
    let Some(redis) = Redis::start(&["--maxmemory", "1mb", "--maxmemory-policy", "noeviction"]) else {
        return;
    };
    let sink = sink(&format!("redis://127.0.0.1:{}/x?pipeline=10", redis.port));
    let batch: Vec<_> = (0..200).map(|n| Packet::text(format!("{n}{}", "x".repeat(100_000)))).collect();
    let outcomes = sink.deliver_all(batch).await.unwrap();
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(stored, entries(redis.port, "x").await.len());
    for why in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(
            (why.kind(), why.status(), why.sent()),
            (ErrorKind::Overloaded, Status::Transient, Sent::No),
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up_on_and_used_again_when_it_moves() {
    let Some(redis) = Redis::start(&[]) else { return };
    let sink = sink(&format!("redis://127.0.0.1:{}/x?timeout=300ms", redis.port));
    sink.deliver(Packet::text("1")).await.unwrap();
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &redis.pid().to_string()]).status().unwrap().success());
    };
    signal("-STOP");
    let why = soon("the timeout", sink.deliver(Packet::text("2"))).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Timeout, Sent::Maybe), "{why}");
    signal("-CONT");
    soon("a delivery", async { while sink.deliver(Packet::text("3")).await.is_err() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_kills_and_restarts_all_that_was_answered_is_there_and_the_source_gives_it() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let url = format!("redis://127.0.0.1:{}/x", redis.port);
    let sending = tokio::spawn({
        let sink = sink(&url);
        async move {
            let mut answered = Vec::new();
            for round in 0..60u32 {
                let batch: Vec<_> = (0..50).map(|n| Packet::text((round * 50 + n).to_string())).collect();
                // Each batch until it is answered whole: at least once.
                let mut rest = batch;
                while !rest.is_empty() {
                    let outcomes = sink.deliver_all(rest.clone()).await.unwrap();
                    let mut left = Vec::new();
                    for (packet, outcome) in rest.into_iter().zip(outcomes) {
                        match outcome {
                            Ok(_) => answered.push(packet.as_text().unwrap().to_owned()),
                            Err(why) => {
                                assert_eq!(why.status(), Status::Transient, "{why}");
                                left.push(packet);
                            }
                        }
                    }
                    rest = left;
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            }
            answered
        }
    });
    let group = GroupConfig::from_endpoint(&Endpoint::parse(&url).unwrap()).unwrap();
    let reading = tokio::spawn(async move {
        let mut source = RedisSource::new(group).unwrap();
        let mut seen = std::collections::HashSet::new();
        while seen.len() < 3000 {
            let delivery = source.next().await.unwrap().unwrap();
            let text = delivery.packet().as_text().unwrap().to_owned();
            // One whose acknowledgement is lost comes again.
            if delivery.ack(Receipt::new(Level::Stored, None)).await.is_ok() {
                seen.insert(text);
            }
        }
    });
    for _ in 0..haul_services::kills().min(10) {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        tokio::task::block_in_place(|| redis.kill_and_start());
    }
    let answered = soon("all to be answered", sending).await.unwrap();
    assert_eq!(answered.len(), 3000);
    let there: std::collections::HashSet<_> = entries(redis.port, "x")
        .await
        .into_iter()
        .map(|(_, mut fields)| String::from_utf8(fields.remove("event_data").unwrap().to_vec()).unwrap())
        .collect();
    let missing: Vec<_> = answered.iter().filter(|text| !there.contains(*text)).collect();
    assert!(missing.is_empty(), "answered and not there: {missing:?}");
    soon("all to be read", reading).await.unwrap();
}

#[tokio::test]
async fn what_a_dead_consumer_was_given_is_taken_over() {
    let Some(redis) = Redis::start(&[]) else { return };
    let url = format!("redis://127.0.0.1:{}/{}", redis.port, support::fresh("claim"));
    sink(&url).deliver(Packet::text("left behind")).await.unwrap();
    let consumer = |options: &str| {
        let endpoint = Endpoint::parse(&format!("{url}?{options}")).unwrap();
        RedisSource::new(GroupConfig::from_endpoint(&endpoint).unwrap()).unwrap()
    };
    let mut dead = consumer("consumer=dead");
    let delivery = soon("the packet", dead.next()).await.unwrap().unwrap();
    std::mem::forget(delivery);
    drop(dead);
    let delivery = soon("the packet", consumer("consumer=alive&claim=100ms").next()).await.unwrap().unwrap();
    assert_eq!(delivery.packet().as_text(), Some("left behind"));
}
