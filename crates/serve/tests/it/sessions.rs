//! Sessions that are cut, move and come back, and what the log has of them then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use haul_core::{
    Deliver, DeliverAll, Endpoint, Error, ErrorKind, Level, Metadata, Packet, PacketId, service_fn,
};
use haul_serve::{Gateway, Guard};
use haul_session::{Session, SessionLayer, SessionOptions};
use tower_layer::Layer;

use crate::relay::Relay;
use crate::support::{WEB, at, options, port, registry, start, stored, until, within};
use crate::web::{guard, guarded};

/// Sessions that are dialed at one place after the other.
pub(crate) fn roaming(places: Vec<Endpoint>) -> Session {
    let next = Arc::new(AtomicUsize::new(0));
    let dialer = service_fn(move |_: Endpoint| {
        let place = places[next.fetch_add(1, Relaxed) % places.len()].clone();
        async move { registry().connect(place).await }
    });
    let options = SessionOptions {
        base: Duration::from_millis(1),
        cap: Duration::from_millis(20),
        ..SessionOptions::default()
    };
    SessionLayer::new(options).unwrap().layer(dialer)
}

/// Sessions that are dialed where they are told.
pub(crate) fn moved() -> Session {
    let dialer = service_fn(|endpoint: Endpoint| async move { registry().connect(endpoint).await });
    SessionLayer::new(SessionOptions::default()).unwrap().layer(dialer)
}

pub(crate) fn numbered(number: usize) -> Packet {
    Packet::text(number.to_string()).with_id(PacketId::random())
}

/// The log has all numbers below `count`, each once and in order.
#[track_caller]
pub(crate) fn assert_all(data: &tempfile::TempDir, count: usize) {
    let texts: Vec<_> = stored(data).into_iter().map(|(_, text)| text).collect();
    let expected: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    assert_eq!(texts, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_between_all_protocols_and_each_packet_is_in_the_log_once_and_in_order() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let place = |scheme| at(&gateway, scheme, port(&gateway), "/");
    let (client, mover) = within("a session", moved().open(place("wt"))).await.unwrap();
    let mut sent = 0;
    for scheme in ["ws", "sse", "wt", "sse", "ws", "wt"] {
        for _ in 0..200 {
            client.send(numbered(sent)).await.unwrap();
            sent += 1;
        }
        within("the move", mover.move_to(place(scheme))).await.unwrap();
        let receipt = within("a receipt", client.deliver(numbered(sent))).await.unwrap();
        sent += 1;
        assert_eq!((receipt.level, receipt.reference.as_deref()), (Level::Stored, Some(&*sent.to_string())));
    }
    assert_all(&data, sent);
    assert_eq!(gateway.status().states["connected"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_cut_in_mid_air_goes_on_over_another_protocol_and_nothing_is_lost_or_doubled() {
    const ALL: usize = 4000;
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let relay = Relay::to(port(&gateway)).await;
    let places = ["ws", "sse"].map(|scheme| at(&gateway, scheme, relay.port, "/"));
    let dialer = roaming(places.to_vec());
    let client = within("a session", dialer.open(at(&gateway, "ws", 1, "/"))).await.unwrap().0;
    let sending = async {
        for number in 0..ALL {
            client.send(numbered(number)).await.unwrap();
        }
        client.deliver(numbered(ALL)).await.unwrap()
    };
    let cutting = async {
        for cut in 1..8 {
            until("progress", &gateway, |status| status.stored >= cut * 500).await;
            relay.cut();
        }
    };
    let (receipt, ()) = within("all receipts", async { tokio::join!(sending, cutting) }).await;
    assert_eq!(receipt.reference.as_deref(), Some(&*(ALL + 1).to_string()));
    assert_all(&data, ALL + 1);
    let status = gateway.status();
    assert_eq!((status.stored, status.refused), (ALL as u64 + 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_when_the_link_was_lost_is_not_stored_again_and_its_receipt_comes_on_the_next() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let relay = Relay::to(port(&gateway)).await;
    let places = vec![at(&gateway, "ws", relay.port, "/"), at(&gateway, "wt", port(&gateway), "/")];
    let dialer = roaming(places);
    let client = within("a session", dialer.open(at(&gateway, "ws", 1, "/"))).await.unwrap().0;
    client.deliver(numbered(0)).await.unwrap();
    relay.one_way();
    let delivering = client.deliver_all((1..50).map(numbered).collect::<Vec<_>>());
    let cutting = async {
        until("the packets to be stored", &gateway, |status| status.stored == 50).await;
        relay.cut();
    };
    let (receipts, ()) = within("the receipts", async { tokio::join!(delivering, cutting) }).await;
    for (number, receipt) in receipts.unwrap().into_iter().enumerate() {
        let receipt = receipt.unwrap();
        assert_eq!(
            (receipt.level, receipt.reference.as_deref()),
            (Level::Stored, Some(&*(number + 2).to_string()))
        );
    }
    client.deliver(numbered(50)).await.unwrap();
    assert_all(&data, 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_packet_cannot_be_stored_is_told_so_by_its_receipt_or_else_by_the_close() {
    let data = tempfile::tempdir().unwrap();
    let mut narrow = options(&data, &[WEB]);
    narrow.log.max_packet = 10;
    let gateway = Gateway::start(narrow, registry()).await.unwrap();
    let large = || Packet::text("x".repeat(11)).with_id(PacketId::random());
    for scheme in ["ws", "sse", "wt"] {
        let place = at(&gateway, scheme, port(&gateway), "/");
        let (asks, does_not) = (moved(), moved());
        let asks = within("a session", asks.open(place.clone())).await.unwrap().0;
        let does_not = within("a session", does_not.open(place)).await.unwrap().0;
        let refused = within("a receipt", asks.deliver(large())).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TooLarge, "{scheme}: {refused}");
        let small = within("a receipt", asks.deliver(Packet::text("small"))).await.unwrap();
        assert_eq!(small.level, Level::Stored, "{scheme}: it goes on");
        does_not.send(large()).await.unwrap();
        let state = within("a close", does_not.watch().over()).await;
        assert!(format!("{state:?}").contains("1009"), "{scheme}: {state:?}");
    }
    assert!(stored(&data).iter().all(|(_, text)| text == "small"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_a_link_is_kept_for_the_retention_and_no_longer() {
    let data = tempfile::tempdir().unwrap();
    let mut short = options(&data, &[WEB]);
    short.session.retention = Duration::from_secs(2);
    let gateway = Gateway::start(short, registry()).await.unwrap();
    let relay = Relay::to(port(&gateway)).await;
    let place = at(&gateway, "ws", relay.port, "/");
    let client = within("a session", moved().open(place)).await.unwrap().0;
    client.deliver(numbered(0)).await.unwrap();
    assert_eq!(gateway.status().states["connected"], 1);
    relay.close();
    until("the cut", &gateway, |status| status.states.contains_key("reconnecting")).await;
    until("its end", &gateway, |status| status.states.is_empty()).await;
    assert_eq!(gateway.status().protocols["ws"].open, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_with_a_newer_token_of_the_same_name() {
    let data = tempfile::tempdir().unwrap();
    let tokens = guard(&[], &["ann:one", "ann:two", "bob:three", "four"]);
    let gateway = Gateway::start(guarded(&data, tokens), registry()).await.unwrap();
    let place = |scheme, token| at(&gateway, scheme, port(&gateway), &format!("/?access_token={token}"));
    let (client, mover) = within("a session", moved().open(place("ws", "one"))).await.unwrap();
    client.deliver(numbered(0)).await.unwrap();
    for (scheme, token) in [("sse", "two"), ("wt", "one"), ("ws", "two")] {
        within("the move", mover.move_to(place(scheme, token))).await.unwrap();
        client.deliver(numbered(0)).await.unwrap();
    }
    for scheme in ["sse", "ws", "wt"] {
        let refused = within("a refusal", moved().open(place(scheme, "guess"))).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{scheme}: {refused}");
    }
    assert_eq!(gateway.status().states["connected"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_not_resumed_with_the_token_of_another_name_and_is_kept_for_its_own() {
    let data = tempfile::tempdir().unwrap();
    let tokens = guard(&[], &["ann:one", "bob:two", "three"]);
    let gateway = Gateway::start(guarded(&data, tokens), registry()).await.unwrap();
    let relay = Relay::to(port(&gateway)).await;
    let others = [("sse", "two"), ("ws", "three"), ("wt", "two")];
    for (before, (scheme, token)) in others.into_iter().enumerate() {
        let own = at(&gateway, "ws", relay.port, "/?access_token=one");
        let other = at(&gateway, scheme, port(&gateway), &format!("/?access_token={token}"));
        let client = within("a session", roaming(vec![own.clone(), other]).open(own)).await.unwrap().0;
        client.deliver(numbered(0)).await.unwrap();
        relay.cut();
        let state = within("its end", client.watch().over()).await;
        assert!(format!("{state:?}").contains("another identity"), "{scheme} {token}: {state:?}");
        until("the cut", &gateway, |status| status.states.get("reconnecting") == Some(&(before + 1))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_a_client_is_may_be_said_by_a_check_of_ones_own() {
    let data = tempfile::tempdir().unwrap();
    let own = Guard::default().check(|request| {
        let user = request.uri.query().and_then(|query| query.strip_prefix("user="));
        let facts = user.map(|user| Metadata::from_iter([("identity", user.to_owned())]));
        std::future::ready(facts.ok_or_else(|| Error::new(ErrorKind::Unauthorized, "say user=")))
    });
    let gateway = Gateway::start(guarded(&data, own), registry()).await.unwrap();
    for (first, second) in [("ws", "sse"), ("sse", "wt"), ("wt", "ws")] {
        let place = |scheme, query| at(&gateway, scheme, port(&gateway), query);
        let (client, mover) = within("a session", moved().open(place(first, "/?user=ann"))).await.unwrap();
        within("the move", mover.move_to(place(second, "/?user=ann"))).await.unwrap();
        client.deliver(numbered(0)).await.unwrap();
        let other = within("a refusal", mover.move_to(place(first, "/?user=bob"))).await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Unauthorized, "{other}");
        let nobody = within("a refusal", moved().open(place(second, "/"))).await.unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::Unauthorized, "{nobody}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sessions_whose_clients_are_away_only_so_many_are_kept() {
    let data = tempfile::tempdir().unwrap();
    let mut few = options(&data, &[WEB]);
    few.session.max_detached = 2;
    let gateway = Gateway::start(few, registry()).await.unwrap();
    let relay = Relay::to(port(&gateway)).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let dialer = moved();
        let client = dialer.open(at(&gateway, "ws", relay.port, "/"));
        clients.push(within("a session", client).await.unwrap());
    }
    until("all sessions", &gateway, |status| status.states.get("connected") == Some(&5)).await;
    relay.close();
    until("three to end", &gateway, |status| status.protocols["ws"].open == 2).await;
    assert_eq!(gateway.status().states["reconnecting"], 2);
}
