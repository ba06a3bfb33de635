//! Shutdowns, reloads, limits and failures, with connections of all kinds open.

use std::time::Duration;

use haul_core::{Body, Call, Connection, Deliver, ErrorKind, Packet, State};
use haul_serve::Gateway;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{SOON, WEB, at, options, plain, port, registry, start, stored, until, within};
use crate::web::{ask, post};

const ALL: [&str; 3] = ["ws", "sse", "wt"];

/// A connection of each kind, each of which stored a packet.
async fn all_kinds(gateway: &Gateway) -> Vec<Connection> {
    let mut clients = Vec::new();
    for scheme in ALL {
        for tail in ["/", "/?receipts=json#subprotocol="] {
            if scheme == "wt" && tail != "/" {
                continue;
            }
            let client = plain(gateway, scheme, tail).await;
            if tail == "/" {
                client.deliver(Packet::text(scheme)).await.unwrap();
            }
            clients.push(client);
        }
    }
    clients
}

async fn is_told_to_go(mut client: Connection) {
    let what = format!("the end of {:?}", client.info());
    let mut last = None;
    // Whoever receives learns of the end.
    let end = async {
        while let Ok(Some(packet)) = client.recv().await {
            last = Some(packet);
        }
    };
    within(&what, end).await;
    if client.info().framing == "events" {
        // To those who know no haul it is an event like any other.
        let last = last.expect("haul-close");
        assert_eq!(last.metadata().get("event"), Some("haul-close"));
        assert!(last.as_text().unwrap().starts_with("1001"), "{last:?}");
        return;
    }
    let state = within(&what, client.watch().over()).await;
    let gone = matches!(&state, State::Disconnected { reason: Some(why) } if why.code == 1001);
    assert!(gone, "{state:?} of {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_tells_connections_of_all_kinds_to_go_and_cuts_none() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let clients = all_kinds(&gateway).await;
    let going: Vec<_> = clients.into_iter().map(|client| tokio::spawn(is_told_to_go(client))).collect();
    let ended = within("the shutdown", gateway.shutdown(SOON)).await.unwrap();
    assert_eq!(ended.cut, 0);
    for client in going {
        client.await.unwrap();
    }
    assert_eq!(stored(&data).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_came_before_the_shutdown_is_stored_and_answered() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let mut slow = TcpStream::connect(("127.0.0.1", port(&gateway))).await.unwrap();
    let head = "POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    // It says to go on when it begins to read.
    let mut said = [0; 25];
    within("100", slow.read_exact(&mut said)).await.unwrap();
    let port = port(&gateway);
    let ending = tokio::spawn(gateway.shutdown(SOON));
    let refused = async { while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {} };
    within("the port to be closed", refused).await;
    slow.write_all(b"last").await.unwrap();
    let mut answer = String::new();
    within("the answer", slow.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"stored\""), "{answer}");
    assert_eq!(within("the shutdown", ending).await.unwrap().unwrap().cut, 0);
    assert_eq!(stored(&data), [("default".to_owned(), "last".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_once_a_shutdown_began() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let own = port(&gateway);
    // It answers no close, so that the gateway waits for it.
    let mut deaf = TcpStream::connect(("127.0.0.1", own)).await.unwrap();
    let head = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    deaf.write_all(head.as_bytes()).await.unwrap();
    until("the connection", &gateway, |status| status.states.contains_key("connected")).await;
    let places = ALL.map(|scheme| at(&gateway, scheme, own, "/"));
    let ending = tokio::spawn(gateway.shutdown(SOON));
    let mut heard = Vec::new();
    let close = async {
        while !heard.ends_with(&[0x88, 2, 3, 233]) && deaf.read_buf(&mut heard).await.unwrap() > 0 {}
    };
    within("the close", close).await;
    let client = haul_http::Client::new(Default::default()).unwrap();
    let request = http::Request::post(format!("http://127.0.0.1:{own}/events"));
    let answer = client.request(request.body(Body::from("late")).unwrap()).await;
    assert!(answer.as_ref().map_or(true, |answer| answer.status() == 503), "{answer:?}");
    for place in places {
        let scheme = place.scheme().to_owned();
        let came = within("an answer", registry().connect(place)).await;
        assert!(came.is_err(), "{scheme}");
    }
    drop(deaf);
    within("the shutdown", ending).await.unwrap().unwrap();
    assert!(stored(&data).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_moves_the_same_port_to_other_options_and_tells_connections_of_all_kinds_to_go() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let url = format!("http://127.0.0.1:{}", port(&gateway));
    gateway.reload(options(&data, &[&url])).await.unwrap();
    let clients = all_kinds(&gateway).await;
    let going: Vec<_> = clients.into_iter().map(|client| tokio::spawn(is_told_to_go(client))).collect();
    let changed = options(&data, &[&format!("{url}?max_packet=1MiB")]);
    let reloaded = within("the reload", gateway.reload(changed)).await.unwrap();
    assert_eq!(reloaded.listening.len(), 1);
    for client in going {
        client.await.unwrap();
    }
    drop(all_kinds(&gateway).await);
    let mut changed = options(&data, &[&format!("{url}?max_packet=1MiB")]);
    changed.session.retention = Duration::from_secs(1);
    assert_eq!(gateway.reload(changed).await.unwrap().needs_restart, ["session"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_connections_is_one_for_all_protocols() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &["http://127.0.0.1:0?max_connections=3"]).await;
    // Its socket is one of the server's connections.
    let first = plain(&gateway, "ws", "/").await;
    first.deliver(Packet::text("1")).await.unwrap();
    let mut inside = vec![first];
    for _ in 0..2 {
        let client = plain(&gateway, "wt", "/").await;
        client.deliver(Packet::text("2")).await.unwrap();
        inside.push(client);
    }
    for scheme in ["ws", "wt"] {
        let mut turned = plain(&gateway, scheme, "/").await;
        turned.send(Packet::text("too many")).await.unwrap();
        let end = within("a close", turned.recv()).await;
        assert!(!matches!(end, Ok(Some(_))), "{scheme}: {end:?}");
        let state = within("its end", turned.watch().over()).await;
        assert!(format!("{state:?}").contains("1013"), "{scheme}: {state:?}");
    }
    assert_eq!(gateway.status().listeners[0].refused, 2);
    assert_eq!(stored(&data).len(), 3);
    drop(inside);
    until("room", &gateway, |status| status.states.is_empty()).await;
    plain(&gateway, "sse", "/").await.deliver(Packet::text("room")).await.unwrap();
}

#[tokio::test]
async fn when_the_disk_fails_health_says_so_and_everything_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let mut small = options(&data, &[WEB]);
    small.log.segment = 64 << 10;
    let gateway = Gateway::start(small, registry()).await.unwrap();
    assert_eq!(ask(&gateway, "GET", "/health", &[], "").await.0, 200);
    let clients = all_kinds(&gateway).await;
    // The next file of the log has no folder to be in.
    for entry in std::fs::read_dir(data.path()).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let failing = async { while post(&gateway, &[], "x".repeat(10_000)).await.0 == 200 {} };
    within("the failure", failing).await;
    let health = ask(&gateway, "GET", "/health", &[], "").await;
    assert_eq!((health.0, &health.json()["status"]), (503, &"failed".into()));
    assert!(!health.json()["why"].as_str().unwrap().is_empty());
    assert_eq!(post(&gateway, &[], "x").await.0, 503);
    for client in clients.into_iter().filter(|client| client.info().receipts) {
        let refused = within("a refusal", client.deliver(Packet::text("x"))).await.unwrap_err();
        assert_ne!(refused.kind(), ErrorKind::Closed, "{refused}");
    }
    within("the failure", gateway.failed()).await;
}
