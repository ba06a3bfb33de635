//! What a source gives.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::Config;
use haul_core::{Deliver, DeliverAll, Delivery, Endpoint, Error, ErrorKind, Level, Packet, Receipt, Source};
use haul_nats::{ConsumerConfig, NatsSource};

use crate::support::{Nats, sink, soon, source};

async fn next(source: &mut NatsSource) -> Delivery {
    soon("a packet", source.next()).await.unwrap().unwrap()
}

async fn ack(delivery: Delivery) {
    soon("an acknowledgement", delivery.ack(Receipt::new(Level::Stored, None))).await.unwrap();
}

#[tokio::test]
async fn all_of_a_packet_comes_back() {
    let Some(nats) = Nats::start() else { return };
    let sink = sink(&nats.url("events?stream=EVENTS&create=events"));
    let sent = [
        Packet::binary(vec![0, 255, 10]).with("a", "v\u{e4}").with("b", ""),
        Packet::binary("looks like text"),
        Packet::text("plain").identified(),
        Packet::text(""),
    ];
    for outcome in sink.deliver_all(sent.to_vec()).await.unwrap() {
        outcome.unwrap();
    }
    let mut source = source(&nats.url("events"));
    for packet in &sent {
        let delivery = next(&mut source).await;
        assert_eq!(delivery.packet(), packet);
        ack(delivery).await;
    }
}

#[tokio::test]
async fn the_messages_of_others_come_with_their_headers() {
    let Some(nats) = Nats::start() else { return };
    let subjects = vec!["events.>".to_owned()];
    nats.make(Config { name: "EVENTS".to_owned(), subjects, ..Config::default() }).await;
    let jetstream = async_nats::jetstream::new(nats.client().await);
    let mut headers = HeaderMap::new();
    headers.append("Temperature", "21.5");
    headers.append("Temperature", "22");
    headers.insert("Nats-Msg-Id", "seven");
    headers.insert("Nats-Expected-Stream", "EVENTS");
    jetstream
        .publish_with_headers("events.a.b", headers, "in the cellar".into())
        .await
        .unwrap()
        .await
        .unwrap();
    jetstream.publish("events.c", vec![0xff].into()).await.unwrap().await.unwrap();
    let mut source = source(&nats.url("events.%3E"));
    let first = next(&mut source).await;
    let expected = Packet::text("in the cellar").with("Nats-Msg-Id", "seven").with("Temperature", "21.5, 22");
    assert_eq!(first.packet(), &expected);
    assert_eq!(next(&mut source).await.packet(), &Packet::binary(vec![0xff]));
}

#[tokio::test]
async fn a_consumer_begins_where_it_is_told() {
    let Some(nats) = Nats::start() else { return };
    let sink = sink(&nats.url("events?stream=EVENTS&create=events"));
    for text in ["1", "2", "3"] {
        sink.deliver(Packet::text(text)).await.unwrap();
    }
    for (start, first) in [("all", "1"), ("2", "2")] {
        let mut source = source(&nats.url(&format!("events?consumer=from-{start}&start={start}")));
        assert_eq!(next(&mut source).await.packet().as_text(), Some(first), "{start}");
    }
    let mut new = source(&nats.url("events?stream=EVENTS&consumer=new&start=new"));
    let mut waiting = Box::pin(new.next());
    let jetstream = async_nats::jetstream::new(nats.client().await);
    let stream = jetstream.get_stream("EVENTS").await.unwrap();
    soon("the consumer", async {
        while stream.consumer_info("new").await.is_err() {
            assert!(tokio::time::timeout(Duration::from_millis(10), &mut waiting).await.is_err());
        }
    })
    .await;
    sink.deliver(Packet::text("4")).await.unwrap();
    let delivery = soon("the new packet", waiting).await.unwrap().unwrap();
    assert_eq!(delivery.packet().as_text(), Some("4"));
}

#[tokio::test]
async fn what_is_refused_comes_again_when_the_refusal_says() {
    let Some(nats) = Nats::start() else { return };
    let sink = sink(&nats.url("events?stream=EVENTS&create=events"));
    sink.deliver(Packet::text("1")).await.unwrap();
    // Without what the refusal says, it would not come before the test gives up.
    let mut source = source(&nats.url("events?ack_wait=10m&again=10m"));
    let refused = next(&mut source).await;
    let why = Error::new(ErrorKind::Overloaded, "not now").with_retry_after(Duration::from_millis(10));
    refused.nack(why).await.unwrap();
    let dropped = next(&mut source).await;
    assert_eq!(dropped.packet().as_text(), Some("1"));
    drop(dropped);
    ack(next(&mut source).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_worked_on_for_long_is_given_to_nobody_else_until_its_reader_is_gone() {
    let Some(nats) = Nats::start() else { return };
    let sink = sink(&nats.url("events?stream=EVENTS&create=events"));
    sink.deliver(Packet::text("1")).await.unwrap();
    let url = nats.url("events?ack_wait=3s");
    let mut slow = source(&url);
    let held = next(&mut slow).await;
    let mut other = source(&url);
    let taken = tokio::time::timeout(Duration::from_secs(7), other.next()).await;
    assert!(taken.is_err(), "given to two: {taken:?}");
    drop(slow);
    std::mem::forget(held);
    assert_eq!(next(&mut other).await.packet().as_text(), Some("1"));
}

#[tokio::test]
async fn a_subject_without_a_stream_is_an_error_and_so_is_one_without_acknowledgements() {
    let Some(nats) = Nats::start() else { return };
    let why = soon("the error", source(&nats.url("nobody")).next()).await.unwrap_err();
    assert_eq!(why.kind(), ErrorKind::NotFound, "{why}");
    let endpoint = Endpoint::parse(&nats.url("events?jetstream=false")).unwrap();
    assert_eq!(ConsumerConfig::from_endpoint(&endpoint).unwrap_err().kind(), ErrorKind::Unsupported);
    for wrong in ["events?max_unacked=0", "events?ack_wait=1ms", "events?consumer=a.b", "events?start=soon"] {
        let endpoint = Endpoint::parse(&nats.url(wrong)).unwrap();
        let made = ConsumerConfig::from_endpoint(&endpoint).and_then(NatsSource::new);
        assert_eq!(made.unwrap_err().kind(), ErrorKind::Config, "{wrong}");
    }
}

#[tokio::test]
async fn a_consumer_of_something_else_is_not_read_by_mistake() {
    use async_nats::jetstream::consumer::{AckPolicy, pull, push};
    let Some(nats) = Nats::start() else { return };
    let subjects = vec!["events.*".to_owned()];
    let stream = nats.make(Config { name: "EVENTS".to_owned(), subjects, ..Config::default() }).await;
    let name = |name: &str| Some(name.to_owned());
    let other = pull::Config { filter_subject: "events.b".to_owned(), ..pull::Config::default() };
    stream.create_consumer(pull::Config { durable_name: name("other"), ..other }).await.unwrap();
    let lax = push::Config { ack_policy: AckPolicy::None, ..push::Config::default() };
    let lax = push::Config { durable_name: name("lax"), deliver_subject: "to".to_owned(), ..lax };
    stream.create_consumer(lax).await.unwrap();
    let pushes = push::Config { durable_name: name("pushes"), ..push::Config::default() };
    stream.create_consumer(push::Config { deliver_subject: "to".to_owned(), ..pushes }).await.unwrap();
    for (consumer, word) in [("other", "events.b"), ("lax", "acknowledgement"), ("pushes", "pushes")] {
        let mut source = source(&nats.url(&format!("events.a?consumer={consumer}")));
        let why = soon("the error", source.next()).await.unwrap_err();
        assert_eq!(why.kind(), ErrorKind::Config, "{why}");
        assert!(why.to_string().contains(word), "{why}");
    }
}
