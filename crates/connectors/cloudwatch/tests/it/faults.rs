//! Servers that are away, stuck, or do not know us.

use std::process::Command;

use haul_cloudwatch::{CloudwatchConfig, CloudwatchSink};
use haul_core::{Deliver, DeliverAll, Endpoint, ErrorKind, Packet, Result, Sent, Sink, Status};

use crate::support::{Moto, sink, soon};

async fn deliver(sink: &CloudwatchSink) {
    soon("a delivery", async { while sink.deliver(Packet::text("x")).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_have_got_nothing() {
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let sink = sink(port, "g", "create=true");
    for why in [sink.ready().await.unwrap_err(), sink.deliver(Packet::text("x")).await.unwrap_err()] {
        let facts = (why.kind(), why.status(), why.sent());
        assert_eq!(facts, (ErrorKind::Connect, Status::Transient, Sent::No), "{why}");
    }
}

#[tokio::test]
async fn a_key_that_the_server_does_not_know_is_refused_for_good_and_not_shown() {
    let Some(moto) = Moto::with(&["INITIAL_NO_AUTH_ACTION_COUNT=0".to_owned()]) else { return };
    let why = sink(moto.port, "g", "").deliver(Packet::text("x")).await.unwrap_err();
    let facts = (why.kind(), why.status(), why.sent());
    assert_eq!(facts, (ErrorKind::Unauthorized, Status::Permanent, Sent::No), "{why}");
    assert!(!format!("{why:?}").contains("secret"), "{why:?}");
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up_on_and_used_again_when_it_moves() {
    let Some(moto) = Moto::start() else { return };
    let sink = sink(moto.port, "g", "create=true&timeout=500ms");
    deliver(&sink).await;
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &moto.pid().to_string()]).status().unwrap().success());
    };
    signal("-STOP");
    let why = soon("the timeout", sink.deliver(Packet::text("x"))).await.unwrap_err();
    let facts = (why.kind(), why.status(), why.sent());
    assert_eq!(facts, (ErrorKind::Timeout, Status::Transient, Sent::Maybe), "{why}");
    signal("-CONT");
    deliver(&sink).await;
}

/// The double forgets its groups when it is killed: what comes after that is conserved.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_is_found_again_and_has_what_is_answered_after_that() {
    let Some(mut moto) = Moto::start() else { return };
    let sink = sink(moto.port, "g", "create=true&timeout=5s");
    deliver(&sink).await;
    tokio::task::block_in_place(|| moto.kill());
    let why = sink.deliver(Packet::text("lost")).await.unwrap_err();
    assert_eq!(why.status(), Status::Transient, "{why}");
    tokio::task::block_in_place(|| moto.start_again());
    let packets: Vec<_> = (0..500).map(|n| Packet::text(n.to_string())).collect();
    let outcomes = sink.deliver_all(packets).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let there: Vec<_> = moto.read_all("g", "haul").await.iter().map(|event| event.payload()).collect();
    assert_eq!(there, (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_ca_that_is_named_is_trusted_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["right", "wrong"] {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(file(&format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(file(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    let tls = ["-c", &file("right.pem"), "-k", &file("right.key")].map(str::to_owned);
    let Some(moto) = Moto::with(&tls) else { return };
    let sink = |ca: &str| {
        let at = format!("https://127.0.0.1:{}&ca={}", moto.port, file(ca));
        let url = format!("cloudwatch://k:s@us-east-1/g?create=true&endpoint={at}");
        CloudwatchSink::new(CloudwatchConfig::from_endpoint(&Endpoint::parse(&url)?)?)
    };
    sink("right.pem").unwrap().ready().await.unwrap();
    let why = sink("wrong.pem").unwrap().ready().await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Tls, Sent::No), "{why}");
}
