//! Brokers that are away, stuck, or do not let us in.

use std::collections::HashSet;
use std::time::Duration;

use haul_core::{Deliver, DeliverAll, ErrorKind, Packet, Sent, Sink, Source, Status};
use haul_faults::{Cut, TcpFaults, TcpRelay};
use haul_mqtt::{MqttSink, MqttSource};
use haul_tls::SelfSigned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Ear, Mosquitto, closed_port, numbered, sink, soon, source, stored};

/// Delivers it as soon as that can be done.
async fn delivered(sink: &MqttSink, text: &'static str) {
    soon("a delivery", async { while sink.deliver(Packet::text(text)).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_said_to_have_got_nothing() {
    let (_held, port) = closed_port();
    let sink = sink(&format!("mqtt://127.0.0.1:{port}/x"));
    for why in [sink.ready().await.unwrap_err(), sink.deliver(Packet::text("x")).await.unwrap_err()] {
        assert_eq!(
            (why.kind(), why.status(), why.sent()),
            (ErrorKind::Connect, Status::Transient, Sent::No),
            "{why}"
        );
    }
}

/// The user haul with the password se/cret, as mosquitto_passwd writes it.
const USERS: &str = "haul:$7$101$yUn2ir5C9cKK+kHP$\
    WlZ1F4Cayp+EiituSTfYo/VzcMxlOPuc/mUycWeto6rSuUP1AEOuBsWmfau8FbrHSFkPK5updt2j2DLHiuce2w==";

#[tokio::test]
async fn who_is_not_let_in_is_told_so_for_good_and_others_get_in() {
    let folder = tempfile::TempDir::new().unwrap();
    let users = folder.path().join("users");
    std::fs::write(&users, USERS).unwrap();
    let Some(broker) = Mosquitto::with(&format!("password_file {}", users.display())) else { return };
    let url = |who: &str| format!("mqtt://{who}127.0.0.1:{}/events?mandatory=false", broker.port);
    for wrong in ["", "haul:wr0ng@", "wr0ng@"] {
        let why = sink(&url(wrong)).deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!(
            (why.kind(), why.status(), why.sent()),
            (ErrorKind::Unauthorized, Status::Permanent, Sent::No),
            "{why}"
        );
        assert!(!format!("{why:?}").contains("wr0ng"), "it shows the password: {why:?}");
    }
    let mut source = source(&format!("mqtt://127.0.0.1:{}/events?client_id=c", broker.port));
    assert_eq!(soon("the refusal", source.next()).await.unwrap_err().kind(), ErrorKind::Unauthorized);
    sink(&url("haul:se%2Fcret@")).deliver(Packet::text("x")).await.unwrap();
}

#[tokio::test]
async fn tls_trusts_whom_it_is_told_to() {
    let folder = tempfile::TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let made = SelfSigned::new(["127.0.0.1"]).unwrap();
    let other = SelfSigned::new(["127.0.0.1"]).unwrap();
    let (right, key) = (write("cert.pem", &made.certificate_pem), write("key.pem", &made.key_pem));
    let wrong = write("other.pem", &other.certificate_pem);
    let tls = format!("allow_anonymous true\ncertfile {right}\nkeyfile {key}");
    let Some(broker) = Mosquitto::with(&tls) else { return };
    let url = |ca: &str| format!("mqtts://127.0.0.1:{}/events?mandatory=false&ca={ca}", broker.port);
    let trusting = sink(&url(&right));
    let batch = (0..50).map(|_| Packet::binary(vec![7; 20_000])).collect::<Vec<_>>();
    for outcome in soon("the outcomes", trusting.deliver_all(batch)).await.unwrap() {
        outcome.unwrap();
    }
    trusting.close().await.unwrap();
    let why = sink(&url(&wrong)).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(
        (why.kind(), why.status(), why.sent()),
        (ErrorKind::Tls, Status::Permanent, Sent::No),
        "{why}"
    );
    let plain = sink(&format!("mqtt://127.0.0.1:{}/events?connect_timeout=5s", broker.port));
    let why = plain.deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(why.sent(), Sent::No, "{why}");
}

#[tokio::test]
async fn a_broker_that_stands_still_is_given_up_on_and_used_again_when_it_moves() {
    let Some(broker) = Mosquitto::start() else { return };
    for qos in 0..3 {
        let sink = broker.sink(&format!("x?qos={qos}&timeout=2s&connect_timeout=2s&mandatory=false"));
        delivered(&sink, "1").await;
        broker.pause();
        let outcomes = soon("the timeout", sink.deliver_all(numbered(0..50))).await.unwrap();
        assert_eq!(outcomes.len(), 50);
        for (at, outcome) in outcomes.into_iter().enumerate() {
            let why = outcome.unwrap_err();
            assert_eq!((why.kind(), why.status()), (ErrorKind::Timeout, Status::Transient), "{why}");
            // At QoS 1 and 2 this broker takes 20 that it has not answered.
            let sent = if qos == 0 || at < 20 { Sent::Maybe } else { Sent::No };
            assert_eq!(why.sent(), sent, "QoS {qos}, packet {at}: {why}");
        }
        let why = soon("the timeout", sink.deliver(Packet::text("3"))).await.unwrap_err();
        assert_eq!((why.kind(), why.sent()), (ErrorKind::Timeout, Sent::No), "QoS {qos}: {why}");
        broker.resume();
        delivered(&sink, "4").await;
    }
}

#[tokio::test]
async fn a_silent_connection_is_noticed_by_who_reads() {
    let Some(broker) = Mosquitto::start() else { return };
    let relay = TcpRelay::new(([127, 0, 0, 1], broker.port).into(), 1, TcpFaults::default()).await.unwrap();
    broker.subscribe("reader", "events");
    let url = format!("mqtt://{}/events?client_id=reader&keep_alive=1s&connect_timeout=1s", relay.address());
    let mut source = source(&url);
    let sink = broker.sink("events");
    sink.deliver(Packet::text("1")).await.unwrap();
    soon("a packet", source.next()).await.unwrap().unwrap().ack(stored()).await.unwrap();
    relay.stall();
    sink.deliver(Packet::text("2")).await.unwrap();
    let reading = tokio::spawn(async move { source.next().await.unwrap().unwrap() });
    // A connection that was stalled stays so: this one is another.
    let before = relay.stats().accepted;
    soon("another connection", relay.until(|stats| stats.accepted > before)).await;
    relay.go_on();
    assert_eq!(soon("the other packet", reading).await.unwrap().packet().as_text(), Some("2"));
}

#[tokio::test]
async fn what_was_answered_with_a_failure_does_not_go_out_later() {
    let Some(mut broker) = Mosquitto::start() else { return };
    let sink = broker.sink("events?timeout=2s&connect_timeout=2s&mandatory=false");
    delivered(&sink, "before").await;
    broker.kill();
    for _ in 0..3 {
        let why = soon("the failure", sink.deliver(Packet::text("away"))).await.unwrap_err();
        assert_eq!(why.status(), Status::Transient, "{why}");
    }
    broker.start_again();
    let ear = Ear::at(&broker, "events");
    delivered(&sink, "after").await;
    assert_eq!(ear.heard().await, ["after"]);
}

/// Delivers these numbers, each until it is answered: at least once.
async fn deliver_numbers(sink: MqttSink, numbers: std::ops::Range<u32>) {
    for first in numbers.clone().step_by(50) {
        let mut rest = numbered(first..numbers.end.min(first + 50));
        while !rest.is_empty() {
            let outcomes = match sink.deliver_all(rest.clone()).await {
                Ok(outcomes) => outcomes,
                Err(why) => {
                    assert_eq!((why.status(), why.sent()), (Status::Transient, Sent::No), "{why}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            };
            assert_eq!(outcomes.len(), rest.len());
            let failed = rest.into_iter().zip(outcomes).filter_map(|(packet, outcome)| {
                let why = outcome.err()?;
                assert_eq!(why.status(), Status::Transient, "{why}");
                Some(packet)
            });
            rest = failed.collect();
        }
    }
}

/// Reads until each of these numbers was there, and nothing else.
async fn read_numbers(mut source: MqttSource, numbers: std::ops::Range<u32>) {
    let mut seen = HashSet::new();
    while seen.len() < numbers.len() {
        let delivery = source.next().await.unwrap().unwrap();
        let number: u32 = delivery.packet().as_text().unwrap().parse().unwrap();
        assert!(numbers.contains(&number), "{number}");
        seen.insert(number);
        // One whose acknowledgement is lost comes again.
        if let Err(why) = delivery.ack(stored()).await {
            assert_eq!(why.kind(), ErrorKind::Closed, "{why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_cuts_by_chance_all_that_was_answered_arrives_and_nothing_else() {
    let Some(broker) = Mosquitto::start() else { return };
    for history in 0..haul_services::histories(2) {
        let seed = haul_services::seed(17) + history;
        let qos = 1 + history % 2;
        let topic = format!("cuts/{history}");
        let reader = format!("reader{history}");
        broker.subscribe(&reader, &topic);
        let faults =
            TcpFaults { cut_after: Some((20_000, Cut::Reset)), split: Some(700), ..Default::default() };
        let target = ([127, 0, 0, 1], broker.port).into();
        let to = TcpRelay::new(target, seed, faults.clone()).await.unwrap();
        let from = TcpRelay::new(target, seed + 1, faults).await.unwrap();
        let sink = sink(&format!("mqtt://{}/{topic}?qos={qos}", to.address()));
        let rest = format!("{topic}?qos={qos}&client_id={reader}&max_unacked=50");
        let source = source(&format!("mqtt://{}/{rest}", from.address()));
        let sending = tokio::spawn(deliver_numbers(sink, 0..1000));
        soon(&format!("all packets with seed {seed}"), read_numbers(source, 0..1000)).await;
        soon("all to be answered", sending).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_restarts_and_pauses_all_that_was_answered_arrives_and_nothing_else() {
    let Some(mut broker) = Mosquitto::start() else { return };
    broker.subscribe("reader", "events");
    let sink = broker.sink("events?timeout=2s&connect_timeout=2s&pipeline=20");
    let source = broker.source("events?client_id=reader&keep_alive=2s&timeout=2s&connect_timeout=2s");
    let sending = tokio::spawn(deliver_numbers(sink, 0..3000));
    let reading = tokio::spawn(read_numbers(source, 0..3000));
    for turn in 0..haul_services::kills().min(6) {
        tokio::time::sleep(Duration::from_millis(37 * (turn + 1))).await;
        tokio::task::block_in_place(|| match turn % 3 {
            0 | 1 => {
                broker.stop();
                broker.start_again();
            }
            _ => {
                broker.pause();
                std::thread::sleep(Duration::from_secs(3));
                broker.resume();
            }
        });
    }
    soon("all to be answered", sending).await.unwrap();
    soon("all to be read", reading).await.unwrap();
}

/// Lets in whoever comes, answers packets with these reasons, and says how many came before the connection ended.
async fn answers(reasons: [u8; 2]) -> (u16, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let broker = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut came = 0;
        loop {
            let (kind, length) = (stream.read_u8().await.unwrap(), stream.read_u8().await.unwrap());
            let mut rest = vec![0; length.into()];
            stream.read_exact(&mut rest).await.unwrap();
            match kind >> 4 {
                1 => stream.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap(),
                3 => {
                    let reason = reasons.get(came).copied().unwrap_or(0);
                    came += 1;
                    stream.write_all(&[0x40, 3, 0, came as u8, reason]).await.unwrap();
                }
                _ => return came,
            }
        }
    });
    (port, broker)
}

#[tokio::test]
async fn behind_a_refusal_that_may_pass_nothing_goes_out() {
    let (port, broker) = answers([0, 0x97]).await;
    let sink = sink(&format!("mqtt://127.0.0.1:{port}/x?pipeline=1"));
    let outcomes = soon("the outcomes", sink.deliver_all(numbered(0..5))).await.unwrap();
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    for outcome in &outcomes[1..] {
        let why = outcome.as_ref().unwrap_err();
        let facts = (why.kind(), why.status(), why.sent());
        assert_eq!(facts, (ErrorKind::Overloaded, Status::Transient, Sent::No), "{why}");
    }
    sink.close().await.unwrap();
    assert_eq!(soon("the goodbye", broker).await.unwrap(), 2);
}
