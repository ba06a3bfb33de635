//! Event streams on a server that has other routes.

use std::future::poll_fn;
use std::pin::Pin;

use haul_core::{
    Body, CloseReason, Connection, Endpoint, ErrorKind, Listener, Metadata, Packet, Request, Response,
    Result, service_fn,
};
use haul_http::{Client, ClientConfig, Server};
use haul_sse::Mount;
use http::request::Parts;
use http::{HeaderValue, Method};
use http_body::Body as _;

use crate::{accept, ask, dial, field, soon, text_until};

fn mount(url: &str) -> (Mount, Listener) {
    Mount::new(&Endpoint::parse(url).unwrap()).unwrap()
}

/// A server with a mount and another route, which allows pages of any origin and takes clients at their word who they
/// are.
async fn serve(mount: Mount) -> Server {
    let service = service_fn(move |request: Request| {
        let mount = mount.clone();
        async move { route(mount, request).await }
    });
    haul_http::serve(Endpoint::parse("http://127.0.0.1:0").unwrap(), service).await.unwrap()
}

async fn route(mount: Mount, request: Request) -> Result<Response> {
    let (head, body) = request.into_parts();
    if head.method == Method::OPTIONS {
        let answer = http::Response::builder().status(204).header("access-control-allow-methods", "POST");
        return Ok(answer.body(Body::empty()).unwrap());
    }
    if !mount.wants(&head) {
        return Ok(Response::new(Body::from(format!("this is {}", head.uri.path()))));
    }
    let mut facts = Metadata::new();
    if let Some(who) = head.headers.get("x-who") {
        facts.set("identity", who.to_str().unwrap().to_owned());
    }
    let mut answer = mount.answer(Request::from_parts(head, body), facts).await?;
    answer.headers_mut().insert("access-control-allow-origin", HeaderValue::from_static("*"));
    Ok(answer)
}

fn at(server: &Server) -> u16 {
    server.local_endpoint().port().unwrap()
}

fn client() -> Client {
    Client::new(ClientConfig::default()).unwrap()
}

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

#[tokio::test]
async fn events_and_other_routes_share_a_port_and_facts_and_cors_are_the_callers() {
    let (mount, listener) = mount("sse://127.0.0.1/live");
    let server = serve(mount).await;
    let (http, at) = (client(), at(&server));
    let other = ask(&http, at, ("GET", "/live"), &[], "").await.into_body().bytes(100).await.unwrap();
    assert_eq!(other, "this is /live");
    let headers = [EVENTS, ("x-who", "ada"), ("origin", "http://page.example")];
    let response = ask(&http, at, ("GET", "/live?q=1"), &headers, "").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    let mut connection = accept(&listener).await;
    let facts = &connection.info().facts;
    let facts = ["identity", "path", "query", "origin"].map(|name| facts.get(name));
    assert_eq!(facts, [Some("ada"), Some("/live"), Some("q=1"), Some("http://page.example")]);
    assert!(connection.info().peer.starts_with("127.0.0.1:"), "{}", connection.info().peer);
    let mut body = response.into_body();
    let target = format!("/live?haul-session={}", field(&text_until(&mut body, "\n\n").await, "data"));
    let preflight = ask(&http, at, ("OPTIONS", &target), &[], "").await;
    assert_eq!(preflight.headers()["access-control-allow-methods"], "POST");
    assert_eq!(ask(&http, at, ("POST", &target), &[("x-who", "ada")], "up").await.status(), 204);
    assert_eq!(soon("the POST", connection.recv()).await.unwrap(), Some(Packet::text("up")));
    connection.send(Packet::text("down")).await.unwrap();
    text_until(&mut body, "data: down\n\n").await;
    assert_eq!(ask(&http, at, ("DELETE", &target), &[("x-who", "ada")], "").await.status(), 204);
    assert_eq!(soon("the cut", connection.recv()).await.unwrap_err().kind(), ErrorKind::Closed);
}

/// A haul peer's connection through `server`.
async fn pair(server: &Server, listener: &Listener, options: &str) -> (Connection, Connection) {
    let url = format!("sse://127.0.0.1:{}/{options}", at(server));
    let (dialed, accepted) = tokio::join!(dial(&url), accept(listener));
    (dialed.unwrap(), accepted)
}

#[tokio::test]
async fn haul_peers_go_both_ways_through_a_mount() {
    let (mount, listener) = mount("sse://127.0.0.1");
    let server = serve(mount).await;
    let (mut client, mut accepted) = pair(&server, &listener, "any/path#headers=x-who:ada").await;
    assert_eq!(accepted.info().facts.get("identity"), Some("ada"));
    let packet = Packet::binary(vec![7; 300_000]).with("number", "7");
    client.send(packet.clone()).await.unwrap();
    let arrived = soon("the packet", accepted.recv()).await.unwrap().unwrap();
    assert_eq!(arrived, packet);
    accepted.send(arrived).await.unwrap();
    assert_eq!(soon("the echo", client.recv()).await.unwrap(), Some(packet));
    let (closed, end) = tokio::join!(client.close(CloseReason::NORMAL), soon("the end", accepted.recv()));
    closed.unwrap();
    assert_eq!(end.unwrap(), None);
}

#[tokio::test]
async fn events_that_are_ready_go_out_in_one_piece_of_the_body() {
    let (mount, listener) = mount("sse://127.0.0.1");
    let answer = soon("the answer", mount.answer(Request::new(Body::empty()), Metadata::new())).await;
    let connection = accept(&listener).await;
    for number in 0..100 {
        connection.send(Packet::text(format!("event {number}"))).await.unwrap();
    }
    let mut body = answer.unwrap().into_body();
    // The session's own event first; what follows it waits for nobody.
    let piece = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
    // Flushed, all are taken: by this one piece, as nobody asks for another.
    let (flushed, piece) = tokio::join!(soon("the flush", connection.flush()), soon("a piece", piece));
    flushed.unwrap();
    let text = String::from_utf8(piece.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap();
    assert!(text.contains("event: haul-session"), "{text}");
    let found: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: event ")).collect();
    assert_eq!(found, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_mount_wants_what_names_event_streams_or_a_session_on_its_path() {
    let _runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = _runtime.enter();
    let (mount, _listener) = mount("sse://127.0.0.1/live");
    let head = |method: &str, target: &str, header: (&str, &str)| -> Parts {
        let request = http::Request::builder().method(method).uri(target).header(header.0, header.1);
        request.body(()).unwrap().into_parts().0
    };
    let token = ("haul-session", "t");
    for (method, target, header) in [
        ("GET", "/live", EVENTS),
        ("GET", "/live?q=1", ("accept", "text/html, Text/Event-Stream;q=0.9")),
        ("GET", "/live", token),
        ("POST", "/live", token),
        ("DELETE", "/live", token),
        ("POST", "/live?a=b&haul-session=t", ("x-a", "1")),
    ] {
        assert!(mount.wants(&head(method, target, header)), "{method} {target} {header:?}");
    }
    for (method, target, header) in [
        ("GET", "/live", ("accept", "*/*")),
        ("GET", "/live", ("x-a", "1")),
        ("GET", "/other", EVENTS),
        ("POST", "/live", EVENTS),
        ("POST", "/other", token),
        ("OPTIONS", "/live", token),
        ("PUT", "/live", token),
    ] {
        assert!(!mount.wants(&head(method, target, header)), "{method} {target} {header:?}");
    }
}

#[tokio::test]
async fn a_session_is_of_the_identity_that_opened_it() {
    let (mount, listener) = mount("sse://127.0.0.1");
    let server = serve(mount).await;
    let (http, at) = (client(), at(&server));
    let mut body = ask(&http, at, ("GET", "/"), &[EVENTS, ("x-who", "ada")], "").await.into_body();
    let mut connection = accept(&listener).await;
    let token = field(&text_until(&mut body, "\n\n").await, "data").to_owned();
    let session = ("haul-session", &*token);
    for who in [Some("eve"), None] {
        let mut headers = vec![session];
        headers.extend(who.map(|who| ("x-who", who)));
        for method in ["POST", "GET", "DELETE"] {
            let answer = ask(&http, at, (method, "/"), &headers, "from another").await;
            assert_eq!(answer.status(), 401, "{method} of {who:?}");
        }
    }
    let last = format!("{token}.0");
    let headers = [EVENTS, ("x-who", "eve"), ("last-event-id", &*last)];
    let mut others = ask(&http, at, ("GET", "/"), &headers, "").await.into_body();
    assert_ne!(field(&text_until(&mut others, "\n\n").await, "data"), token, "a session of its own");
    assert_eq!(ask(&http, at, ("POST", "/"), &[session, ("x-who", "ada")], "mine").await.status(), 204);
    assert_eq!(soon("the POST", connection.recv()).await.unwrap(), Some(Packet::text("mine")));
}

#[tokio::test]
async fn a_listener_that_is_gone_takes_no_new_clients_and_its_connections_go_on() {
    let (mount, listener) = mount("sse://127.0.0.1");
    let server = serve(mount).await;
    let (mut client, mut accepted) = pair(&server, &listener, "").await;
    drop(listener);
    soon("the refusal", async {
        loop {
            let answer = ask(&self::client(), at(&server), ("GET", "/"), &[EVENTS], "").await;
            if answer.status() == 503 {
                return;
            }
        }
    })
    .await;
    for number in 0..3 {
        let packet = Packet::text(number.to_string());
        client.send(packet.clone()).await.unwrap();
        let arrived = soon("the packet", accepted.recv()).await.unwrap().unwrap();
        accepted.send(arrived).await.unwrap();
        assert_eq!(soon("the echo", client.recv()).await.unwrap(), Some(packet));
    }
}

#[tokio::test]
async fn options_of_a_server_and_other_schemes_are_config_errors() {
    for (url, says) in [
        ("sse://127.0.0.1/?stall=1s", "stall"),
        ("sses://127.0.0.1/?self_signed=localhost", "self_signed"),
        ("http://127.0.0.1/", "neither sse nor sses"),
        ("sse://127.0.0.1/?heartbeat=0", "heartbeat"),
    ] {
        let error = Mount::new(&Endpoint::parse(url).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{url}: {error}");
        assert!(error.to_string().contains(says), "{url}: {error}");
    }
}
