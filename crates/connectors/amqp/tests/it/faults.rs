//! Connections that are refused, cut and silent, and queues that go.

use std::collections::HashSet;

use haul_core::{
    Deliver, DeliverAll, Endpoint, ErrorKind, Level, Packet, Receipt, Sent, Sink, Source, Status,
};
use haul_faults::{Cut, TcpFaults, TcpRelay};

use crate::support::{Rabbit, closed_port, fresh, payloads, shared, sink, soon};

/// A relay to the server, and the URL through it.
async fn relay(rabbit: &Rabbit, seed: u64, faults: TcpFaults) -> (TcpRelay, String) {
    let relay = TcpRelay::new(([127, 0, 0, 1], rabbit.port).into(), seed, faults).await.unwrap();
    let url = format!("amqp://{}", relay.address());
    (relay, url)
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_have_got_nothing() {
    let sink = sink(&format!("amqp://127.0.0.1:{}?queue=q", closed_port()));
    for why in [sink.ready().await.unwrap_err(), sink.deliver(Packet::text("x")).await.unwrap_err()] {
        assert_eq!(
            (why.kind(), why.status(), why.sent()),
            (ErrorKind::Connect, Status::Transient, Sent::No),
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_for_good_and_not_shown() {
    let Some(rabbit) = shared() else { return };
    let url = format!("amqp://guest:wr0ng@127.0.0.1:{}?queue=q", rabbit.port);
    let why = sink(&url).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(
        (why.kind(), why.status(), why.sent()),
        (ErrorKind::Unauthorized, Status::Permanent, Sent::No),
        "{why}"
    );
    assert!(!format!("{why:?}").contains("wr0ng"), "it shows the password: {why:?}");
    let endpoint: Endpoint = url.parse().unwrap();
    let config = haul_amqp::ConsumerConfig::from_endpoint(&endpoint).unwrap();
    let mut source = haul_amqp::AmqpSource::new(config).unwrap();
    assert_eq!(soon("the refusal", source.next()).await.unwrap_err().kind(), ErrorKind::Unauthorized);
    assert!(soon("the end", source.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_server_that_is_silent_is_given_up_on_and_used_again_when_it_speaks() {
    let Some(rabbit) = shared() else { return };
    let (relay, url) = relay(rabbit, 1, TcpFaults::default()).await;
    let queue = fresh("silent");
    let sink = sink(&format!("{url}?queue={queue}&declare=true&timeout=2s&connect_timeout=2s"));
    relay.stall();
    let why = soon("the deadline", sink.deliver(Packet::text("0"))).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Timeout, Sent::No), "{why}");
    relay.go_on();
    soon("a delivery", async { while sink.deliver(Packet::text("1")).await.is_err() {} }).await;
    relay.stall();
    let why = soon("the deadline", sink.deliver(Packet::text("2"))).await.unwrap_err();
    assert_eq!(
        (why.kind(), why.status(), why.sent()),
        (ErrorKind::Timeout, Status::Transient, Sent::Maybe),
        "{why}"
    );
    relay.go_on();
    soon("a delivery", async { while sink.deliver(Packet::text("3")).await.is_err() {} }).await;
    assert!(payloads(rabbit, &queue).await.iter().any(|text| text == "3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn through_cuts_by_chance_all_that_was_answered_arrives_and_nothing_else() {
    let Some(rabbit) = shared() else { return };
    for history in 0..haul_services::histories(2) {
        let seed = haul_services::seed(17) + history;
        let queue = fresh("cuts");
        rabbit.declare(&queue).await;
        let faults =
            TcpFaults { cut_after: Some((30_000, Cut::Reset)), split: Some(700), ..Default::default() };
        let (_to, url) = relay(rabbit, seed, faults.clone()).await;
        let sink = sink(&format!("{url}?queue={queue}&window=20"));
        let sending = tokio::spawn(async move {
            for round in 0..40u32 {
                let batch = (0..50).map(|n| Packet::text(format!("{:04}{}", round * 50 + n, "x".repeat(40))));
                let mut rest: Vec<_> = batch.map(Packet::identified).collect();
                // Each until it is answered: at least once.
                while !rest.is_empty() {
                    let outcomes = sink.deliver_all(rest.clone()).await.unwrap();
                    let failed = rest.into_iter().zip(outcomes).filter_map(|(packet, outcome)| {
                        let why = outcome.err()?;
                        assert_eq!(why.status(), Status::Transient, "{why}");
                        Some(packet)
                    });
                    rest = failed.collect();
                }
            }
        });
        let (_from, url) = relay(rabbit, seed + 1, faults).await;
        let config = format!("{url}?queue={queue}&max_unacked=50").parse().unwrap();
        let config = haul_amqp::ConsumerConfig::from_endpoint(&config).unwrap();
        let mut source = haul_amqp::AmqpSource::new(config).unwrap();
        let what = format!("all packets with seed {seed}");
        let seen = soon(&what, async {
            let mut seen = HashSet::new();
            while seen.len() < 2000 {
                let delivery = source.next().await.unwrap().unwrap();
                let number: u32 = delivery.packet().as_text().unwrap()[..4].parse().unwrap();
                assert!(number < 2000);
                seen.insert(number);
                // One whose acknowledgement is lost may come again.
                let _ = delivery.ack(Receipt::new(Level::Stored, None)).await;
            }
            seen
        });
        assert_eq!(seen.await.len(), 2000);
        soon("all to be answered", sending).await.unwrap();
    }
}

#[tokio::test]
async fn a_queue_that_goes_is_the_end_of_a_source_unless_it_is_declared() {
    let Some(rabbit) = shared() else { return };
    let queue = fresh("goes");
    rabbit.declare(&queue).await;
    let mut plain = rabbit.source(&format!("/?queue={queue}"));
    rabbit.sink(&format!("/?queue={queue}")).deliver(Packet::text("1")).await.unwrap();
    let delivery = soon("a packet", plain.next()).await.unwrap().unwrap();
    delivery.ack(Receipt::new(Level::Stored, None)).await.unwrap();
    let (_connection, channel) = rabbit.channel().await;
    channel.queue_delete(queue.as_str().into(), Default::default()).await.unwrap();
    let why = soon("the error", plain.next()).await.unwrap_err();
    assert_eq!((why.kind(), why.status()), (ErrorKind::NotFound, Status::Permanent), "{why}");
    assert!(soon("the end", plain.next()).await.unwrap().is_none());

    let mut declaring = rabbit.source(&format!("/?queue={queue}&declare=true"));
    let sink = rabbit.sink(&format!("/?queue={queue}&declare=true"));
    for text in ["2", "3"] {
        // So that it is there, whoever of the two is first.
        sink.ready().await.unwrap();
        sink.deliver(Packet::text(text)).await.unwrap();
        let delivery = soon("a packet", declaring.next()).await.unwrap().unwrap();
        assert_eq!(delivery.packet().as_text(), Some(text));
        delivery.ack(Receipt::new(Level::Stored, None)).await.unwrap();
        channel.queue_delete(queue.as_str().into(), Default::default()).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_given_when_the_connection_is_lost_cannot_be_acknowledged_and_comes_again() {
    let Some(rabbit) = shared() else { return };
    let queue = fresh("lost");
    rabbit.sink(&format!("/?queue={queue}&declare=true")).deliver(Packet::text("x")).await.unwrap();
    let (relay, url) = relay(rabbit, 3, TcpFaults::default()).await;
    let config = haul_amqp::ConsumerConfig::from_endpoint(
        &format!("{url}?queue={queue}&max_unacked=2").parse().unwrap(),
    );
    let mut source = haul_amqp::AmqpSource::new(config.unwrap()).unwrap();
    let held = soon("the packet", source.next()).await.unwrap().unwrap();
    relay.cut(Cut::Reset);
    let again = soon("the packet again", source.next()).await.unwrap().unwrap();
    let why = held.ack(Receipt::new(Level::Stored, None)).await.unwrap_err();
    assert_eq!(why.kind(), ErrorKind::Closed, "{why}");
    again.ack(Receipt::new(Level::Stored, None)).await.unwrap();
    drop(source);
    assert!(payloads(rabbit, &queue).await.is_empty());
}

#[tokio::test]
async fn calls_to_a_server_that_never_answers_do_not_wait_for_one_another() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://{}?queue=q&connect_timeout=1s", silent.local_addr().unwrap());
    let sink = std::sync::Arc::new(sink(&url));
    // One after the other, they would take longer than we wait.
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let sink = sink.clone();
        calls.spawn(async move { sink.deliver(Packet::text("x")).await });
    }
    for answer in soon("the answers", calls.join_all()).await {
        let why = answer.unwrap_err();
        assert_eq!((why.kind(), why.sent()), (ErrorKind::Timeout, Sent::No), "{why}");
    }
}

#[tokio::test]
async fn tls_is_for_servers_whose_certificate_is_trusted() {
    let Some(rabbit) = shared() else { return };
    let queue = fresh("tls");
    let url = |rest: &str| format!("amqps://127.0.0.1:{}?queue={queue}&declare=true{rest}", rabbit.tls);
    let right = url(&format!("&ca={}", rabbit.ca()));
    sink(&right).deliver(Packet::text("secret")).await.unwrap();
    let config = haul_amqp::ConsumerConfig::from_endpoint(&right.parse().unwrap()).unwrap();
    let mut source = haul_amqp::AmqpSource::new(config).unwrap();
    let delivery = soon("the packet", source.next()).await.unwrap().unwrap();
    assert_eq!(delivery.packet().as_text(), Some("secret"));
    let other = haul_tls::SelfSigned::new(["localhost"]).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("other.pem");
    std::fs::write(&path, other.certificate_pem).unwrap();
    for wrong in [url(&format!("&ca={}", path.display())), url(&format!("&ca={}&sni=elsewhere", rabbit.ca()))]
    {
        let why = sink(&wrong).deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!(
            (why.kind(), why.status(), why.sent()),
            (ErrorKind::Tls, Status::Permanent, Sent::No),
            "{why}"
        );
    }
}
