//! What packets become, and what records of others are.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use haul_core::{
    Deliver, DeliverAll, Endpoint, ErrorKind, Level, Packet, PacketId, Sent, Sink as _, Source as _, Status,
};
use haul_kafka::{GroupConfig, KafkaConfig, KafkaSink, KafkaSource};
use rdkafka::message::Message as _;

use crate::broker::Broker;
use crate::support::{fresh, next, read_all, records, sink, soon, source, stored};

/// What kcat finds in a topic: key, headers, payload, partition and offset of each record.
fn kcat_reads(broker: &Broker, topic: &str) -> Option<Vec<String>> {
    let mut kcat = haul_services::kcat()?;
    kcat.args(["-C", "-e", "-q", "-b", &format!("127.0.0.1:{}", broker.port), "-t", topic]);
    let read = kcat.args(["-f", "%k|%h|%s|%p:%o\n"]).output().unwrap();
    assert!(read.status.success(), "{read:?}");
    Some(String::from_utf8(read.stdout).unwrap().lines().map(str::to_owned).collect())
}

/// Lets kcat write a record with these options.
fn kcat_writes(mut kcat: Command, broker: &Broker, topic: &str, options: &[&str], payload: &[u8]) {
    kcat.args(["-P", "-b", &format!("127.0.0.1:{}", broker.port), "-t", topic, "-p", "0"]).args(options);
    let mut child = kcat.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(payload).unwrap();
    assert!(child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_finds_key_headers_and_payload_where_the_receipt_says() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(&fresh("usual"), 3).await;
    let id = PacketId::from_bytes([7; 16]);
    let packet = Packet::text("{\"a\":1}").with("session_id", "s1").with("event", "click").with_id(id);
    let receipt = sink(&broker.url(&topic), "key={session_id}").deliver(packet).await.unwrap();
    assert_eq!((receipt.level, receipt.id), (Level::Stored, Some(id)));
    let Some(found) = kcat_reads(broker, &topic) else { return };
    let headers = format!("session_id=s1,event=click,haul-id={id}");
    assert_eq!(found, [format!("s1|{headers}|{{\"a\":1}}|{}", receipt.reference.unwrap())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_packet_comes_back_through_the_source() {
    let Some(broker) = Broker::shared() else { return };
    let url = broker.url(&broker.topic(&fresh("round"), 1).await);
    let sent = [
        Packet::binary(vec![0, 255, 10]).with("k", "v\u{e4}"),
        Packet::binary(&b"text by chance"[..]),
        Packet::text("plain").identified(),
        Packet::text("").with("empty", ""),
    ];
    for outcome in sink(&url, "").deliver_all(sent.to_vec()).await.unwrap() {
        outcome.unwrap();
    }
    let mut source = source(&url, "group=round");
    for packet in &sent {
        let delivery = next(&mut source).await;
        assert_eq!(delivery.packet(), packet);
        delivery.ack(stored()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_others_are_text_where_they_can_be_and_what_cannot_be_carried_is_told() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(&fresh("foreign"), 1).await;
    for (options, payload) in [
        (&["-k", "k1", "-H", "a=1"][..], &b"text"[..]),
        (&[], &[0xff, 0xfe]),
        (&["-H", "a=1", "-H", "a=2"], b"twice"),
        (&["-H", "haul-id=no uuid"], b"wrong"),
        (&[], b"last"),
    ] {
        let Some(kcat) = haul_services::kcat() else { return };
        kcat_writes(kcat, broker, &topic, options, payload);
    }
    let mut source = source(&broker.url(&topic), "group=foreign&key=the_key");
    let first = next(&mut source).await;
    assert_eq!(*first.packet(), Packet::text("text").with("a", "1").with("the_key", "k1"));
    let second = next(&mut source).await;
    assert_eq!(*second.packet(), Packet::binary(vec![0xff, 0xfe]));
    for (kind, offset) in [(ErrorKind::Unsupported, 2), (ErrorKind::Codec, 3)] {
        let why = soon("an error", source.next()).await.unwrap_err();
        assert_eq!(why.kind(), kind, "{why}");
        assert!(why.to_string().contains(&format!("offset={offset}")), "{why}");
    }
    assert_eq!(next(&mut source).await.packet().as_text(), Some("last"));
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_one_key_are_in_one_partition_and_in_order() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(&fresh("keys"), 4).await;
    let sink = sink(&broker.url(&topic), "key={user}");
    let packet = |n: u32| Packet::text(n.to_string()).with("user", (n % 10).to_string());
    for outcome in sink.deliver_all((0..1000).map(packet).collect::<Vec<_>>()).await.unwrap() {
        outcome.unwrap();
    }
    let mut of_keys = vec![Vec::new(); 10];
    for partition in 0..4 {
        for record in records(broker.port, topic.clone(), partition).await {
            let number: u32 = std::str::from_utf8(record.payload().unwrap()).unwrap().parse().unwrap();
            of_keys[number as usize % 10].push((partition, number));
        }
    }
    for (key, all) in of_keys.iter().enumerate() {
        let want: Vec<_> = (0..100).map(|n| (all[0].0, n * 10 + key as u32)).collect();
        assert_eq!(*all, want, "key {key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compression_is_read_by_another_client_and_by_the_source() {
    let Some(broker) = Broker::shared() else { return };
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = broker.topic(&fresh(compression), 1).await;
        let texts: Vec<_> = (0..50).map(|n| format!("{n} {}", "again and ".repeat(20))).collect();
        let packets: Vec<_> = texts.iter().map(|text| Packet::text(text.clone())).collect();
        let sink = sink(&broker.url(&topic), &format!("compression={compression}"));
        for outcome in sink.deliver_all(packets).await.unwrap() {
            outcome.unwrap();
        }
        let mut source = source(&broker.url(&topic), &format!("group={topic}"));
        for text in &texts {
            let delivery = next(&mut source).await;
            assert_eq!(delivery.packet().as_text(), Some(text.as_str()), "{compression}");
            delivery.ack(stored()).await.unwrap();
        }
        let Some(found) = kcat_reads(broker, &topic) else { return };
        let read: Vec<_> = found.iter().map(|line| line.split('|').nth(2).unwrap()).collect();
        assert_eq!(read, texts, "{compression}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_that_cannot_be_a_record_fails_alone() {
    let Some(broker) = Broker::shared() else { return };
    let name = fresh("alone");
    let topic = broker.topic_with(&format!("{name}-a"), 1, &[("max.message.bytes", "20000")]).await;
    let sink = sink(&broker.url(&format!("{name}-{{to}}")), "key={who}&timeout=60s&max_packet=100KiB");
    let packet = |text: String| Packet::text(text).with("to", "a").with("who", "me");
    let batch = vec![
        packet("first".into()),
        // The broker refuses it.
        packet("x".repeat(50_000)),
        // We refuse it.
        packet("x".repeat(200_000)),
        Packet::text("no key").with("to", "a"),
        packet("no such topic".into()).with("to", "b"),
        packet("no topic at all".into()).with("to", "/"),
        packet("no header".into()).with("haul-id", "7"),
        packet("no header".into()).with("a\0b", "7"),
        packet("last".into()),
    ];
    let outcomes = soon("the outcomes", sink.deliver_all(batch)).await.unwrap();
    let kinds: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().err().map(|why| (why.kind(), why.status(), why.sent())))
        .collect();
    let fails = |kind| Some((kind, Status::Permanent, Sent::No));
    let want = [
        None,
        fails(ErrorKind::TooLarge),
        fails(ErrorKind::TooLarge),
        fails(ErrorKind::Rejected),
        fails(ErrorKind::NotFound),
        fails(ErrorKind::Rejected),
        fails(ErrorKind::Unsupported),
        fails(ErrorKind::Unsupported),
        None,
    ];
    assert_eq!(kinds, want, "{outcomes:?}");
    assert_eq!(read_all(broker.port, topic).await, ["first", "last"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_no_topic_says_so() {
    let Some(broker) = Broker::shared() else { return };
    let mut source = source(&broker.url("nowhere"), "connect_timeout=100ms");
    for _ in 0..2 {
        let why = soon("an error", source.next()).await.unwrap_err();
        assert_eq!(why.kind(), ErrorKind::NotFound, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_that_is_full_makes_calls_wait_and_loses_nothing() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(&fresh("buffer"), 1).await;
    let sink = sink(&broker.url(&topic), "max_packet=100kB&buffer_memory=200kB");
    let texts: Vec<_> = (0..100).map(|n| format!("{n} {}", "x".repeat(90_000))).collect();
    let packets: Vec<_> = texts.iter().map(|text| Packet::text(text.clone())).collect();
    for outcome in soon("the outcomes", sink.deliver_all(packets)).await.unwrap() {
        outcome.unwrap();
    }
    assert_eq!(read_all(broker.port, topic).await, texts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_delivers_what_calls_that_were_given_up_had_buffered() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(&fresh("close"), 1).await;
    let sink = sink(&broker.url(&topic), "linger=20s");
    sink.ready().await.unwrap();
    let packets: Vec<_> = (0..50).map(|n| Packet::text(n.to_string())).collect();
    let mut given_up = Box::pin(sink.deliver_all(packets));
    // Polled once: all are buffered, and nothing is sent for 20 s.
    assert!(futures_poll(&mut given_up).await.is_none());
    drop(given_up);
    soon("the close", sink.close()).await.unwrap();
    assert_eq!(read_all(broker.port, topic).await.len(), 50);
}

async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_all_of_a_call_or_nothing() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic_with(&fresh("whole"), 1, &[("max.message.bytes", "20000")]).await;
    let options = format!("max_packet=100kB&transactional_id={topic}");
    let sink = sink(&broker.url(&topic), &options);
    let large = Packet::text("x".repeat(50_000));
    let batch = vec![Packet::text("with a large one"), large, Packet::text("behind it")];
    let outcomes = soon("the outcomes", sink.deliver_all(batch)).await.unwrap();
    let why = outcomes[1].as_ref().unwrap_err();
    assert_eq!((why.kind(), why.status()), (ErrorKind::TooLarge, Status::Permanent), "{why}");
    for outcome in outcomes {
        let why = outcome.unwrap_err();
        assert_eq!(why.sent(), Sent::No, "{why}");
    }
    // The brokers miss the numbers of the refused records, and may refuse one more call for that.
    soon("a transaction", async {
        loop {
            let outcomes = sink.deliver_all(vec![Packet::text("a"), Packet::text("b")]).await.unwrap();
            if outcomes.iter().all(Result::is_ok) {
                break;
            }
            for why in outcomes.into_iter().map(Result::unwrap_err) {
                assert_eq!((why.status(), why.sent()), (Status::Transient, Sent::No), "{why}");
            }
        }
    })
    .await;
    assert_eq!(read_all(broker.port, topic).await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_given_up_leaves_nothing() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(&fresh("up"), 1).await;
    let sink = sink(&broker.url(&topic), &format!("linger=3s&transactional_id={topic}"));
    let given_up = sink.deliver(Packet::text("given up"));
    // It waits for others of its batch.
    assert!(tokio::time::timeout(Duration::from_secs(1), given_up).await.is_err());
    soon("a receipt", sink.deliver(Packet::text("whole"))).await.unwrap();
    assert_eq!(read_all(broker.port, topic).await, ["whole"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_another_sink_ended_disturbs_no_later_one() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(&fresh("ended"), 1).await;
    let url = broker.url(&topic);
    let (ours, theirs) = (format!("linger=4s&transactional_id={topic}"), format!("transactional_id={topic}"));
    let (ours, theirs) = (sink(&url, &ours), sink(&url, &theirs));
    soon("a receipt", ours.deliver(Packet::text("first"))).await.unwrap();
    let given_up = ours.deliver(Packet::text("given up"));
    assert!(tokio::time::timeout(Duration::from_secs(3), given_up).await.is_err());
    soon("a receipt", theirs.deliver(Packet::text("theirs"))).await.unwrap();
    soon("a receipt", ours.deliver(Packet::text("ours"))).await.unwrap();
    assert_eq!(read_all(broker.port, topic).await, ["first", "theirs", "ours"]);
}

#[test]
fn what_is_wrong_with_a_configuration_is_said() {
    for (url, why) in [
        ("kafka://h", "its path is the topic"),
        ("kafka:///t", "it needs a host"),
        ("kafka://u@h/t", "need one another"),
        ("kafka://h/t?linger=60s", "linger must be less"),
        ("kafka://h/t?timeout=1ms", "timeout must be"),
        ("kafka://h/t?batch_size=0", "batch_size must be"),
        ("kafka://h/t?buffer_memory=1MB", "buffer_memory must have room"),
        ("kafka://h/t?max_packet=1GiB", "max_packet must be"),
        ("kafka://h/t?compression=rar", "none, gzip, snappy, lz4 or zstd"),
        ("kafka://h/t?brokers=a:b", "wrong at"),
        ("kafka://h/t?acks=0", "unknown option acks"),
    ] {
        let made =
            Endpoint::parse(url).and_then(|url| KafkaConfig::from_endpoint(&url)).and_then(KafkaSink::new);
        let error = made.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        assert!(error.to_string().contains(why), "{url}: {error}");
    }
    for (url, why) in [
        ("kafka://h/t?max_unacked=0", "max_unacked must be"),
        ("kafka://h/t?commit_interval=0s", "commit_interval must be"),
        ("kafka://h/t?session_timeout=1ms", "session_timeout must be"),
        ("kafka://h/t?start=middle", "earliest or latest"),
    ] {
        let made =
            Endpoint::parse(url).and_then(|url| GroupConfig::from_endpoint(&url)).and_then(KafkaSource::new);
        let error = made.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        assert!(error.to_string().contains(why), "{url}: {error}");
    }
}
