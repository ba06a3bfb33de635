//! Clients that know no haul: what they get, and what they may send.

use haul_core::{CloseReason, ErrorKind, Packet};
use haul_http::{Client, ClientConfig};

use crate::{accept, ask, field, listen, port, soon, text_until};

fn client() -> Client {
    Client::new(ClientConfig::default()).unwrap()
}

#[tokio::test]
async fn events_have_names_ids_and_lines_as_they_were_sent() {
    let listener = listen("sse://127.0.0.1:0/events?retry=1500ms").await;
    let http = client();
    let response = ask(&http, port(&listener), ("GET", "/events?q=1"), &[("user-agent", "test")], "").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-cache, no-transform");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let server = accept(&listener).await;
    let info = server.info().clone();
    assert_eq!((info.framing, info.metadata, info.receipts), ("events", false, false));
    assert_eq!(info.facts.get("path"), Some("/events"));
    assert_eq!(info.facts.get("query"), Some("q=1"));
    assert_eq!(info.facts.get("user_agent"), Some("test"));
    server.send(Packet::text("one\n two\n").with("event", "add").with("id", "7")).await.unwrap();
    server.send(Packet::text("")).await.unwrap();
    server.send(Packet::text("last")).await.unwrap();
    let mut body = response.into_body();
    let text = text_until(&mut body, "data: last\n\n").await;
    let token = field(&text, "data").to_owned();
    let want = format!(
        "id: {token}.0\nretry: 1500\nevent: haul-session\ndata: {token}\n\n\
         event: add\nid: 7\ndata: one\ndata:  two\ndata: \n\n\
         id: {token}.2\ndata: \n\nid: {token}.3\ndata: last\n\n"
    );
    assert_eq!(text, want);
    assert_eq!(ask(&http, port(&listener), ("GET", "/other"), &[], "").await.status(), 404);
    assert_eq!(ask(&http, port(&listener), ("PUT", "/events"), &[], "").await.status(), 405);
    let json = [("accept", "application/json")];
    assert_eq!(ask(&http, port(&listener), ("GET", "/events"), &json, "").await.status(), 406);
}

#[tokio::test]
async fn a_get_that_is_refused_counts_as_a_failed_handshake() {
    let listener = listen("sse://127.0.0.1:0/events").await;
    let (http, at) = (client(), port(&listener));
    let (json, unknown) = (("accept", "application/json"), ("haul-session", "unknown"));
    let refused = [("/other", ("x-a", "1"), 404), ("/events", json, 406), ("/events", unknown, 404)];
    for (before, (target, header, status)) in (0..).zip(refused) {
        assert_eq!(ask(&http, at, ("GET", target), &[header], "").await.status(), status, "{target}");
        soon("the failure to be counted", async {
            while listener.stats().failed == before {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        })
        .await;
    }
    assert_eq!(ask(&http, at, ("POST", "/events"), &[unknown], "").await.status(), 404);
    let _stream = ask(&http, at, ("GET", "/events"), &[], "").await;
    let _server = accept(&listener).await;
    let stats = listener.stats();
    assert_eq!((stats.failed, stats.accepted, stats.refused, stats.open), (3, 1, 0, 1), "{stats:?}");
    let last = stats.last_failure.unwrap();
    assert!(last.to_string().contains("no such session"), "{last}");
}

#[tokio::test]
async fn what_an_event_cannot_carry_is_refused_when_it_is_sent() {
    let listener = listen("sse://127.0.0.1:0").await;
    let _stream = ask(&client(), port(&listener), ("GET", "/"), &[], "").await;
    let server = accept(&listener).await;
    for (packet, kind) in [
        (Packet::text("a\rb"), ErrorKind::Codec),
        (Packet::binary(&b"\xff"[..]), ErrorKind::Codec),
        (Packet::text("a").with("event", "b\nc"), ErrorKind::Codec),
        (Packet::text("a").with("id", "b\0c"), ErrorKind::Codec),
        (Packet::text("a").with("session_id", "7"), ErrorKind::Unsupported),
    ] {
        assert_eq!(server.send(packet.clone()).await.unwrap_err().kind(), kind, "{packet:?}");
    }
    server.send(Packet::text("it goes on")).await.unwrap();
    soon("the flush", server.flush()).await.unwrap();
}

#[tokio::test]
async fn a_stream_without_events_has_comments() {
    let listener = listen("sse://127.0.0.1:0?heartbeat=10ms").await;
    let mut body = ask(&client(), port(&listener), ("GET", "/"), &[], "").await.into_body();
    let _server = accept(&listener).await;
    assert!(text_until(&mut body, "\n\n:\n\n:\n\n").await.ends_with(":\n\n"));
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed_and_the_connection_stays() {
    let listener = listen("sse://127.0.0.1:0").await;
    let http = client();
    let mut body = ask(&http, port(&listener), ("GET", "/"), &[], "").await.into_body();
    let server = accept(&listener).await;
    for number in 0..5 {
        server.send(Packet::text(format!("event {number}"))).await.unwrap();
    }
    let text = text_until(&mut body, "event 4\n\n").await;
    let token = field(&text, "data").to_owned();
    drop(body);
    server.send(Packet::text("missed")).await.unwrap();
    let seen = format!("{token}.3");
    let response = ask(&http, port(&listener), ("GET", "/"), &[("last-event-id", &seen)], "").await;
    let text = text_until(&mut response.into_body(), "missed\n\n").await;
    let want = format!(
        "id: {token}.4\ndata: event 3\n\nid: {token}.5\ndata: event 4\n\nid: {token}.6\ndata: missed\n\n"
    );
    assert_eq!(text, want);
    assert_eq!(listener.stats().accepted, 1, "it is the same connection");
}

#[tokio::test]
async fn a_client_of_an_id_that_nobody_knows_begins_anew_and_the_application_sees_the_id() {
    let listener = listen("sse://127.0.0.1:0").await;
    let _stream =
        ask(&client(), port(&listener), ("GET", "/"), &[("last-event-id", "of-another.3")], "").await;
    assert_eq!(accept(&listener).await.info().facts.get("last_event_id"), Some("of-another.3"));
}

#[tokio::test]
async fn a_close_is_the_last_event_and_who_comes_back_is_told_not_to() {
    let listener = listen("sse://127.0.0.1:0?close_deadline=100ms").await;
    let http = client();
    let mut body = ask(&http, port(&listener), ("GET", "/"), &[], "").await.into_body();
    let server = accept(&listener).await;
    let (closed, text) = tokio::join!(
        soon("the close", server.close(CloseReason::new(4001, "that was all"))),
        text_until(&mut body, "haul-close\ndata: 4001 that was all\n\n")
    );
    closed.unwrap();
    let id = format!("{}.1", field(&text, "data"));
    drop(server);
    soon("the session to go", async {
        while listener.stats().open > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_eq!(ask(&http, port(&listener), ("GET", "/"), &[("last-event-id", &id)], "").await.status(), 204);
}

#[tokio::test]
async fn bodies_are_text_by_their_type() {
    let listener = listen("sse://127.0.0.1:0").await;
    let http = client();
    let mut body = ask(&http, port(&listener), ("GET", "/"), &[], "").await.into_body();
    let mut server = accept(&listener).await;
    let target = format!("/?haul-session={}", field(&text_until(&mut body, "\n\n").await, "data"));
    for (kind, sent, packet) in [
        (Some("text/plain; charset=utf-8"), "hi", Packet::text("hi")),
        (Some("application/json"), "{}", Packet::text("{}")),
        (Some("application/octet-stream"), "hi", Packet::binary("hi")),
        (None, "hi", Packet::text("hi")),
    ] {
        let headers: Vec<_> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
        assert_eq!(ask(&http, port(&listener), ("POST", &target), &headers, sent).await.status(), 204);
        assert_eq!(soon("the packet", server.recv()).await.unwrap(), Some(packet), "{kind:?}");
    }
    let wrong =
        ask(&http, port(&listener), ("POST", &target), &[("content-type", "text/plain")], vec![0xff]).await;
    assert_eq!(wrong.status(), 400);
}
