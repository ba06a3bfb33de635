//! Where packets go, what they become there, and what is known then.

use haul_amqp::{AmqpConfig, AmqpSink, ConsumerConfig};
use haul_core::{
    Deliver, DeliverAll, Endpoint, ErrorKind, Level, Packet, PacketId, Receipt, Sent, Sink, Source, Status,
};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::support::{fresh, messages, payloads, shared, soon};

#[tokio::test]
async fn all_of_a_packet_comes_back_through_the_source() {
    let Some(rabbit) = shared() else { return };
    let queue = format!("/?queue={}&declare=true", fresh("round"));
    let sent = [
        Packet::binary(vec![0, 255, 10]).with("a", "v\u{e4}").with("b", ""),
        Packet::text("plain").identified(),
        Packet::text(""),
        Packet::binary("text by its bytes").with("x-k", "1"),
    ];
    for outcome in rabbit.sink(&queue).deliver_all(sent.to_vec()).await.unwrap() {
        assert_eq!(outcome.unwrap().level, Level::Stored);
    }
    let mut source = rabbit.source(&queue);
    for packet in &sent {
        let delivery = soon("a packet", source.next()).await.unwrap().unwrap();
        assert_eq!(delivery.packet(), packet);
        delivery.ack(Receipt::new(Level::Stored, None)).await.unwrap();
    }
}

#[tokio::test]
async fn a_message_says_what_a_packet_is_in_the_words_of_amqp() {
    let Some(rabbit) = shared() else { return };
    let queue = fresh("words");
    let sink = rabbit.sink(&format!("/?queue={queue}&declare=true&priority=3&expiration=1h"));
    let id = PacketId::from_bytes([7; 16]);
    sink.deliver(Packet::text("x").with("session_id", "s1").with_id(id)).await.unwrap();
    rabbit
        .sink(&format!("/?queue={queue}&delivery_mode=transient"))
        .deliver(Packet::binary("y"))
        .await
        .unwrap();
    let [text, binary] = <[_; 2]>::try_from(messages(rabbit, &queue).await).unwrap();
    let said = &text.properties;
    assert_eq!(said.content_type().as_ref().unwrap().as_str(), "text/plain; charset=utf-8");
    assert_eq!(said.message_id().as_ref().unwrap().as_str(), id.to_string());
    assert_eq!((*said.delivery_mode(), *said.priority()), (Some(2), Some(3)));
    assert_eq!(said.expiration().as_ref().unwrap().as_str(), "3600000");
    assert!(said.timestamp().is_some());
    let headers = said.headers().as_ref().unwrap().inner();
    assert_eq!(headers["session_id"], AMQPValue::LongString("s1".into()));
    assert_eq!(headers.len(), 1);
    let said = &binary.properties;
    assert_eq!(said.content_type().as_ref().unwrap().as_str(), "application/octet-stream");
    assert_eq!(
        (*said.delivery_mode(), said.headers().is_none(), said.message_id().is_none()),
        (Some(1), true, true)
    );
}

#[tokio::test]
async fn messages_of_others_come_with_all_that_they_say() {
    let Some(rabbit) = shared() else { return };
    let queue = fresh("others");
    let mut source = rabbit.source(&format!("/?queue={queue}&declare=true"));
    rabbit.declare(&queue).await;
    let (_connection, channel) = rabbit.channel().await;
    let mut headers = FieldTable::default();
    headers.insert("count".into(), AMQPValue::LongInt(7));
    headers
        .insert("list".into(), AMQPValue::FieldArray(vec![AMQPValue::Boolean(true), AMQPValue::Void].into()));
    headers.insert("text".into(), AMQPValue::LongString("as it is".into()));
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id("no UUID".into())
        .with_correlation_id("c1".into())
        .with_headers(headers);
    for (payload, properties) in [(&b"{}"[..], properties), (&b"\xff"[..], BasicProperties::default())] {
        let options = BasicPublishOptions::default();
        channel.basic_publish("".into(), queue.as_str().into(), options, payload, properties).await.unwrap();
    }
    let packet = soon("a packet", source.next()).await.unwrap().unwrap();
    let expected = Packet::text("{}")
        .with("count", "7")
        .with("list", "[true,null]")
        .with("text", "as it is")
        .with("content_type", "application/json")
        .with("correlation_id", "c1")
        .with("message_id", "no UUID");
    assert_eq!(packet.packet(), &expected);
    let packet = soon("a packet", source.next()).await.unwrap().unwrap();
    assert_eq!(packet.packet(), &Packet::binary(&b"\xff"[..]), "what is no text");
}

#[tokio::test]
async fn what_no_queue_takes_is_not_found_and_it_is_the_right_packets() {
    let Some(rabbit) = shared() else { return };
    let (exchange, queue) = (fresh("topics"), fresh("routed"));
    let sink = rabbit.sink(&format!(
        "/?exchange={exchange}&exchange_type=topic&queue={queue}&binding=good.%23&declare=true&routing_key={{to}}.x"
    ));
    // Without a pattern, so that confirms of several at once have both kinds in them; some are alike in all but their number.
    let good = |n: u32| !(n * n + n / 7).is_multiple_of(3);
    let batch: Vec<_> = (0..600)
        .map(|n| Packet::text(n.to_string()).with("to", if good(n) { "good" } else { "bad" }))
        .collect();
    let outcomes = sink.deliver_all(batch).await.unwrap();
    for (n, outcome) in (0..600).zip(&outcomes) {
        match outcome {
            Ok(receipt) => assert!(good(n) && receipt.level == Level::Acknowledged, "{n}"),
            Err(why) => {
                assert!(!good(n), "{n}: {why}");
                assert_eq!(
                    (why.kind(), why.status(), why.sent()),
                    (ErrorKind::NotFound, Status::Permanent, Sent::No),
                    "{why}"
                );
            }
        }
    }
    let expected: Vec<_> = (0..600).filter(|n| good(*n)).map(|n| n.to_string()).collect();
    assert_eq!(payloads(rabbit, &queue).await, expected);
}

#[tokio::test]
async fn exchange_and_key_are_made_of_each_packet_and_one_that_is_not_there_fails_its_packets_alone() {
    let Some(rabbit) = shared() else { return };
    let (exchange, queue) = (fresh("ex"), fresh("q"));
    let (_connection, channel) = rabbit.channel().await;
    let name = format!("{exchange}-a");
    channel
        .exchange_declare(
            name.as_str().into(),
            lapin::ExchangeKind::Direct,
            ExchangeDeclareOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    channel
        .queue_declare(queue.as_str().into(), QueueDeclareOptions::default(), FieldTable::default())
        .await
        .unwrap();
    channel
        .queue_bind(
            queue.as_str().into(),
            name.as_str().into(),
            "k1".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let sink = rabbit.sink(&format!("/?exchange={exchange}-{{to}}&routing_key=k{{n}}"));
    let packet = |text: &str, to: &'static str| Packet::text(text).with("to", to).with("n", "1");
    let batch =
        vec![packet("1", "a"), packet("2", "b"), Packet::text("3"), packet("4", "a"), packet("5", "b")];
    let outcomes = sink.deliver_all(batch).await.unwrap();
    let kinds: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(haul_core::Error::kind)).collect();
    let not_found = Some(ErrorKind::NotFound);
    assert_eq!(kinds, [None, not_found, Some(ErrorKind::Rejected), None, not_found]);
    let why = outcomes[1].as_ref().unwrap_err();
    assert_eq!((why.status(), why.sent()), (Status::Permanent, Sent::No), "{why}");
    assert_eq!(payloads(rabbit, &queue).await, ["1", "4"]);
    // One that goes while we use it is asked for again.
    channel.exchange_delete(name.as_str().into(), Default::default()).await.unwrap();
    let why = soon("the refusal", async {
        loop {
            match sink.deliver(packet("6", "a")).await {
                Err(why) if why.status() == Status::Permanent => break why,
                Err(why) => assert_eq!(why.kind(), ErrorKind::NotFound, "{why}"),
                Ok(receipt) => panic!("it went nowhere, and has {receipt:?}"),
            }
        }
    });
    assert_eq!(why.await.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_receipt_says_what_is_known_and_no_more() {
    let Some(rabbit) = shared() else { return };
    let (queue, exchange) = (fresh("known"), fresh("fan"));
    let fan = format!("exchange={exchange}&exchange_type=fanout&queue={queue}&declare=true");
    for (options, level) in [
        (format!("queue={queue}&declare=true"), Level::Stored),
        (format!("queue={queue}"), Level::Acknowledged),
        (format!("queue={queue}&declare=true&delivery_mode=transient"), Level::Acknowledged),
        (format!("queue={queue}&declare=true&mandatory=false"), Level::Acknowledged),
        (fan.clone(), Level::Stored),
        (format!("exchange={exchange}"), Level::Acknowledged),
        ("routing_key=nobody-has-this&mandatory=false".to_owned(), Level::Acknowledged),
    ] {
        let receipt = rabbit.sink(&format!("/?{options}")).deliver(Packet::text("x").identified()).await;
        assert_eq!(receipt.unwrap().level, level, "{options}");
    }
}

#[tokio::test]
async fn a_queue_that_was_deleted_is_declared_again_after_a_packet_came_back() {
    let Some(rabbit) = shared() else { return };
    let queue = fresh("deleted");
    let sink = rabbit.sink(&format!("/?queue={queue}&declare=true"));
    sink.deliver(Packet::text("1")).await.unwrap();
    let (_connection, channel) = rabbit.channel().await;
    channel.queue_delete(queue.as_str().into(), Default::default()).await.unwrap();
    assert_eq!(sink.deliver(Packet::text("2")).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(sink.deliver(Packet::text("3")).await.unwrap().level, Level::Stored);
    assert_eq!(payloads(rabbit, &queue).await, ["3"]);
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_and_may_be_asked_again() {
    let Some(rabbit) = shared() else { return };
    let queue = fresh("full");
    let (_connection, channel) = rabbit.channel().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(3));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::default(), arguments).await.unwrap();
    let sink = rabbit.sink(&format!("/?queue={queue}&window=1"));
    let outcomes = sink.deliver_all((0..6).map(|n| Packet::text(n.to_string())).collect::<Vec<_>>()).await;
    let mut outcomes = outcomes.unwrap();
    let stored = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
    assert_eq!(stored, 3);
    assert_eq!(payloads(rabbit, &queue).await, ["0", "1", "2"]);
    let behind = outcomes.split_off(4);
    let why = outcomes.remove(3).unwrap_err();
    assert_eq!(
        (why.kind(), why.status(), why.sent()),
        (ErrorKind::Rejected, Status::Transient, Sent::Maybe),
        "{why}"
    );
    for why in behind.into_iter().map(Result::unwrap_err) {
        assert_eq!((why.status(), why.sent()), (Status::Transient, Sent::No), "{why}");
    }
}

#[tokio::test]
async fn what_amqp_cannot_carry_fails_alone() {
    let Some(rabbit) = shared() else { return };
    let queue = fresh("carry");
    let sink = rabbit.sink(&format!("/?queue={queue}&declare=true"));
    let batch = vec![
        Packet::text("1"),
        Packet::text("2").with("n".repeat(256), "v"),
        Packet::text("3").with("CC", "elsewhere"),
        Packet::text("4").with("long", "v".repeat(200_000)),
        Packet::text("5").with("n".repeat(255), "v".repeat(120_000)),
    ];
    let outcomes = sink.deliver_all(batch).await.unwrap();
    let kinds: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(haul_core::Error::kind)).collect();
    let (unsupported, too_large) = (Some(ErrorKind::Unsupported), Some(ErrorKind::TooLarge));
    assert_eq!(kinds, [None, unsupported, unsupported, too_large, None]);
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(|why| why.sent() == Sent::No));
    assert_eq!(payloads(rabbit, &queue).await, ["1", "5"]);
}

#[tokio::test]
async fn the_path_is_the_virtual_host() {
    let Some(rabbit) = shared() else { return };
    let host = format!("{}/x", fresh("host"));
    let path = format!("/{}", host.replace('/', "%2F"));
    let sink = rabbit.sink(&format!("{path}?queue=q&declare=true"));
    let why = sink.ready().await.unwrap_err();
    assert_eq!(
        (why.kind(), why.status(), why.sent()),
        (ErrorKind::NotFound, Status::Permanent, Sent::No),
        "{why}"
    );
    tokio::task::spawn_blocking(move || {
        rabbit.control(&["add_vhost", &host]);
        let why = rabbit.sink(&format!("/{}?queue=q", host.replace('/', "%2F")));
        rabbit.control(&["set_permissions", "-p", &host, "guest", ".*", ".*", ".*"]);
        why
    })
    .await
    .unwrap();
    sink.deliver(Packet::text("x")).await.unwrap();
    for same in ["", "/", "/%2F"] {
        rabbit
            .sink(&format!("{same}?queue=amqp-root&declare=true"))
            .deliver(Packet::text("x"))
            .await
            .unwrap();
    }
    assert_eq!(payloads(rabbit, "amqp-root").await.len(), 3);
}

#[tokio::test]
async fn a_client_of_another_language_reads_what_we_send_and_we_what_it_sends() {
    let (Some(rabbit), Some(mut python)) = (shared(), haul_services::python_pika()) else { return };
    let (there, back) = (fresh("to-python"), fresh("from-python"));
    let sink = rabbit.sink(&format!("/?queue={there}&declare=true"));
    let packet = Packet::text("gr\u{fc}\u{df}e").with("k", "v").identified();
    sink.deliver(packet.clone()).await.unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/echo.py");
    let program = python.args([script, &rabbit.port.to_string(), &there, &back]).output().unwrap();
    assert!(program.status.success(), "{program:?}");
    let mut source = rabbit.source(&format!("/?queue={back}"));
    let delivery = soon("the packet", source.next()).await.unwrap().unwrap();
    assert_eq!(delivery.packet(), &packet.with("seen", "by pika"));
}

#[test]
fn options_that_contradict_one_another_are_refused() {
    for (sink, part) in [
        ("amqp://h/", "nothing says where packets go"),
        ("amqp://h/?queue=q&window=0", "window"),
        ("amqp://h/?exchange=e&declare=true", "what is to be declared"),
        ("amqp://h/?exchange=e&exchange_type=topic", "needs declare=true"),
        ("amqp://h/?queue=q&exchange_type=topic&declare=true", "exchange_type needs exchange"),
        ("amqp://h/?exchange=e&queue=q", "declare=true binds"),
        ("amqp://h/?queue=q&binding=b", "binding needs"),
        ("amqp://h/?queue=q&heartbeat=1500ms", "whole seconds"),
        ("amqp://h/?queue=q&frame_max=100", "frame_max"),
        ("amqp://h/?queue=q&priority=300", "priority=300"),
        ("amqp://h/?queue=q&exchange_typ=x", "did you mean exchange_type?"),
        ("amqp://h/?queue=q&ca=x.pem", "need amqps://"),
        ("amqp:?queue=q", "needs a host"),
    ] {
        let made = Endpoint::parse(sink).and_then(|endpoint| AmqpConfig::from_endpoint(&endpoint));
        let why = made.and_then(AmqpSink::new).unwrap_err();
        assert!(why.kind() == ErrorKind::Config && why.to_string().contains(part), "{sink}: {why}");
    }
    for (source, part) in [
        ("amqp://h/", "queue is needed"),
        ("amqp://h/?queue=q&max_unacked=0", "max_unacked"),
        ("amqp://h/?queue=q&max_unacked=70000", "65535"),
        ("amqp://h/?queue=q&exchange=e", "needs declare=true"),
        ("amqp://h/?queue=q&binding=b", "binding needs exchange"),
    ] {
        let made = Endpoint::parse(source).and_then(|endpoint| ConsumerConfig::from_endpoint(&endpoint));
        let why = made.and_then(haul_amqp::AmqpSource::new).unwrap_err();
        assert!(why.kind() == ErrorKind::Config && why.to_string().contains(part), "{source}: {why}");
    }
}
