//! Connections to `/status`, and the numbers there.

use haul_core::{Connection, Deliver, Endpoint, ErrorKind, Packet, Sender, service_fn};
use haul_serve::{Gateway, GatewayStatus};
use haul_session::{SessionLayer, SessionOptions};
use serde_json::Value;
use tower_layer::Layer;

use crate::sessions::moved;
use crate::support::{WEB, at, plain, port, registry, start, stored, until, within};
use crate::web::{ask, guard, guarded};

async fn next(feed: &mut Connection) -> Value {
    let told = within("a status", feed.recv()).await.unwrap().expect("it was closed");
    told.parse_json().unwrap()
}

#[tokio::test]
async fn the_status_comes_at_once_and_then_again_over_each_protocol() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let client = plain(&gateway, "ws", "").await;
    let mut stored = 0;
    for scheme in ["ws", "sse", "wt"] {
        for tail in ["/status", "/status#subprotocol="] {
            if (scheme, tail) == ("wt", "/status#subprotocol=") {
                // It has no such option.
                continue;
            }
            let mut feed = plain(&gateway, scheme, tail).await;
            let first = next(&mut feed).await;
            assert_eq!(first["stored"], stored, "{scheme}");
            assert_eq!(first["log"]["next"], stored + 1);
            client.deliver(Packet::text("x")).await.unwrap();
            stored += 1;
            let mut seen = first;
            while seen["stored"] != stored {
                seen = next(&mut feed).await;
            }
            assert_eq!(seen["protocols"]["ws"]["received"], stored, "{scheme}");
            assert!(seen["protocols"][scheme]["open"].as_u64() >= Some(1), "{scheme}: {seen}");
            assert!(seen["states"]["connected"].as_u64() >= Some(2), "{scheme}: {seen}");
            assert_eq!(seen["rtt"]["bounds_us"].as_array().unwrap().len(), 12);
            assert_eq!(seen["rtt"]["counts"].as_array().unwrap().len(), 13);
        }
    }
    let once = ask(&gateway, "GET", "/status", &[], "").await;
    assert_eq!((once.0, &once.json()["stored"]), (200, &Value::from(stored)));
    assert_eq!(once.1["content-type"], "application/json");
}

#[tokio::test]
async fn a_session_is_told_the_status_too() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let dialer = service_fn(|endpoint: Endpoint| async move { registry().connect(endpoint).await });
    let sessions = SessionLayer::new(SessionOptions::default()).unwrap().layer(dialer);
    let place = |scheme| at(&gateway, scheme, port(&gateway), "/status");
    let (mut feed, mover) = within("a session", sessions.open(place("wt"))).await.unwrap();
    assert_eq!(next(&mut feed).await["stored"], 0);
    within("the move", mover.move_to(place("sse"))).await.unwrap();
    plain(&gateway, "ws", "").await.deliver(Packet::text("x")).await.unwrap();
    while next(&mut feed).await["stored"] != 1 {}
}

#[tokio::test]
async fn nothing_is_taken_in_at_status_and_who_sends_is_told_so() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    for scheme in ["ws", "sse", "wt"] {
        let client = plain(&gateway, scheme, "/status").await;
        let refused = within("a refusal", client.deliver(Packet::text("x"))).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Rejected, "{scheme}: {refused}");
        assert!(refused.to_string().contains("use another path"), "{scheme}: {refused}");
        let over = format!("{:?}", within("a close", client.watch().over()).await);
        assert!(over.contains("1008"), "{scheme}: {over}");
    }
    assert!(stored(&data).is_empty());
}

#[tokio::test]
async fn who_shows_no_token_sees_no_status() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(guarded(&data, guard(&[], &["s3cret"])), registry()).await.unwrap();
    for scheme in ["ws", "sse", "wt"] {
        let place = |tail: &str| at(&gateway, scheme, port(&gateway), tail);
        let refused = within("a refusal", registry().connect(place("/status"))).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{scheme}: {refused}");
        let mut feed = registry().connect(place("/status?access_token=s3cret")).await.unwrap();
        next(&mut feed).await;
    }
    assert_eq!(ask(&gateway, "GET", "/status", &[], "").await.0, 401);
    assert_eq!(ask(&gateway, "GET", "/status?access_token=s3cret", &[], "").await.0, 200);
}

#[tokio::test]
async fn each_protocol_has_its_own_numbers_and_they_stay_when_its_connections_are_gone() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB, "tcp://127.0.0.1:0"]).await;
    let numbers = |protocol: &str| {
        let of = gateway.status().protocols[protocol];
        (of.open, of.opened, of.received, of.received_bytes)
    };
    for scheme in ["ws", "sse", "wt"] {
        let client = plain(&gateway, scheme, "/?receipts=json").await;
        for text in ["1", "22", "333"] {
            client.deliver(Packet::text(text)).await.unwrap();
        }
        until("the JSON receipts", &gateway, |status| status.protocols[scheme].sent == 3).await;
        assert_eq!(numbers(scheme), (1, 1, 3, 6), "{scheme}");
        drop(client);
        until("its end", &gateway, |status| status.protocols[scheme].open == 0).await;
        assert_eq!(numbers(scheme), (0, 1, 3, 6), "{scheme}");
        assert_eq!(gateway.status().protocols[scheme].sent, 3, "{scheme}");
    }
    let tcp = gateway.local_endpoints()[1].clone();
    registry().connect(tcp).await.unwrap().deliver(Packet::text("4444")).await.unwrap();
    until("its end", &gateway, |status| status.protocols["tcp"].open == 0).await;
    assert_eq!(numbers("tcp"), (0, 1, 1, 4));
    let lines = [("content-type", "application/x-ndjson")];
    assert_eq!(ask(&gateway, "POST", "/events", &lines, "55555\n666666\n").await.0, 200);
    assert_eq!(numbers("http"), (0, 1, 2, 11));
}

#[tokio::test]
async fn a_session_that_moves_counts_where_it_is_and_what_it_carried_where_it_was() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let place = |scheme| at(&gateway, scheme, port(&gateway), "/");
    let (client, mover) = within("a session", moved().open(place("wt"))).await.unwrap();
    let numbers = |status: &GatewayStatus| {
        ["wt", "ws", "sse"].map(|protocol| {
            let of = status.protocols.get(protocol).copied().unwrap_or_default();
            (of.open, of.opened, of.received, of.received_bytes)
        })
    };
    client.deliver(Packet::text("1")).await.unwrap();
    let mut expected = [(1, 1, 1, 1), (0, 0, 0, 0), (0, 0, 0, 0)];
    until("what it carried", &gateway, |status| numbers(status) == expected).await;
    for (at, scheme) in [(1, "ws"), (2, "sse")] {
        within("the move", mover.move_to(place(scheme))).await.unwrap();
        (expected[at - 1].0, expected[at].0) = (0, 1);
        until("the move", &gateway, |status| numbers(status) == expected).await;
        client.deliver(Packet::text("22")).await.unwrap();
        (expected[at].2, expected[at].3) = (1, 2);
        until("what it carried", &gateway, |status| numbers(status) == expected).await;
    }
    let page = ask(&gateway, "GET", "/metrics", &[], "").await.2;
    assert!(page.contains("haul_connections{protocol=\"sse\"} 1\n"), "{page}");
    assert!(page.contains("haul_connections{protocol=\"wt\"} 0\n"), "{page}");
    drop(client);
    expected[2].0 = 0;
    until("its end", &gateway, |status| numbers(status) == expected).await;
}

#[tokio::test]
async fn what_a_session_carries_counts_where_it_is_though_nobody_asks_meanwhile() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let place = |scheme| at(&gateway, scheme, port(&gateway), "/");
    let (client, mover) = within("a session", moved().open(place("wt"))).await.unwrap();
    for scheme in ["ws", "sse"] {
        within("the move", mover.move_to(place(scheme))).await.unwrap();
        for _ in 0..10 {
            client.deliver(Packet::text("x")).await.unwrap();
        }
    }
    let status = gateway.status();
    let received = ["ws", "sse"].map(|protocol| status.protocols[protocol].received);
    // Those that come while it moves may count before.
    assert!(received.iter().all(|count| *count > 0), "{received:?}");
    assert_eq!(status.protocols["wt"].received + received[0] + received[1], 20);
}

#[tokio::test]
async fn the_round_trip_of_each_connection_is_measured() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let mut clients = Vec::new();
    for scheme in ["ws", "sse", "wt"] {
        let (sender, mut receiver) = plain(&gateway, scheme, "/").await.split();
        sender.deliver(Packet::text("x")).await.unwrap();
        clients.push(sender);
        // Its answers are read.
        tokio::spawn(async move { while let Ok(Some(_)) = receiver.recv().await {} });
    }
    until("three round trips", &gateway, |status| status.rtt.counts.iter().sum::<usize>() == 3).await;
    clients.iter().for_each(|sender: &Sender| assert!(!sender.state().is_over()));
    let page = ask(&gateway, "GET", "/metrics", &[], "").await;
    assert!(page.2.contains("haul_connections_rtt_seconds{le=\"+Inf\"} 3\n"), "{}", page.2);
}
