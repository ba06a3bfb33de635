//! What packets become in queues, and what comes back.

use haul_core::{Deliver, DeliverAll, Endpoint, ErrorKind, Level, Packet, PacketId, Receipt, Source, Status};
use haul_sqs::{QueueConfig, SqsConfig, SqsSink, SqsSource};

use crate::support::{Moto, endpoint, sink, soon, source};

fn stored() -> Receipt {
    Receipt::new(Level::Stored, None)
}

#[tokio::test]
async fn another_client_reads_body_and_attributes_and_its_message_id_is_the_reference() {
    let Some(moto) = Moto::start() else { return };
    let queue = moto.queue("");
    let id = PacketId::from_bytes([7; 16]);
    let packet = Packet::text("{\"a\":1}").with("session_id", "s1").with("event_type", "click").with_id(id);
    let receipt = sink(moto.port, &queue, "").deliver(packet).await.unwrap();
    assert_eq!((receipt.level, receipt.id), (Level::Stored, Some(id)));
    let all = moto.read_all(&queue).await;
    let [message] = &all[..] else { panic!("{all:?}") };
    assert_eq!(receipt.reference.as_deref(), message.text("id"));
    assert_eq!(message.text("body"), Some("{\"a\":1}"));
    for (name, value) in [("session_id", "s1"), ("event_type", "click"), ("haul.id", &id.to_string())] {
        assert_eq!(message.attribute(name), Some(value), "{name}");
    }
    assert_eq!(message.0["attributes"].as_object().unwrap().len(), 3, "{message:?}");
}

#[tokio::test]
async fn all_of_a_packet_comes_back_through_the_source() {
    let Some(moto) = Moto::start() else { return };
    for options in ["metadata=attributes", "metadata=json"] {
        let queue = moto.queue("");
        let sent = [
            Packet::binary(vec![0, 255, 10]).with("k", "v\u{e4}"),
            Packet::text("plain").identified(),
            Packet::text("\0"),
            Packet::text(""),
        ];
        for outcome in sink(moto.port, &queue, options).deliver_all(sent.to_vec()).await.unwrap() {
            outcome.unwrap();
        }
        let mut source = source(moto.port, &queue, "wait=1s");
        let mut open = sent.to_vec();
        while !open.is_empty() {
            let delivery = soon("a packet", source.next()).await.unwrap().unwrap();
            let at = open.iter().position(|packet| packet == delivery.packet());
            open.remove(at.unwrap_or_else(|| panic!("{:?} is none of {open:?}", delivery.packet())));
            delivery.ack(stored()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_fifo_queue_has_a_duplicate_once_and_keeps_the_order_of_each_group() {
    let Some(moto) = Moto::start() else { return };
    let queue = moto.queue(".fifo");
    let sink = sink(moto.port, &queue, "group={who}");
    let packets: Vec<_> = (0..30)
        .map(|n| Packet::text(n.to_string()).with("who", format!("w{}", n % 3)).identified())
        .collect();
    for _ in 0..2 {
        let outcomes = sink.deliver_all(packets.clone()).await.unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
    // Without ids, equal packets are two.
    for _ in 0..2 {
        sink.deliver(Packet::text("equal").with("who", "w0")).await.unwrap();
    }
    let all = moto.read_all(&queue).await;
    for who in 0..3 {
        let group = format!("w{who}");
        let of: Vec<_> = all.iter().filter(|message| message.text("group") == Some(&*group)).collect();
        let bodies: Vec<_> = of.into_iter().filter_map(|message| message.text("body")).collect();
        let mut want: Vec<_> = (0..30).filter(|n| n % 3 == who).map(|n: u32| n.to_string()).collect();
        if who == 0 {
            want.extend(["equal".to_owned(), "equal".to_owned()]);
        }
        assert_eq!(bodies, want, "{group}");
    }
}

#[tokio::test]
async fn no_more_than_may_be_unacknowledged_come_of_a_standard_queue_and_what_is_refused_comes_again() {
    let Some(moto) = Moto::start() else { return };
    let queue = moto.queue("");
    let packets: Vec<_> = (0..40).map(|n| Packet::text(n.to_string())).collect();
    for outcome in sink(moto.port, &queue, "").deliver_all(packets).await.unwrap() {
        outcome.unwrap();
    }
    let mut source = source(moto.port, &queue, "wait=1s&max_unacked=15");
    let mut held = Vec::new();
    for _ in 0..15 {
        held.push(soon("a packet", source.next()).await.unwrap().unwrap());
    }
    let more = tokio::time::timeout(std::time::Duration::from_millis(300), source.next()).await;
    assert!(more.is_err(), "a sixteenth packet came");
    let (mut seen, mut refused) = (std::collections::BTreeSet::new(), 0);
    let mut settle = async |delivery: haul_core::Delivery| {
        let number: u32 = delivery.packet().as_text().unwrap().parse().unwrap();
        if number % 4 == 1 && refused < 5 {
            refused += 1;
            match refused % 2 {
                0 => drop(delivery),
                _ => delivery.nack(haul_core::Error::new(ErrorKind::Overloaded, "not now")).await.unwrap(),
            }
        } else {
            assert!(seen.insert(number), "{number} came again though it was acknowledged");
            delivery.ack(stored()).await.unwrap();
        }
        seen.len()
    };
    for delivery in held {
        settle(delivery).await;
    }
    while settle(soon("a packet", source.next()).await.unwrap().unwrap()).await < 40 {}
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_not_found_by_sink_and_source() {
    let Some(moto) = Moto::start() else { return };
    let sink = sink(moto.port, "nowhere", "");
    for why in [
        haul_core::Sink::ready(&sink).await.unwrap_err(),
        sink.deliver(Packet::text("x")).await.unwrap_err(),
        soon("an error", source(moto.port, "nowhere", "").next()).await.unwrap_err(),
    ] {
        assert_eq!((why.kind(), why.status()), (ErrorKind::NotFound, Status::Permanent), "{why}");
        assert!(why.to_string().contains("sqs nowhere"), "{why}");
    }
    // It may be made later.
    moto.make("nowhere");
    sink.deliver(Packet::text("x")).await.unwrap();
}

#[test]
fn options_that_make_no_sense_are_refused_before_anything_is_sent() {
    let sink = |url: &str| SqsSink::new(SqsConfig::from_endpoint(&Endpoint::parse(url)?)?).map(drop);
    let source = |url: &str| SqsSource::new(QueueConfig::from_endpoint(&Endpoint::parse(url)?)?).map(drop);
    for url in [
        "sqs://r",
        "sqs://r/a/b",
        "sqs://r/q.fifo",
        "sqs://r/q?max_request=0",
        "sqs://r/q?metadata=headers",
        "sqs://key@r/q",
        "sqs://r/q?endpoint=http://192.0.2.1:1",
        "sqs://r/q?endpoint=ftp://127.0.0.1",
        "sqs://r/q?endpoint=nowhere",
        "sqs://r/q?timeout=0s",
        "sqs://r/q?visibility=30s",
    ] {
        assert_eq!(sink(url).unwrap_err().kind(), ErrorKind::Config, "{url}");
    }
    for url in [
        "sqs://r/q?visibility=0s",
        "sqs://r/q?visibility=1500ms",
        "sqs://r/q?visibility=13h",
        "sqs://r/q?wait=0s",
        "sqs://r/q?wait=21s",
        "sqs://r/q?max_unacked=0",
        "sqs://r/q?max_unacked=20001",
        "sqs://r/q?group=a",
    ] {
        assert_eq!(source(url).unwrap_err().kind(), ErrorKind::Config, "{url}");
    }
    sink("sqs://r/q.fifo?group={a|b}").unwrap();
    sink("sqs://r/q?endpoint=http://192.0.2.1:1&insecure=true").unwrap();
    source("sqs://r/q.fifo?visibility=12h&wait=20s&max_unacked=20000").unwrap();
}

#[test]
fn a_url_and_a_table_say_the_same_and_neither_shows_the_secret() {
    let url = endpoint(5000, "orders.fifo", "group={customer}&metadata=json&max_request=256KiB");
    let table = r#"
        queue = "orders.fifo"
        group = "{customer}"
        metadata = "json"
        max_request = "256KiB"
        [account]
        region = "us-east-1"
        access_key = "key"
        secret_key = "secret"
        endpoint = "http://127.0.0.1:5000"
    "#;
    let config = SqsConfig::from_endpoint(&url).unwrap();
    assert_eq!(config, toml::from_str(table).unwrap());
    assert!(!format!("{config:?}").contains("secret\""), "{config:?}");
}
