//! What comes to the broker, and what it says.

use haul_core::{
    Deliver, DeliverAll, Endpoint, ErrorKind, Level, Packet, PacketId, Receipt, Result, Sent, Sink, Status,
};
use haul_mqtt::{MqttConfig, MqttSink, MqttSource, SubscriptionConfig};

use crate::support::{Ear, Mosquitto, hex, numbered, soon};

type Refusal = Option<(ErrorKind, Status, Sent)>;

fn refusals(outcomes: &[Result<Receipt>]) -> Vec<Refusal> {
    let refusal =
        |outcome: &Result<Receipt>| outcome.as_ref().err().map(|why| (why.kind(), why.status(), why.sent()));
    outcomes.iter().map(refusal).collect()
}

const fn for_good(kind: ErrorKind) -> Refusal {
    Some((kind, Status::Permanent, Sent::No))
}

#[tokio::test]
async fn a_client_of_another_language_hears_all_of_a_packet() {
    let Some(broker) = Mosquitto::start() else { return };
    let ear = Ear::with(&broker, "events/#", "%x|%t|%q|%F|%C|%E|%P");
    let id = PacketId::from_bytes([1; 16]);
    let packet = Packet::text("hi")
        .with("session_id", "7")
        .with("who", "h\u{e4}ul")
        .with("content_type", "text/x")
        .with_id(id);
    let receipt = broker.sink("events/{session_id}?qos=2&expiry=1h").deliver(packet).await.unwrap();
    assert_eq!((receipt.level, receipt.id), (Level::Acknowledged, Some(id)));
    broker.sink("events/{@kind}").deliver(Packet::binary(vec![0, 255])).await.unwrap();
    let expected = [
        "00ff|events/binary|1|0|||".to_owned(),
        format!("{}|events/7|2|1|text/x|3600|session_id:7 who:h\u{e4}ul haul-id:{id}", hex(b"hi")),
    ];
    // A packet of QoS 2 may be overtaken.
    let mut lines = ear.lines().await;
    lines.sort();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn what_nobody_subscribes_to_is_an_error_unless_that_is_allowed_or_it_is_retained() {
    let Some(broker) = Mosquitto::start() else { return };
    let why = broker.sink("nobody").deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(refusals(&[Err(why.clone())]), [for_good(ErrorKind::NotFound)], "{why}");
    assert!(why.to_string().contains("no matching subscribers"), "{why}");
    let receipt = broker.sink("nobody?mandatory=false").deliver(Packet::text("x")).await.unwrap();
    assert_eq!(receipt.level, Level::Discarded);
    let receipt = broker.sink("later?retain=true").deliver(Packet::text("kept")).await.unwrap();
    assert_eq!(receipt.level, Level::Acknowledged);
    assert_eq!(Ear::at(&broker, "later").heard().await, ["kept"]);
}

#[tokio::test]
async fn a_topic_that_is_none_fails_alone() {
    let Some(broker) = Mosquitto::start() else { return };
    let ear = Ear::at(&broker, "#");
    let to = |topic: &str| Packet::text("x").with("to", topic.to_owned());
    let batch = vec![
        to("a"),
        to("a/+"),
        to("$SYS/x"),
        to(""),
        Packet::text("x"),
        to("b").with("note", "two\nlines"),
        to("b"),
    ];
    let outcomes = broker.sink("{to}").deliver_all(batch).await.unwrap();
    let rejected = for_good(ErrorKind::Rejected);
    let expected = [None, rejected, rejected, rejected, rejected, for_good(ErrorKind::Unsupported), None];
    assert_eq!(refusals(&outcomes), expected, "{outcomes:?}");
    assert_eq!(ear.heard().await.len(), 2);
}

#[tokio::test]
async fn what_is_too_large_for_the_broker_fails_alone() {
    let of = |bytes: usize| Packet::binary(vec![1; bytes]);
    let too_large = for_good(ErrorKind::TooLarge);
    let batch = vec![of(10), of(6000), of(4000).with("long", "x".repeat(2000)), of(10)];
    // One is announced, the other is found out.
    let Some(broker) = Mosquitto::with("allow_anonymous true\nmax_packet_size 5000") else { return };
    let ear = Ear::at(&broker, "events");
    for qos in 0..3 {
        let outcomes = broker.sink(&format!("events?qos={qos}")).deliver_all(batch.clone()).await.unwrap();
        assert_eq!(refusals(&outcomes), [None, too_large, too_large, None], "{outcomes:?}");
    }
    assert_eq!(ear.heard().await.len(), 6);
    let Some(broker) = Mosquitto::with("allow_anonymous true\nmessage_size_limit 5000") else { return };
    let ear = Ear::at(&broker, "events");
    for qos in 1..3 {
        let outcomes = broker.sink(&format!("events?qos={qos}")).deliver_all(batch.clone()).await.unwrap();
        assert_eq!(refusals(&outcomes), [None, too_large, None, None], "{outcomes:?}");
    }
    assert_eq!(ear.heard().await.len(), 6);
}

#[tokio::test]
async fn a_topic_that_is_not_permitted_is_refused_and_its_place_is_free_again() {
    let folder = tempfile::TempDir::new().unwrap();
    let acl = folder.path().join("acl");
    std::fs::write(&acl, "topic readwrite open/#\n").unwrap();
    let config = format!("allow_anonymous true\nacl_file {}", acl.display());
    let Some(broker) = Mosquitto::with(&config) else { return };
    let ear = Ear::at(&broker, "open/#");
    for qos in 1..3 {
        let sink = broker.sink(&format!("{{to}}?pipeline=1&timeout=10m&qos={qos}"));
        let to = |topic: &str| Packet::text("x").with("to", topic.to_owned());
        let batch = vec![to("open/a"), to("secret"), to("secret"), to("secret"), to("open/b")];
        let outcomes = soon("the refusals", sink.deliver_all(batch)).await.unwrap();
        let refused = for_good(ErrorKind::Unauthorized);
        assert_eq!(refusals(&outcomes), [None, refused, refused, refused, None], "{outcomes:?}");
    }
    assert_eq!(ear.heard().await.len(), 4);
}

#[tokio::test]
async fn a_broker_without_qos_2_or_retained_packets_says_so() {
    let Some(broker) = Mosquitto::with("allow_anonymous true\nmax_qos 1\nretain_available false") else {
        return;
    };
    for rest in ["events?qos=2", "events?retain=true"] {
        let why = broker.sink(rest).deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!(refusals(&[Err(why.clone())]), [for_good(ErrorKind::Unsupported)], "{why}");
    }
    broker.sink("events?qos=1&mandatory=false").deliver(Packet::text("x")).await.unwrap();
}

#[tokio::test]
async fn many_calls_share_few_places_and_each_keeps_its_order() {
    let Some(broker) = Mosquitto::with("allow_anonymous true\nmax_inflight_messages 3") else { return };
    let ear = Ear::at(&broker, "events/#");
    let sink = std::sync::Arc::new(broker.sink("events/{call}"));
    let calls: Vec<_> = (0..10u32)
        .map(|call| {
            let sink = sink.clone();
            tokio::spawn(async move {
                let packets = numbered(100 * call..100 * call + 100);
                let packets = packets.into_iter().map(|it| it.with("call", call.to_string()));
                for outcome in sink.deliver_all(packets.collect::<Vec<_>>()).await.unwrap() {
                    outcome.unwrap();
                }
            })
        })
        .collect();
    for call in calls {
        soon("a call", call).await.unwrap();
    }
    let mut heard: Vec<u32> =
        ear.heard().await.iter().map(|text| std::str::from_utf8(text).unwrap().parse().unwrap()).collect();
    // Stable: of each call, the order in which they were heard.
    heard.sort_by_key(|number| number / 100);
    assert!(heard.into_iter().eq(0..1000));
    sink.close().await.unwrap();
}

#[test]
fn what_is_wrong_in_a_url_is_said() {
    for (rest, word) in [
        ("", "topic"),
        ("x?pipeline=0", "pipeline"),
        ("x?qos=3", "qos"),
        ("x?expiry=100ms", "expiry"),
        ("x?keep_alive=0s", "keep_alive"),
        ("x?retian=true", "retain"),
        ("x?ca=some-file", "mqtts"),
    ] {
        let endpoint = Endpoint::parse(&format!("mqtt://host/{rest}")).unwrap();
        let why = MqttConfig::from_endpoint(&endpoint).and_then(MqttSink::new).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::Config, "{why}");
        assert!(why.to_string().contains(word), "{why}");
    }
    for (rest, word) in [
        ("x", "client_id"),
        ("x?client_id=c&qos=0", "acknowledged"),
        ("x?client_id=c&max_unacked=0", "max_unacked"),
        ("x?client_id=c&session=0s", "session"),
        ("x,,y?client_id=c", "filter"),
        ("events/%23/x?client_id=c", "filter"),
    ] {
        let endpoint = Endpoint::parse(&format!("mqtt://host/{rest}")).unwrap();
        let why = SubscriptionConfig::from_endpoint(&endpoint).and_then(MqttSource::new).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::Config, "{why}");
        assert!(why.to_string().contains(word), "{why}");
    }
}
