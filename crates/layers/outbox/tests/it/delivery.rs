use std::time::Duration;

use haul_core::{Backoff, Batch, Deliver, DeliverAll, ErrorKind, Level, Packet, PacketId, Service, Sink};
use haul_outbox::forward::{DeliveryOptions, Order};
use haul_outbox::{Outbox, OutboxLayer, OutboxOptions};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower_layer::Layer;

use crate::support::{
    LONG, Next, Told, away, open, patient, pending, quick, refusal, status, store, text, transient, within,
};

#[tokio::test]
async fn a_packet_is_stored_before_it_is_answered_and_delivered_with_an_id() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Told::new().hold("");
    let outbox = open(&dir, &sink).await;
    let id = PacketId::random();
    let receipt = outbox.deliver(Packet::text("a").with_id(id)).await.unwrap();
    assert_eq!((receipt.level, receipt.reference.as_deref()), (Level::Stored, Some("1")));
    let other = outbox.deliver(Packet::text("b").with("x", "1")).await.unwrap();
    assert_eq!(pending(&dir), ["a", "b"]);
    sink.let_go();
    sink.has("both", |got| got.len() == 2).await;
    let got = sink.packets();
    assert_eq!((got[0].id(), receipt.id, other.id), (Some(id), Some(id), None));
    assert!(got[1].id().is_some() && got[1].metadata().get("x") == Some("1"));
    status(&outbox, "none to wait", |status| status.pending == 0).await;
}

#[tokio::test]
async fn a_sink_that_is_away_gets_all_in_order_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = Told::new();
    for _ in 0..5 {
        sink = sink.then(Next::Fail(transient()));
    }
    let outbox = open(&dir, &sink).await;
    store(&outbox, "s", &["1", "2", "3"]).await;
    sink.has("all", |got| got.len() == 3).await;
    assert_eq!(sink.texts(), ["1", "2", "3"]);
    assert!(status(&outbox, "none to wait", |status| status.pending == 0).await.sink.retries >= 5);
}

#[tokio::test]
async fn behind_a_packet_that_failed_its_key_waits_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Told::new().then(Next::Refuse("a1", transient()));
    let outbox = Outbox::open(sink.sink(), patient(&dir)).await.unwrap();
    let all = [("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2")];
    let all = all.map(|(session, text)| Packet::text(text).with("session_id", session));
    assert!(outbox.deliver_all(all.to_vec()).await.unwrap().iter().all(Result::is_ok));
    sink.has("those of b", |got| got.len() == 2).await;
    assert_eq!(sink.texts(), ["b1", "b2"]);
    let left = outbox.close(LONG).await.unwrap();
    assert_eq!((left.pending, left.sink.position), (2, 1));
}

#[tokio::test]
async fn a_delivery_that_hangs_holds_up_its_keys_alone() {
    for order in [Order::Strict, Order::Batch] {
        let dir = tempfile::tempdir().unwrap();
        let sink = Told::new().hold("a");
        let delivery = DeliveryOptions { parallel: 2, order, ..quick(&dir).delivery };
        let options = OutboxOptions { delivery, ..quick(&dir) };
        let outbox = Outbox::open(sink.sink(), options).await.unwrap();
        store(&outbox, "a", &["a1"]).await;
        status(&outbox, "a delivery", |status| status.sink.delivering_since.is_some()).await;
        store(&outbox, "b", &["b1", "b2"]).await;
        store(&outbox, "a", &["a2", "a3"]).await;
        sink.has("those of b", |got| got.len() == 2).await;
        assert_eq!(sink.texts(), ["b1", "b2"]);
        status(&outbox, "b to be done", |status| status.pending == 3).await;
        sink.let_go();
        sink.has("all", |got| got.len() == 5).await;
        assert_eq!(sink.texts()[2..], ["a1", "a2", "a3"]);
    }
}

#[tokio::test]
async fn what_is_left_goes_on_at_the_next_opening() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(away(), patient(&dir)).await.unwrap();
    store(&outbox, "s", &["1", "2"]).await;
    let left = within("closing", outbox.close(LONG)).await.unwrap();
    assert_eq!((left.pending, pending(&dir)), (2, vec!["1".to_owned(), "2".to_owned()]));
    assert_eq!(outbox.deliver(Packet::text("late")).await.unwrap_err().kind(), ErrorKind::Closed);
    drop(outbox);
    let sink = Told::new();
    let outbox = open(&dir, &sink).await;
    sink.has("both", |got| got.len() == 2).await;
    let left = outbox.close(LONG).await.unwrap();
    assert_eq!((left.pending, sink.texts()), (0, vec!["1".to_owned(), "2".to_owned()]));
    assert!(pending(&dir).is_empty());
}

#[tokio::test]
async fn one_at_a_time_has_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(away(), quick(&dir)).await.unwrap();
    let error = Outbox::open(away(), quick(&dir)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    outbox.close(LONG).await.unwrap();
    Outbox::open(away(), quick(&dir)).await.unwrap();
}

#[tokio::test]
async fn what_has_no_key_or_is_too_large_is_refused_alone() {
    let dir = tempfile::tempdir().unwrap();
    let options = OutboxOptions { key: "{user}".parse().unwrap(), ..quick(&dir) };
    let outbox = Outbox::open(away(), options).await.unwrap();
    let good = || Packet::text("good").with("user", "u");
    let batch = vec![good(), Packet::text("no key"), Packet::binary(vec![0; 1001]).with("user", "u"), good()];
    let outcomes = outbox.deliver_all(batch).await.unwrap();
    let kinds: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().map(|why| why.kind())).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Rejected), Some(ErrorKind::TooLarge), None]);
    assert_eq!(pending(&dir), ["good", "good"]);
}

#[tokio::test]
async fn options_without_sense_are_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let backoff = Backoff { base: LONG, factor: 0.5, cap: LONG };
    let delivery = DeliveryOptions::default();
    for (options, word) in [
        (OutboxOptions::default(), "dir"),
        (OutboxOptions { max_packet: 0, ..quick(&dir) }, "max_packet"),
        (OutboxOptions { max_bytes: 1 << 18, ..quick(&dir) }, "max_bytes"),
        (OutboxOptions { delivery: DeliveryOptions { parallel: 0, ..delivery }, ..quick(&dir) }, "parallel"),
        (OutboxOptions { delivery: DeliveryOptions { backoff, ..delivery }, ..quick(&dir) }, "factor"),
    ] {
        let error = OutboxLayer::new(options).unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_file_says_all_of_it() {
    let text = format!(
        "dir = 'd'\nname = 'n'\nkey = '{{user}}'\nmax_packet = '1KiB'\nmax_bytes = '1GiB'\nwhen_full = 'drop-oldest'\n\
         max_age = '7d'\nmax_dead_bytes = '1MiB'\nencryption = {{ key = '{}' }}\ndrain = '1s'\n\
         [delivery]\nbatch = 1\nbatch_bytes = '2KiB'\norder = 'batch'\nahead = 3\nparallel = 4\n\
         backoff = {{ base = '1s', factor = 3, cap = '1m' }}\n",
        "a".repeat(64)
    );
    let read: OutboxOptions = toml::from_str(&text).unwrap();
    let default = OutboxOptions::default();
    let delivery = (&read.delivery, &default.delivery);
    assert!(read.dir != default.dir && read.name != default.name && read.key != default.key);
    assert!(read.max_packet != default.max_packet && read.max_bytes != default.max_bytes);
    assert!(read.when_full != default.when_full && read.max_age != default.max_age);
    assert!(read.max_dead_bytes != default.max_dead_bytes && read.drain != default.drain);
    assert!(delivery.0.batch != delivery.1.batch && delivery.0.batch_bytes != delivery.1.batch_bytes);
    assert!(delivery.0.order != delivery.1.order && delivery.0.ahead != delivery.1.ahead);
    assert!(delivery.0.parallel != delivery.1.parallel && delivery.0.backoff != delivery.1.backoff);
    assert!(!format!("{read:?}").contains("aaa"), "the key is not shown");
    for wrong in [
        "dri = 1",
        "when_full = 'x'",
        "encryption = { key = 'x' }",
        "encryption = {}",
        "delivery = { x = 1 }",
    ] {
        assert!(toml::from_str::<OutboxOptions>(wrong).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_layer_opens_at_first_use_and_closes_the_sink_if_it_never_was_used() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("outbox");
    let sink = Told::new();
    let layer = OutboxLayer::new(quick(&inside)).unwrap();
    let unused = layer.layer(sink.sink());
    assert!(!inside.exists());
    unused.close().await.unwrap();
    assert_eq!(unused.deliver(Packet::text("late")).await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(!inside.exists());
    let used = layer.layer(sink.sink());
    used.ready().await.unwrap();
    used.call(Batch::new(vec![Packet::text("1")])).await.unwrap().remove(0).unwrap();
    used.close().await.unwrap();
    assert_eq!(sink.texts(), ["1"]);
    assert_eq!(used.ready().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn behind_a_layer_what_is_left_of_before_goes_on_though_nothing_new_comes() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(away(), quick(&dir)).await.unwrap();
    store(&outbox, "a", &["1", "2"]).await;
    outbox.close(Duration::ZERO).await.unwrap();
    let sink = Told::new();
    let idle = OutboxLayer::new(quick(&dir)).unwrap().layer(sink.sink());
    sink.has("what was left", |got| got.len() == 2).await;
    idle.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_was_closed_unused_is_never_opened() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("outbox");
    let unused = OutboxLayer::new(quick(&inside)).unwrap().layer(Told::new().sink());
    unused.close().await.unwrap();
    tokio::time::sleep(LONG).await;
    assert!(!inside.exists());
}

#[test]
fn metrics_say_what_happened() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let sink = Told::new().then(Next::Refuse("bad", refusal())).then(Next::Fail(transient()));
            let options = OutboxOptions { name: Some("mine".into()), ..quick(&dir) };
            let outbox = Outbox::open(sink.sink(), options).await.unwrap();
            outbox.deliver(Packet::text("bad")).await.unwrap();
            status(&outbox, "the dead letter", |status| status.sink.dead == 1).await;
            outbox.deliver(Packet::text("good")).await.unwrap();
            outbox.deliver(Packet::binary(vec![0; 1001])).await.unwrap_err();
            sink.has("the good one", |got| got.len() == 1).await;
            outbox.close(LONG).await.unwrap();
            assert_eq!(sink.packets().iter().map(text).collect::<Vec<_>>(), ["good"]);
        });
    });
    let mut seen = std::collections::BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        assert_eq!(key.key().labels().map(|label| label.value()).collect::<Vec<_>>(), ["mine"]);
        let value = match value {
            DebugValue::Counter(count) => count as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(_) => panic!("there is none"),
        };
        seen.insert(key.key().name().trim_start_matches("haul_outbox_").to_owned(), value);
    }
    assert!(seen.remove("bytes").unwrap() > 0.0);
    let seen: Vec<_> = seen.iter().map(|(name, value)| (name.as_str(), *value as u64)).collect();
    let expected = [
        ("dead_letters_total", 1),
        ("delivered_total", 1),
        ("deliveries_total", 3),
        ("lost_total", 0),
        ("pending", 0),
        ("refused_total", 1),
        ("retries_total", 1),
        ("stored_total", 2),
    ];
    assert_eq!(seen, expected);
}
