//! What packets become in streams and on subjects.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use haul_core::{Deliver, DeliverAll, Endpoint, ErrorKind, Level, Packet, PacketId, Sent, Sink, Status};
use haul_nats::NatsConfig;

use crate::support::{Ear, Nats, sink, soon};

fn stream(name: &str, subject: &str) -> Config {
    Config { name: name.to_owned(), subjects: vec![subject.to_owned()], ..Config::default() }
}

#[tokio::test]
async fn the_reference_is_the_place_in_the_stream_and_headers_carry_the_rest() {
    let Some(nats) = Nats::start() else { return };
    let there = nats.make(stream("EVENTS", "events.*")).await;
    let sink = sink(&nats.url("events.{session_id}"));
    let id = PacketId::from_bytes([7; 16]);
    sink.deliver(Packet::text("first").with("session_id", "s0")).await.unwrap();
    let packet = Packet::binary("second").with("session_id", "s1").with("who", "\u{e4}").with_id(id);
    let receipt = sink.deliver(packet).await.unwrap();
    assert_eq!((receipt.level, receipt.reference.as_deref()), (Level::Stored, Some("EVENTS:2")));
    let message = there.get_raw_message(2).await.unwrap();
    assert_eq!((message.subject.as_str(), &message.payload[..]), ("events.s1", &b"second"[..]));
    for (name, value) in
        [("session_id", "s1"), ("who", "\u{e4}"), ("Nats-Msg-Id", &id.to_string()), ("Haul-Kind", "binary")]
    {
        assert_eq!(message.headers.get(name).unwrap().as_str(), value, "{name}");
    }
}

#[tokio::test]
async fn what_was_delivered_under_an_id_is_there_once_and_its_receipt_says_where() {
    let Some(nats) = Nats::start() else { return };
    let sink = sink(&nats.url("events?stream=EVENTS&create=events"));
    let packets = || (0..5u8).map(|n| Packet::text(n.to_string()).with_id(PacketId::from_bytes([n; 16])));
    let references = async |packets: Vec<Packet>| -> Vec<_> {
        let outcomes = sink.deliver_all(packets).await.unwrap();
        outcomes.into_iter().map(|outcome| outcome.unwrap().reference.unwrap()).collect()
    };
    let first = references(packets().collect()).await;
    assert_eq!(references(packets().rev().collect()).await, first.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(nats.read_all("EVENTS").await.len(), 5);
}

#[tokio::test]
async fn a_subject_that_no_stream_takes_fails_alone() {
    let Some(nats) = Nats::start() else { return };
    nats.make(stream("EVENTS", "events.*")).await;
    let sink = sink(&nats.url("{to}"));
    let to = |subject: &str| Packet::text("x").with("to", subject.to_owned());
    let outcomes = sink
        .deliver_all(vec![
            to("events.a"),
            to("nobody"),
            to("a..b"),
            to("$JS.API.INFO"),
            Packet::text(""),
            to("events.b"),
        ])
        .await
        .unwrap();
    let kinds: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(|why| (why.kind(), why.status()))).collect();
    let refused = |kind| Some((kind, Status::Permanent));
    let expected = [
        None,
        refused(ErrorKind::NotFound),
        refused(ErrorKind::Rejected),
        refused(ErrorKind::Rejected),
        refused(ErrorKind::Rejected),
        None,
    ];
    assert_eq!(kinds, expected);
    for why in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!(why.sent(), Sent::No, "{why}");
    }
    assert_eq!(nats.read_all("EVENTS").await.len(), 2);
    let nowhere = crate::support::sink(&nats.url("nobody"));
    assert_eq!(nowhere.ready().await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_stream_that_is_named_is_made_or_must_be_there() {
    let Some(nats) = Nats::start() else { return };
    let why = sink(&nats.url("events?stream=EVENTS")).ready().await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::NotFound, Sent::No), "{why}");
    let made = sink(&nats.url("events?stream=EVENTS&create=events,more.*&dedupe=7s"));
    made.ready().await.unwrap();
    let config = async_nats::jetstream::new(nats.client().await)
        .get_stream("EVENTS")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    assert_eq!(config.subjects, ["events", "more.*"]);
    assert_eq!((config.num_replicas, config.duplicate_window), (1, Duration::from_secs(7)));
    // Another one takes the subject: the one that was asked for did not store it.
    nats.make(stream("OTHER", "other")).await;
    let why = sink(&nats.url("other?stream=EVENTS")).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(
        (why.kind(), why.status(), why.sent()),
        (ErrorKind::Rejected, Status::Permanent, Sent::No),
        "{why}"
    );
}

#[tokio::test]
async fn what_is_too_large_for_server_or_stream_fails_alone() {
    let Some(nats) = Nats::with("jetstream { store_dir: '{folder}' }\nmax_payload: 10000") else { return };
    nats.make(Config { max_message_size: 5000, ..stream("EVENTS", "events") }).await;
    let kinds = async |url: String, packets: Vec<Packet>| -> Vec<_> {
        let outcomes = sink(&url).deliver_all(packets).await.unwrap();
        outcomes
            .into_iter()
            .map(|outcome| outcome.err().map(|why| (why.kind(), why.status(), why.sent())))
            .collect()
    };
    let too_large = Some((ErrorKind::TooLarge, Status::Permanent, Sent::No));
    let of = |bytes: usize| Packet::binary(vec![1; bytes]);
    let packets = vec![of(10), of(6000), of(10_001), of(9000).with("long", "x".repeat(1000)), of(10)];
    let expected = [None, too_large, too_large, too_large, None];
    assert_eq!(kinds(nats.url("events"), packets.clone()).await, expected);
    assert_eq!(nats.read_all("EVENTS").await.len(), 2);
    let expected = [None, None, too_large, too_large, None];
    assert_eq!(kinds(nats.url("events?jetstream=false"), packets).await, expected);
}

#[tokio::test]
async fn a_stream_that_is_full_refuses_and_may_be_asked_again() {
    let Some(nats) = Nats::start() else { return };
    let there = Config { max_messages: 5, discard: DiscardPolicy::New, ..stream("EVENTS", "events") };
    let there = nats.make(there).await;
    let sink = sink(&nats.url("events?pipeline=2"));
    let batch: Vec<_> = (0..20).map(|n| Packet::text(n.to_string())).collect();
    let outcomes = sink.deliver_all(batch.clone()).await.unwrap();
    assert!(outcomes[..5].iter().all(Result::is_ok));
    for why in outcomes[5..].iter().map(|outcome| outcome.as_ref().unwrap_err()) {
        assert_eq!(
            (why.kind(), why.status(), why.sent()),
            (ErrorKind::Overloaded, Status::Transient, Sent::No),
            "{why}"
        );
    }
    assert!(outcomes[19].as_ref().unwrap_err().to_string().contains("not tried"));
    there.purge().await.unwrap();
    for outcome in sink.deliver_all(batch[5..10].to_vec()).await.unwrap() {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn without_jetstream_packets_go_to_those_who_listen() {
    let Some(nats) = Nats::with("max_payload: 1000000") else { return };
    let why = sink(&nats.url("events")).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Unsupported, Sent::No), "{why}");
    let ear = Ear::at(&nats, "events").await;
    let sink = sink(&nats.url("events?jetstream=false"));
    sink.ready().await.unwrap();
    let receipt = sink.deliver(Packet::text("x")).await.unwrap();
    assert_eq!((receipt.level, receipt.reference), (Level::Sent, None));
    assert_eq!(ear.heard().await, ["x"]);
}

#[tokio::test]
async fn a_client_of_another_language_reads_what_was_stored() {
    let (Some(nats), Some(mut python)) = (Nats::start(), haul_services::python_nats()) else { return };
    let sink = sink(&nats.url("events?stream=EVENTS&create=events"));
    sink.deliver(Packet::text("hi").with("who", "haul").with_id(PacketId::from_bytes([1; 16])))
        .await
        .unwrap();
    python.args(["-c", READ, &nats.port.to_string()]);
    let output = soon("python", tokio::process::Command::from(python).output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let id = PacketId::from_bytes([1; 16]);
    assert_eq!(said.trim(), format!("hi haul {id}"), "{}", String::from_utf8_lossy(&output.stderr));
}

const READ: &str = "
import asyncio, sys, nats
async def main():
    client = await nats.connect('nats://127.0.0.1:' + sys.argv[1])
    subscription = await client.jetstream().subscribe('events')
    message = await subscription.next_msg(timeout=30)
    print(message.data.decode(), message.headers['who'], message.headers['Nats-Msg-Id'])
    await client.close()
asyncio.run(main())
";

#[test]
fn what_is_wrong_in_a_url_is_said() {
    for (rest, word) in [
        ("", "subject"),
        ("x?pipeline=0", "pipeline"),
        ("x?replicas=0", "replicas"),
        ("x?create=x", "stream="),
        ("x?stream=S&jetstream=false", "JetStream"),
        ("x?steam=S", "stream"),
        ("x?sni=a", "sni"),
        ("x?ca=no-such-file", "no-such-file"),
    ] {
        let endpoint = Endpoint::parse(&format!("nats://host/{rest}")).unwrap();
        let made = NatsConfig::from_endpoint(&endpoint).and_then(haul_nats::NatsSink::new);
        let why = made.unwrap_err();
        assert_eq!(why.kind(), ErrorKind::Config, "{why}");
        assert!(why.to_string().contains(word), "{why}");
    }
}
