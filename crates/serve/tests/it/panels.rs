//! What a route shows of itself: status, metrics, taps.

use std::sync::Arc;
use std::time::Duration;

use haul_core::{
    AnySink, Batch, Connection, Deliver, Error, ErrorKind, Level, Packet, PacketId, Receipt, Result, Service,
    Sink,
};
use haul_serve::{Gateway, LayerStatus, Panel, ReceiverStatus, Route, tap_endpoint};

use crate::support::{WEB, dial, options, registry, start, until, within};
use crate::web::ask;

/// Refuses the packet `bad`, fails `down` as a whole, never answers `slow`, and takes all others.
#[derive(Clone)]
struct Picky;

impl Service<Batch> for Picky {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let texts: Vec<_> =
            batch.packets().iter().map(|packet| packet.as_text().unwrap_or_default()).collect();
        if texts.contains(&"slow") {
            return std::future::pending().await;
        }
        if texts.contains(&"down") {
            return Err(Error::new(ErrorKind::Config, "it is down"));
        }
        let answer = |packet: &Packet| match packet.as_text() {
            Some("bad") => Err(Error::new(ErrorKind::Rejected, "no such stream")),
            _ => Ok(Receipt::new(Level::Stored, packet.id()).with_reference("17-0")),
        };
        Ok(batch.packets().iter().map(answer).collect())
    }
}

impl Sink for Picky {}

fn picky(made_of: &str) -> Route {
    Route::new("picky", made_of, |panel| {
        panel.layer(|| Some(LayerStatus::Breaker { state: "open" }));
        panel.layer(|| Some(LayerStatus::Queue { waiting: 3 }));
        panel.layer(|| None);
        std::future::ready(Ok(panel.receiver("picky://here", AnySink::new(Picky))))
    })
}

async fn picky_gateway(data: &tempfile::TempDir) -> (Gateway, Connection) {
    let options = options(data, &[WEB, "tcp://127.0.0.1:0"]).route(picky("1"));
    let gateway = Gateway::start(options, registry()).await.unwrap();
    let tcp = gateway.local_endpoints()[1].clone();
    let client = registry().connect(tcp).await.unwrap();
    (gateway, client)
}

/// Stores a packet each, in a session of its own.
async fn store(client: &Connection, texts: &[&'static str]) {
    for text in texts {
        client.deliver(Packet::text(*text).with("session_id", *text)).await.unwrap();
    }
}

#[tokio::test]
async fn a_route_shows_what_its_receiver_took_and_what_it_refused() {
    let data = tempfile::tempdir().unwrap();
    let (gateway, client) = picky_gateway(&data).await;
    store(&client, &["a", "bad", "b"]).await;
    until("all to be settled", &gateway, |status| status.log.sinks[0].lag == 0).await;
    let status = gateway.status();
    let route = &status.routes[0];
    assert_eq!((route.name.as_str(), route.receivers.len()), ("picky", 1));
    let receiver = &route.receivers[0];
    assert_eq!((receiver.url.as_str(), receiver.accepted, receiver.failed), ("picky://here", 2, 1));
    assert_eq!((receiver.under_way, receiver.abandoned), (0, 0));
    assert_eq!(receiver.times.counts.iter().sum::<u64>(), receiver.deliveries);
    assert_eq!(receiver.last_failure.as_deref(), Some("no such stream"));
    // The outer first, and none that knows nothing.
    assert_eq!(route.layers, [LayerStatus::Queue { waiting: 3 }, LayerStatus::Breaker { state: "open" }]);

    let page = ask(&gateway, "GET", "/metrics", &[], "").await.2;
    for line in [
        "haul_route_dead_letters_total{route=\"picky\"} 1",
        "haul_receiver_accepted_total{route=\"picky\",receiver=\"picky://here\"} 2",
        "haul_receiver_failed_total{route=\"picky\",receiver=\"picky://here\"} 1",
        "haul_receiver_deliveries_under_way{route=\"picky\",receiver=\"picky://here\"} 0",
        "# TYPE haul_receiver_delivery_seconds histogram",
        "haul_queue_waiting{route=\"picky\",layer=\"1\"} 3",
        "haul_breaker_open{route=\"picky\",layer=\"2\"} 1",
        "haul_breaker_half_open{route=\"picky\",layer=\"2\"} 0",
    ] {
        assert!(page.lines().any(|known| known == line), "{line} is not in {page}");
    }
    let deliveries = receiver.deliveries;
    for name in [
        "bucket{route=\"picky\",receiver=\"picky://here\",le=\"+Inf\"}",
        "count{route=\"picky\",receiver=\"picky://here\"}",
    ] {
        assert!(page.contains(&format!("haul_receiver_delivery_seconds_{name} {deliveries}\n")), "{page}");
    }
}

/// What `panel` shows of its only receiver.
fn only(panel: &Panel) -> ReceiverStatus {
    let mut receivers = panel.status().receivers;
    assert_eq!(receivers.len(), 1);
    receivers.remove(0)
}

#[tokio::test]
async fn a_delivery_that_nobody_waits_for_is_abandoned_and_one_that_fails_has_no_time() {
    let panel = Panel::default();
    let sink = panel.receiver("picky://here", AnySink::new(Picky));
    let slow = tokio::time::timeout(Duration::from_millis(1), sink.deliver(Packet::text("slow"))).await;
    slow.unwrap_err();
    let seen = only(&panel);
    assert_eq!((seen.deliveries, seen.under_way, seen.abandoned, seen.failed), (1, 0, 1, 0));

    let batch = Batch::new(vec![Packet::text("a"), Packet::text("down")]);
    sink.call(batch).await.unwrap_err();
    let seen = only(&panel);
    assert_eq!((seen.deliveries, seen.abandoned, seen.failed), (2, 1, 2));
    assert_eq!((seen.times.counts, seen.last_failure.as_deref()), ([0; 13], Some("it is down")));
}

#[test]
fn receivers_with_the_same_url_are_told_apart() {
    let panel = Panel::default();
    for _ in 0..3 {
        panel.receiver("null:", AnySink::new(Picky));
    }
    let urls: Vec<_> = panel.status().receivers.into_iter().map(|receiver| receiver.url).collect();
    assert_eq!(urls, ["null:", "null: (2)", "null: (3)"]);
}

#[test]
fn what_shows_a_layer_keeps_no_sink_alive_behind_the_panel() {
    let held = Arc::new(());
    let alive = Arc::downgrade(&held);
    let panel = Panel::default();
    let sink = panel.receiver("held:", AnySink::layered(Holding(held), AnySink::new(Picky)));
    let seen = sink.clone();
    panel.layer(move || {
        let _layers_are_asked_through_clones_of_themselves = &seen;
        None
    });
    drop((panel, sink));
    assert!(alive.upgrade().is_none());
}

struct Holding(#[allow(dead_code, reason = "it is only held")] Arc<()>);

impl Service<Batch> for Holding {
    async fn call(&self, _: Batch) -> Result<Vec<Result<Receipt>>> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_reload_shows_the_route_that_is_there_now() {
    let data = tempfile::tempdir().unwrap();
    let (gateway, client) = picky_gateway(&data).await;
    store(&client, &["a"]).await;
    until("the packet", &gateway, |status| status.routes[0].receivers[0].accepted == 1).await;
    let changed = options(&data, &[WEB, "tcp://127.0.0.1:0"]).route(picky("2"));
    within("the reload", gateway.reload(changed)).await.unwrap();
    assert_eq!(gateway.status().routes[0].receivers[0].accepted, 0);
    store(&client, &["b"]).await;
    until("the packet", &gateway, |status| status.routes[0].receivers[0].accepted == 1).await;
}

/// A tap that is open.
async fn tap(data: &tempfile::TempDir, request: &str) -> Connection {
    let mut tap = registry().connect(tap_endpoint(data.path()).unwrap()).await.unwrap();
    tap.send(Packet::text(request.to_owned())).await.unwrap();
    let open = within("the tap", tap.recv()).await.unwrap().unwrap();
    assert_eq!(open.metadata().get("haul.tap"), Some("open"), "{open:?}");
    tap
}

#[tokio::test]
async fn a_tap_of_a_route_sees_what_its_receiver_is_given_with_what_becomes_of_it() {
    let data = tempfile::tempdir().unwrap();
    let (_gateway, client) = picky_gateway(&data).await;
    let mut all = tap(&data, r#"{"do":"tap","route":"picky"}"#).await;
    let mut one = tap(&data, r#"{"do":"tap","route":"picky","session":"b"}"#).await;
    let mut stored = tap(&data, r#"{"do":"tap"}"#).await;
    let id = PacketId::random();
    client.deliver(Packet::text("a").with("session_id", "s").with_id(id)).await.unwrap();
    store(&client, &["bad", "b"]).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let packet = within("a delivery", all.recv()).await.unwrap().unwrap();
        let of = |name: &str| packet.metadata().get(name).unwrap_or_default().to_owned();
        assert_eq!((of("haul.route"), of("haul.receiver")), ("picky".into(), "picky://here".into()));
        assert!(of("haul.at").starts_with("20"), "{packet:?}");
        if packet.as_text() == Some("a") {
            assert_eq!((packet.id(), of("haul.session")), (Some(id), "s".into()));
        }
        let text = packet.as_text().unwrap().to_owned();
        seen.push((text, of("haul.outcome"), of("haul.reference"), of("haul.error")));
    }
    seen.sort();
    let expected =
        [("a", "stored", "17-0", ""), ("b", "stored", "17-0", ""), ("bad", "rejected", "", "no such stream")];
    assert_eq!(seen, expected.map(|(a, b, c, d)| (a.into(), b.into(), c.into(), d.into())));
    let packet = within("the delivery of a session", one.recv()).await.unwrap().unwrap();
    assert_eq!(packet.as_text(), Some("b"));
    // A tap without a route sees each stored packet once, and no delivery.
    for text in ["a", "bad", "b"] {
        let packet = within("a stored packet", stored.recv()).await.unwrap().unwrap();
        assert_eq!((packet.as_text(), packet.metadata().get("haul.route")), (Some(text), None));
    }
}

#[tokio::test]
async fn a_tap_of_a_route_sees_what_nobody_waits_for_any_more() {
    let data = tempfile::tempdir().unwrap();
    let (gateway, client) = picky_gateway(&data).await;
    let mut tap = tap(&data, r#"{"do":"tap","route":"picky"}"#).await;
    store(&client, &["slow"]).await;
    until("the delivery", &gateway, |status| status.routes[0].receivers[0].under_way == 1).await;
    within("the reload", gateway.reload(options(&data, &[]))).await.unwrap();
    let packet = within("what was given up", tap.recv()).await.unwrap().unwrap();
    assert_eq!((packet.as_text(), packet.metadata().get("haul.outcome")), (Some("slow"), Some("abandoned")));
}

#[tokio::test]
async fn a_tap_of_no_route_says_which_there_are() {
    let data = tempfile::tempdir().unwrap();
    let (_gateway, _) = picky_gateway(&data).await;
    let refused = async |data: &tempfile::TempDir| {
        let mut tap = registry().connect(tap_endpoint(data.path()).unwrap()).await.unwrap();
        tap.send(Packet::text(r#"{"do":"tap","route":"pikcy"}"#)).await.unwrap();
        let answer = within("a refusal", tap.recv()).await.unwrap().unwrap();
        let why = answer.metadata().get("haul.refused").unwrap().to_owned();
        assert!(within("the end", tap.recv()).await.unwrap().is_none());
        why
    };
    assert_eq!(refused(&data).await, "there is no route pikcy; the routes: picky");
    let empty = tempfile::tempdir().unwrap();
    let gateway = start(&empty, &["tcp://127.0.0.1:0"]).await;
    drop(dial(&gateway, "").await);
    assert_eq!(refused(&empty).await, "there is no route pikcy; the routes: there are none");
}
