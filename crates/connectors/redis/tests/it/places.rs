//! What packets become in streams, lists and channels.

use haul_core::{
    AnySink, Deliver, DeliverAll, Endpoint, ErrorKind, Level, Packet, PacketId, Sent, Sink, Source, Status,
};
use haul_redis::{GroupConfig, RedisConfig, RedisSink, RedisSource};

use crate::support::{self, Redis, ask, entries, soon};

fn sink(url: &str) -> RedisSink {
    RedisSink::new(RedisConfig::from_endpoint(&Endpoint::parse(url).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn an_entry_has_the_usual_fields_and_its_id_is_the_reference() {
    let Some(redis) = Redis::start(&[]) else { return };
    let key = support::fresh("usual");
    let sink = sink(&format!("redis://127.0.0.1:{}/{key}", redis.port));
    let id = PacketId::from_bytes([7; 16]);
    let packet = Packet::text("{\"a\":1}").with("session_id", "s1").with("event_type", "click").with_id(id);
    let receipt = sink.deliver(packet).await.unwrap();
    assert_eq!(receipt.level, Level::Stored);
    let all = entries(redis.port, &key).await;
    let [(entry, fields)] = &all[..] else { panic!("{all:?}") };
    assert_eq!(receipt.reference.as_deref(), Some(entry.as_str()));
    for (name, value) in [
        ("event_type", "click"),
        ("session_id", "s1"),
        ("event_data", "{\"a\":1}"),
        ("metadata", r#"{"session_id":"s1","event_type":"click"}"#),
        ("id", &id.to_string()),
    ] {
        assert_eq!(fields[name], value.as_bytes(), "{name}");
    }
    assert!(fields.contains_key("timestamp") && !fields.contains_key("kind"), "{fields:?}");
}

#[tokio::test]
async fn all_of_a_packet_comes_back_through_the_source() {
    let Some(redis) = Redis::start(&[]) else { return };
    let url = format!("redis://127.0.0.1:{}/{}", redis.port, support::fresh("round"));
    let sink = sink(&url);
    let sent = [
        Packet::binary(vec![0, 255, 10]).with("k", "v\u{e4}"),
        Packet::text("plain").identified(),
        Packet::text(""),
    ];
    for outcome in sink.deliver_all(sent.to_vec()).await.unwrap() {
        outcome.unwrap();
    }
    let group = GroupConfig::from_endpoint(&Endpoint::parse(&url).unwrap()).unwrap();
    let mut source = RedisSource::new(group).unwrap();
    for packet in &sent {
        let delivery = soon("a packet", source.next()).await.unwrap().unwrap();
        assert_eq!(delivery.packet(), packet);
        let receipt = haul_core::Receipt::new(Level::Stored, None);
        delivery.ack(receipt).await.unwrap();
    }
}

#[tokio::test]
async fn the_entries_of_others_come_as_json_and_deleted_ones_do_not_come() {
    let Some(redis) = Redis::start(&[]) else { return };
    let key = support::fresh("foreign");
    let url = format!("redis://127.0.0.1:{}/{key}", redis.port);
    let first: String = ask(redis.port, &["XADD", &key, "*", "temperature", "21.5"]).await;
    let _: String = ask(redis.port, &["XADD", &key, "*", "temperature", "22"]).await;
    let group = || GroupConfig::from_endpoint(&Endpoint::parse(&url).unwrap()).unwrap();
    let mut source = RedisSource::new(group()).unwrap();
    let delivery = soon("a packet", source.next()).await.unwrap().unwrap();
    assert_eq!(delivery.packet().as_text(), Some(r#"{"temperature":"21.5"}"#));
    drop(source);
    std::mem::forget(delivery);
    let _: u64 = ask(redis.port, &["XDEL", &key, &first]).await;
    let mut source = RedisSource::new(group()).unwrap();
    let delivery = soon("the other packet", source.next()).await.unwrap().unwrap();
    assert_eq!(delivery.packet().as_text(), Some(r#"{"temperature":"22"}"#));
}

#[tokio::test]
async fn keys_and_fields_are_made_from_templates_and_a_packet_that_lacks_something_fails_alone() {
    let Some(redis) = Redis::start(&[]) else { return };
    let key = support::fresh("of");
    let sink = sink(&format!(
        "redis://127.0.0.1:{}/{key}-{{who}}?fields=text:{{@payload}};from:{{who}}",
        redis.port
    ));
    let batch =
        vec![Packet::text("1").with("who", "a"), Packet::text("2"), Packet::text("3").with("who", "a")];
    let outcomes = sink.deliver_all(batch).await.unwrap();
    let kinds: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(haul_core::Error::kind)).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Rejected), None]);
    let texts: Vec<_> =
        entries(redis.port, &format!("{key}-a")).await.into_iter().map(|(_, f)| f["text"].clone()).collect();
    assert_eq!(texts, ["1", "3"]);
}

#[tokio::test]
async fn a_stream_keeps_about_as_many_entries_as_it_is_to() {
    let Some(redis) = Redis::start(&[]) else { return };
    let key = support::fresh("short");
    let sink = sink(&format!("redis://127.0.0.1:{}/{key}?max_len=100", redis.port));
    let outcomes =
        sink.deliver_all((0..2000).map(|n| Packet::text(n.to_string())).collect::<Vec<_>>()).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok));
    let kept: u64 = ask(redis.port, &["XLEN", &key]).await;
    assert!((100..500).contains(&kept), "{kept} entries");
}

#[tokio::test]
async fn lists_and_channels_carry_payloads_and_refuse_metadata() {
    let Some(redis) = Redis::start(&[]) else { return };
    let key = support::fresh("list");
    let list = sink(&format!("redis://127.0.0.1:{}/{key}?as=list", redis.port));
    for text in ["a", "b"] {
        assert_eq!(list.deliver(Packet::text(text)).await.unwrap().level, Level::Stored);
    }
    let there: Vec<String> = ask(redis.port, &["LRANGE", &key, "0", "-1"]).await;
    assert_eq!(there, ["a", "b"]);
    let why = list.deliver(Packet::text("c").with("k", "v")).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Unsupported, Sent::No));

    let channel = sink(&format!("redis://127.0.0.1:{}/{}?as=channel", redis.port, support::fresh("channel")));
    let receipt = channel.deliver(Packet::text("nobody hears it")).await.unwrap();
    assert_eq!((receipt.level, receipt.reference.as_deref()), (Level::Discarded, Some("0")));
}

#[tokio::test]
async fn a_key_of_another_type_refuses_its_packets_alone() {
    let Some(redis) = Redis::start(&[]) else { return };
    let key = support::fresh("typed");
    let _: String = ask(redis.port, &["SET", &format!("{key}-bad"), "text"]).await;
    let sink = sink(&format!("redis://127.0.0.1:{}/{key}-{{to}}", redis.port));
    let to = |name: &str| Packet::text("x").with("to", name.to_owned());
    let outcomes = sink.deliver_all(vec![to("good"), to("bad"), to("good")]).await.unwrap();
    let [good, bad, after] = <[_; 3]>::try_from(outcomes).unwrap();
    good.unwrap();
    after.unwrap();
    let why = bad.unwrap_err();
    assert_eq!(
        (why.kind(), why.status(), why.sent()),
        (ErrorKind::Rejected, Status::Permanent, Sent::No),
        "{why}"
    );
}

#[tokio::test]
async fn a_cluster_and_a_master_named_by_sentinels_are_found() {
    let Some(cluster) = Redis::start(&["--cluster-enabled", "yes"]) else { return };
    let _: String = ask(cluster.port, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    let sink_ = sink(&format!("redis://127.0.0.1:{}/c-{{n}}?cluster=true", cluster.port));
    soon("the cluster", async {
        while sink_.ready().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let batch: Vec<_> = (0..50).map(|n| Packet::text("x").with("n", n.to_string())).collect();
    for outcome in sink_.deliver_all(batch).await.unwrap() {
        outcome.unwrap();
    }

    let Some(master) = Redis::start(&[]) else { return };
    let monitor = format!("sentinel monitor main 127.0.0.1 {} 1\n", master.port);
    let Some(sentinel) = Redis::sentinel(&monitor) else { return };
    let sink = AnySink::new(sink(&format!("redis://127.0.0.1:{}/s?sentinel=main", sentinel.port)));
    sink.deliver(Packet::text("x")).await.unwrap();
    assert_eq!(entries(master.port, "s").await.len(), 1);
}
