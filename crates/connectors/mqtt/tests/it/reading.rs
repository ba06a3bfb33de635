//! What a source gives.

use haul_core::{Deliver, DeliverAll, Delivery, Error, ErrorKind, Packet, Source, Status};
use haul_mqtt::MqttSource;

use crate::support::{Mosquitto, numbered, soon, stored};

async fn next(source: &mut MqttSource) -> Delivery {
    soon("a packet", source.next()).await.unwrap().unwrap()
}

async fn ack(delivery: Delivery) {
    soon("an acknowledgement", delivery.ack(stored())).await.unwrap();
}

async fn refused(source: &mut MqttSource) -> Error {
    soon("an error", source.next()).await.unwrap_err()
}

fn text(delivery: &Delivery) -> &str {
    delivery.packet().as_text().unwrap()
}

#[tokio::test]
async fn all_of_a_packet_comes_back() {
    let Some(broker) = Mosquitto::start() else { return };
    broker.subscribe("reader", "events");
    let sent = [
        Packet::binary(vec![0, 255, 10]).with("a", "v\u{e4}").with("b", "").with("content_type", "x/y"),
        Packet::binary("looks like text"),
        Packet::text("plain").identified(),
        Packet::text(""),
        Packet::text("x".repeat(100_000)),
    ];
    for outcome in broker.sink("events?qos=2").deliver_all(sent.to_vec()).await.unwrap() {
        outcome.unwrap();
    }
    let mut source = broker.source("events?client_id=reader&qos=2");
    for packet in &sent {
        let delivery = next(&mut source).await;
        assert_eq!(delivery.packet(), packet);
        ack(delivery).await;
    }
}

#[tokio::test]
async fn the_packets_of_others_come_with_topic_and_properties() {
    let Some(broker) = Mosquitto::start() else { return };
    broker.subscribe("reader", "events/#");
    broker.subscribe("reader", "more");
    let property = ["-D", "publish", "user-property", "room", "k\u{fc}che"];
    broker.publish(&[&["-q", "1", "-t", "events/7", "-m", "21.5"][..], &property].concat());
    broker.publish(&["-q", "0", "-t", "more", "-m", "unowed", "-D", "publish", "response-topic", "back"]);
    let mut source = broker.source("events/%23,more?client_id=reader&topic_as=from");
    let delivery = next(&mut source).await;
    let expected = Packet::text("21.5").with("room", "k\u{fc}che").with("from", "events/7");
    assert_eq!(*delivery.packet(), expected);
    ack(delivery).await;
    let delivery = next(&mut source).await;
    let expected = Packet::text("unowed").with("response_topic", "back").with("from", "more");
    assert_eq!(*delivery.packet(), expected);
    ack(delivery).await;
}

#[tokio::test]
async fn readers_of_a_shared_subscription_have_each_packet_once() {
    let Some(broker) = Mosquitto::start() else { return };
    broker.subscribe("one", "$share/group/events");
    broker.subscribe("two", "$share/group/events");
    let mut one = broker.source("$share/group/events?client_id=one");
    let mut two = broker.source("$share/group/events?client_id=two");
    for outcome in broker.sink("events").deliver_all(numbered(0..50)).await.unwrap() {
        outcome.unwrap();
    }
    let mut seen: Vec<u32> = Vec::new();
    while seen.len() < 50 {
        let delivery = soon("a packet", async {
            tokio::select! { one = one.next() => one, two = two.next() => two }
        });
        let delivery = delivery.await.unwrap().unwrap();
        seen.push(text(&delivery).parse().unwrap());
        ack(delivery).await;
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..50));
}

#[tokio::test]
async fn what_came_while_nobody_read_is_there_after_a_restart_of_the_broker_too() {
    let Some(mut broker) = Mosquitto::start() else { return };
    let rest = "events?client_id=reader&max_unacked=4";
    broker.subscribe("reader", "events");
    let mut source = broker.source(rest);
    let sink = broker.sink("events");
    for outcome in sink.deliver_all(numbered(0..10)).await.unwrap() {
        outcome.unwrap();
    }
    ack(next(&mut source).await).await;
    let held = next(&mut source).await;
    drop(source);
    broker.stop();
    broker.start_again();
    assert_eq!(held.ack(stored()).await.unwrap_err().kind(), ErrorKind::Closed);
    let mut source = broker.source(rest);
    for number in 1..10 {
        let delivery = next(&mut source).await;
        assert_eq!(text(&delivery), number.to_string());
        ack(delivery).await;
    }
}

#[tokio::test]
async fn a_session_that_the_broker_lost_is_a_gap_and_then_it_goes_on() {
    let Some(mut broker) = Mosquitto::start() else { return };
    let mut source = broker.source("events?client_id=reader");
    broker.subscribe("reader", "events");
    broker.sink("events").deliver(Packet::text("1")).await.unwrap();
    ack(next(&mut source).await).await;
    // It writes to disk when it is stopped, and twice an hour.
    broker.kill();
    broker.start_again();
    let why = refused(&mut source).await;
    assert_eq!(why.kind(), ErrorKind::Gap, "{why}");
    broker.sink("events").deliver(Packet::text("2")).await.unwrap();
    assert_eq!(text(&next(&mut source).await), "2");
}

#[tokio::test]
async fn a_reader_whose_session_was_taken_reads_on_when_the_other_is_gone() {
    let Some(broker) = Mosquitto::start() else { return };
    broker.subscribe("reader", "events");
    broker.sink("events").deliver(Packet::text("1")).await.unwrap();
    let mut first = broker.source("events?client_id=reader");
    let held = next(&mut first).await;
    let mut second = broker.source("events?client_id=reader");
    assert_eq!(text(&next(&mut second).await), "1");
    assert_eq!(held.ack(stored()).await.unwrap_err().kind(), ErrorKind::Closed);
    drop(second);
    let again = next(&mut first).await;
    assert_eq!(text(&again), "1");
    ack(again).await;
}

#[tokio::test]
async fn packets_of_qos_0_never_take_the_room_of_those_that_are_owed() {
    let Some(broker) = Mosquitto::start() else { return };
    broker.subscribe("reader", "#");
    let mut source = broker.source("%23?client_id=reader&max_unacked=2");
    let (unowed, owed) = (broker.sink("unowed?qos=0"), broker.sink("owed"));
    owed.deliver(Packet::text("first")).await.unwrap();
    let first = next(&mut source).await;
    for outcome in unowed.deliver_all(numbered(0..100)).await.unwrap() {
        outcome.unwrap();
    }
    owed.deliver(Packet::text("last")).await.unwrap();
    // Its answer comes behind all that the broker sent before.
    ack(first).await;
    let mut unowed = 0;
    loop {
        let delivery = next(&mut source).await;
        let last = text(&delivery) == "last";
        ack(delivery).await;
        if last {
            break;
        }
        unowed += 1;
    }
    assert_eq!(unowed, 2, "packets of QoS 0");
}

#[tokio::test]
async fn a_packet_that_is_too_large_is_said_and_stays_with_the_broker() {
    let Some(broker) = Mosquitto::start() else { return };
    broker.subscribe("reader", "events");
    broker.sink("events").deliver(Packet::binary(vec![0; 20_000])).await.unwrap();
    let why = refused(&mut broker.source("events?client_id=reader&max_packet=10KiB")).await;
    assert_eq!((why.kind(), why.status()), (ErrorKind::TooLarge, Status::Permanent), "{why}");
    assert_eq!(next(&mut broker.source("events?client_id=reader")).await.packet().len(), 20_000);
}

#[tokio::test]
async fn a_packet_that_is_refused_comes_again_as_often_as_that_happens() {
    let Some(broker) = Mosquitto::start() else { return };
    broker.subscribe("reader", "events");
    for outcome in broker.sink("events").deliver_all(numbered(0..3)).await.unwrap() {
        outcome.unwrap();
    }
    let mut source = broker.source("events?client_id=reader&max_unacked=1&again=1ms");
    for round in 0..3 {
        let delivery = next(&mut source).await;
        assert_eq!(text(&delivery), "0", "round {round}");
        match round {
            0 => delivery.nack(Error::new(ErrorKind::Overloaded, "not now")).await.unwrap(),
            1 => drop(delivery),
            _ => ack(delivery).await,
        }
    }
    assert_eq!(text(&next(&mut source).await), "1");
}
