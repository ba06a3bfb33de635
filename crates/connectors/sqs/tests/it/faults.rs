//! Servers that are away, stuck, or do not know us, and connections that are cut.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use haul_core::{
    Deliver, DeliverAll, Endpoint, ErrorKind, Level, Packet, Receipt, Sent, Sink, Source, Status,
};
use haul_faults::{Cut, TcpFaults, TcpRelay};
use haul_sqs::{SqsConfig, SqsSink};

use crate::support::{Moto, sink, soon, source};

fn packets(count: u32) -> Vec<Packet> {
    (0..count).map(|n| Packet::text(n.to_string()).identified()).collect()
}

/// Delivers until all is answered, in order, at least once.
async fn deliver_all(sink: &SqsSink, mut rest: Vec<Packet>) {
    soon("all to be delivered", async {
        while !rest.is_empty() {
            let outcomes = sink.deliver_all(rest.clone()).await.unwrap();
            let mut left = Vec::new();
            for (packet, outcome) in rest.into_iter().zip(outcomes) {
                if let Err(why) = outcome {
                    assert_eq!(why.status(), Status::Transient, "{why}");
                    left.push(packet);
                }
            }
            rest = left;
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_have_got_nothing() {
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let sink = sink(port, "q", "");
    for why in [sink.ready().await.unwrap_err(), sink.deliver(Packet::text("x")).await.unwrap_err()] {
        let facts = (why.kind(), why.status(), why.sent());
        assert_eq!(facts, (ErrorKind::Connect, Status::Transient, Sent::No), "{why}");
        assert!(why.to_string().contains("refused"), "{why}");
    }
}

#[tokio::test]
async fn a_key_that_the_server_does_not_know_is_refused_for_good_and_not_shown() {
    let Some(moto) = Moto::with(&["INITIAL_NO_AUTH_ACTION_COUNT=0".to_owned()]) else { return };
    let sink = sink(moto.port, "q", "");
    for why in [sink.ready().await.unwrap_err(), sink.deliver(Packet::text("x")).await.unwrap_err()] {
        let facts = (why.kind(), why.status(), why.sent());
        assert_eq!(facts, (ErrorKind::Unauthorized, Status::Permanent, Sent::No), "{why}");
        assert!(!format!("{why:?}").contains("secret"), "{why:?}");
    }
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up_on_and_used_again_when_it_moves() {
    let Some(moto) = Moto::start() else { return };
    let queue = moto.queue("");
    let sink = sink(moto.port, &queue, "timeout=500ms");
    deliver_all(&sink, packets(1)).await;
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &moto.pid().to_string()]).status().unwrap().success());
    };
    signal("-STOP");
    let why = soon("the timeout", sink.deliver(Packet::text("2"))).await.unwrap_err();
    let facts = (why.kind(), why.status(), why.sent());
    assert_eq!(facts, (ErrorKind::Timeout, Status::Transient, Sent::Maybe), "{why}");
    signal("-CONT");
    deliver_all(&sink, packets(1)).await;
}

/// The double forgets its queues when it is killed, so that only what comes after that is conserved; behind the relay nobody
/// sees it without them.
#[tokio::test(flavor = "multi_thread")]
async fn sink_and_source_find_back_to_a_server_that_was_killed() {
    let Some(mut moto) = Moto::start() else { return };
    let queue = moto.queue("");
    let relay = relay(&moto, TcpFaults::default()).await;
    let sink = sink(relay.address().port(), &queue, "timeout=5s");
    let mut source = source(relay.address().port(), &queue, "wait=1s");
    for _ in 0..haul_services::kills().min(3) {
        let sent = packets(40);
        deliver_all(&sink, sent.clone()).await;
        let mut open: HashSet<_> = sent.iter().map(Packet::id).collect();
        while !open.is_empty() {
            let delivery = soon("a packet", source.next()).await.unwrap().unwrap();
            assert!(open.remove(&delivery.packet().id()), "{:?} came again", delivery.packet());
            delivery.ack(Receipt::new(Level::Stored, None)).await.unwrap();
        }
        relay.refuse();
        tokio::task::block_in_place(|| moto.kill());
        let why = sink.deliver(Packet::text("lost")).await.unwrap_err();
        assert_eq!(why.status(), Status::Transient, "{why}");
        tokio::task::block_in_place(|| {
            moto.start_again();
            moto.make(&queue);
        });
        relay.go_on();
    }
    deliver_all(&sink, packets(1)).await;
}

async fn relay(moto: &Moto, faults: TcpFaults) -> TcpRelay {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, moto.port));
    TcpRelay::new(target, haul_services::seed(7), faults).await.unwrap()
}

/// Connections live until about as many bytes as ten messages have; the server closes each after its answer.
fn resets(bytes: u64) -> TcpFaults {
    TcpFaults { cut_after: Some((bytes, Cut::Reset)), ..TcpFaults::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_connections_that_are_reset_each_packet_is_once_and_in_order_in_a_fifo_queue() {
    let Some(moto) = Moto::start() else { return };
    let queue = moto.queue(".fifo");
    let relay = relay(&moto, resets(2500)).await;
    let sent = packets(300);
    deliver_all(&sink(relay.address().port(), &queue, "group=all&timeout=5s"), sent.clone()).await;
    assert!(relay.stats().cut > 0, "{:?}", relay.stats());
    let there = moto.read_all(&queue).await;
    let there: Vec<_> = there.iter().map(|message| message.text("body").unwrap().to_owned()).collect();
    assert_eq!(there, (0..300).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn through_connections_that_are_reset_a_source_gives_all_at_least_once() {
    let Some(moto) = Moto::start() else { return };
    let queue = moto.queue("");
    deliver_all(&sink(moto.port, &queue, ""), packets(300)).await;
    let relay = relay(&moto, resets(4000)).await;
    let mut source = source(relay.address().port(), &queue, "wait=1s&visibility=2s&timeout=5s");
    let mut seen = HashSet::new();
    while seen.len() < 300 {
        let delivery = soon("a packet", source.next()).await.unwrap().unwrap();
        let text = delivery.packet().as_text().unwrap().to_owned();
        // One whose acknowledgement is lost may come again.
        if delivery.ack(Receipt::new(Level::Stored, None)).await.is_ok() {
            seen.insert(text);
        }
    }
    assert!(relay.stats().cut > 0, "{:?}", relay.stats());
    assert_eq!(seen, (0..300).map(|n| n.to_string()).collect());
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
        let url = format!("sqs://k:s@us-east-1/q?endpoint=https://127.0.0.1:{}&ca={}", moto.port, file(ca));
        SqsSink::new(SqsConfig::from_endpoint(&Endpoint::parse(&url)?)?)
    };
    let why = sink("right.pem").unwrap().ready().await.unwrap_err();
    assert_eq!(why.kind(), ErrorKind::NotFound, "the server answered: {why}");
    let why = sink("wrong.pem").unwrap().ready().await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Tls, Sent::No), "{why}");
    std::fs::write(file("no.pem"), "no certificate").unwrap();
    for ca in ["no.pem", "right.key", "missing.pem"] {
        assert_eq!(sink(ca).unwrap_err().kind(), ErrorKind::Config, "{ca}");
    }
}
