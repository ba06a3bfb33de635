//! HTTP on the gateway's port: events by POST, health, metrics, WebSockets, and who may come in.

use std::time::Duration;

use haul_core::{Body, Call, Deliver, Endpoint, Error, ErrorKind, Level, Metadata, Packet, Request};
use haul_serve::{Gateway, Guard, ServeOptions};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::support::{Kept, WEB, options, plain, port, registry, start, stored, within};

/// Status, headers and body of an answer.
pub(crate) struct Answer(pub(crate) u16, pub(crate) http::HeaderMap, pub(crate) String);

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.2).unwrap_or_else(|why| panic!("{why}: {}", self.2))
    }
}

pub(crate) async fn ask(
    gateway: &Gateway,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let uri = format!("http://127.0.0.1:{}{target}", port(gateway));
    let mut request = http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client = haul_http::Client::new(Default::default()).unwrap();
    let request: Request = request.body(body.into()).unwrap();
    let answer = within("an answer", client.request(request)).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = within("its body", body.bytes(4 << 20)).await.unwrap();
    Answer(parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

pub(crate) async fn post(gateway: &Gateway, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    ask(gateway, "POST", "/events", headers, body).await
}

/// The first line of the answer to an upgrade, and the subprotocol that was agreed.
async fn upgrade(gateway: &Gateway, target: &str, headers: &[(&str, &str)]) -> (String, Option<String>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port(gateway))).await.unwrap();
    let mut head = format!(
        "GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        port(gateway)
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all((head + "\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = within("an answer", stream.read_buf(&mut answer)).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let agreed = answer.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
    (answer.lines().next().unwrap().to_owned(), agreed.map(str::to_owned))
}

#[tokio::test]
async fn a_post_is_answered_when_it_is_on_disk() {
    let data = TempDir::new().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let answer = post(&gateway, &[], "plain").await;
    assert_eq!(answer.0, 200, "{}", answer.2);
    let receipt = answer.json();
    assert_eq!((&receipt["receipt"], &receipt["seq"]), (&"stored".into(), &1.into()));
    assert_eq!(receipt["session"], "default");
    assert_eq!(stored(&data), [("default".to_owned(), "plain".to_owned())]);

    let named = ask(&gateway, "POST", "/events?session=a%20b", &[], "named").await;
    assert_eq!(named.json()["session"], "a b");
    let wrong = ask(&gateway, "POST", "/events?receipts=xml", &[], "x").await;
    assert_eq!(wrong.0, 400, "{}", wrong.2);
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let headers = [("x-haul-meta-session_id", "own"), ("x-haul-meta-type", "x"), ("idempotency-key", id)];
    let own = post(&gateway, &headers, "with").await.json();
    assert_eq!((&own["session"], &own["id"]), (&"own".into(), &id.into()));
    let wrong = post(&gateway, &[("idempotency-key", "mine")], "x").await;
    assert!(wrong.0 == 400 && wrong.2.contains("UUID"), "{}", wrong.2);
    assert_eq!(gateway.status().stored, 3);
    assert_eq!(gateway.status().received_bytes, 14);
}

#[tokio::test]
async fn a_body_is_text_bytes_or_lines_as_its_content_type_says() {
    let data = TempDir::new().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let typed = async |kind: &str, body: &'static [u8]| {
        post(&gateway, &[("content-type", kind)], Body::from(bytes::Bytes::from_static(body))).await
    };
    assert_eq!(typed("application/octet-stream", b"\xff\x00").await.0, 200);
    assert_eq!(typed("application/json; charset=utf-8", b"{}").await.0, 200);
    assert_eq!(typed("text/plain", b"\xff").await.0, 400);
    let lines = typed("application/x-ndjson", b"{\"a\":1}\r\n\n{\"a\":2}\n{\"a\":3}").await;
    assert_eq!(lines.0, 200);
    let receipts: Vec<serde_json::Value> =
        lines.2.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seqs: Vec<_> = receipts.iter().map(|receipt| receipt["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [3, 4, 5]);
    assert_eq!(typed("application/x-ndjson", b"\n\n").await.0, 400);
    let half = typed("application/x-ndjson", b"good\n\xff\n").await;
    assert!(half.0 == 400 && half.2.contains("line 2"), "{}", half.2);
    assert_eq!(gateway.status().stored, 5, "a batch with a wrong line is not stored in part");
}

#[tokio::test]
async fn what_is_too_large_is_413_and_not_stored() {
    let data = TempDir::new().unwrap();
    let gateway = start(&data, &["http://127.0.0.1:0?max_packet=10&max_body=100000"]).await;
    assert_eq!(post(&gateway, &[], "1234567890").await.0, 200);
    assert_eq!(post(&gateway, &[], "12345678901").await.0, 413);
    let lines = [("content-type", "application/x-ndjson")];
    assert_eq!(post(&gateway, &lines, "1234567890\n12345678901\n").await.0, 413);
    assert_eq!(post(&gateway, &lines, "x\n".repeat(10_001)).await.0, 413);
    assert_eq!(post(&gateway, &lines, "1234\n".repeat(20_001)).await.0, 413, "max_body");
    assert_eq!(gateway.status().stored, 1);
    let all = post(&gateway, &lines, "x\n".repeat(10_000)).await;
    assert_eq!((all.0, all.2.lines().count()), (200, 10_000));

    let client = registry();
    let url = format!("ws://127.0.0.1:{}", port(&gateway));
    let mut socket = client.connect(Endpoint::parse(&url).unwrap()).await.unwrap();
    socket.send(Packet::text("12345678901")).await.unwrap();
    let why = within("a close", async { socket.recv().await }).await;
    assert!(!matches!(why, Ok(Some(_))), "{why:?}");
}

#[tokio::test]
async fn a_log_that_refuses_says_which_line_and_why() {
    let data = TempDir::new().unwrap();
    let mut narrow = options(&data, &[WEB]);
    narrow.log.max_packet = 5;
    let gateway = Gateway::start(narrow, registry()).await.unwrap();
    let answer = post(&gateway, &[("content-type", "application/x-ndjson")], "12345\n123456\n1\n").await;
    assert_eq!(answer.0, 413, "{}", answer.2);
    let kinds: Vec<_> = answer.2.lines().map(|line| line.contains("\"stored\"")).collect();
    assert_eq!(kinds, [true, false, true]);
    assert_eq!(stored(&data).len(), 2);
}

#[tokio::test]
async fn bodies_that_do_not_come_leave_others_503_and_the_rest_untouched() {
    let data = TempDir::new().unwrap();
    let mut narrow = options(&data, &[WEB, "tcp://127.0.0.1:0?framing=lines"]);
    narrow.in_flight = 10;
    let gateway = Gateway::start(narrow, registry()).await.unwrap();
    let mut slow = TcpStream::connect(("127.0.0.1", port(&gateway))).await.unwrap();
    let head = "POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    // It says to go on when it begins to read.
    let mut said = [0; 25];
    within("100", slow.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    let refused = post(&gateway, &[], "x").await;
    assert_eq!((refused.0, refused.1.contains_key("retry-after")), (503, true), "{}", refused.2);
    let line = gateway.local_endpoints()[1].clone();
    let other = registry().connect(line).await.unwrap();
    other.send(Packet::text("other")).await.unwrap();
    other.flush().await.unwrap();
    within("the other's packet", async {
        while gateway.status().stored < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    slow.write_all(b"0123456789").await.unwrap();
    let mut rest = vec![0; 200];
    let read = within("its receipt", slow.read(&mut rest)).await.unwrap();
    assert!(String::from_utf8_lossy(&rest[..read]).contains(" 200 "), "{rest:?}");
}

#[tokio::test]
async fn websockets_of_haul_and_of_strangers_come_in_on_the_same_port() {
    let data = TempDir::new().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let url = |tail: &str| Endpoint::parse(&format!("ws://127.0.0.1:{}{tail}", port(&gateway))).unwrap();
    let mut haul = registry().connect(url("/any/path")).await.unwrap();
    let receipt = haul.deliver(Packet::text("a").with("session_id", "7")).await.unwrap();
    assert_eq!((receipt.level, receipt.reference.as_deref()), (Level::Stored, Some("1")));
    let mut stranger = registry().connect(url("/?receipts=json&session=s#subprotocol=")).await.unwrap();
    stranger.send(Packet::text("b")).await.unwrap();
    let receipt = within("a receipt", stranger.recv()).await.unwrap().unwrap();
    assert!(receipt.as_text().unwrap().contains(r#""seq":2,"session":"s""#), "{receipt:?}");
    let expected = [("7", "a"), ("s", "b")].map(|(session, text)| (session.to_owned(), text.to_owned()));
    assert_eq!(stored(&data), expected);
    let status = gateway.status();
    assert_eq!((status.listeners[0].open, status.protocols["ws"].open), (2, 2));
    let ended = gateway.shutdown(crate::support::SOON).await.unwrap();
    assert_eq!(ended.cut, 0);
    let end = within("1001", haul.recv()).await;
    assert!(matches!(end, Ok(None)), "{end:?}");
}

#[tokio::test]
async fn health_and_metrics_say_what_the_status_says() {
    let data = TempDir::new().unwrap();
    let sink = Kept::new();
    let plan = options(&data, &[WEB]).route(sink.route("a"));
    let gateway = Gateway::start(plan, registry()).await.unwrap();
    let health = ask(&gateway, "GET", "/health", &[], Body::empty()).await;
    assert_eq!((health.0, health.2.as_str()), (200, "{\"status\":\"ok\"}\n"));
    assert_eq!(post(&gateway, &[], "four").await.0, 200);
    sink.has(&["four"]).await;
    let socket = plain(&gateway, "ws", "").await;
    // One who says nothing may yet begin a session.
    socket.deliver(Packet::text("six123")).await.unwrap();
    within("the route's count", async {
        while gateway.status().log.sinks[0].delivered < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let page = ask(&gateway, "GET", "/metrics", &[], Body::empty()).await;
    assert_eq!(page.0, 200);
    assert!(page.1["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    for line in [
        "haul_connections{protocol=\"ws\"} 1",
        "haul_connections{protocol=\"http\"} 0",
        "haul_connections_opened_total{protocol=\"http\"} 1",
        "haul_protocol_packets_received_total{protocol=\"http\"} 1",
        "haul_protocol_packets_received_total{protocol=\"ws\"} 1",
        "haul_protocol_received_bytes_total{protocol=\"ws\"} 6",
        "haul_connections_in_state{state=\"connected\"} 1",
        "haul_packets_received_total 2",
        "haul_received_bytes_total 10",
        "haul_packets_stored_total 2",
        "haul_log_appends_total 2",
        "haul_log_failed 0",
        "haul_route_position{route=\"kept\"} 3",
        "haul_route_behind{route=\"kept\"} 0",
        "haul_route_delivered_total{route=\"kept\"} 2",
        "haul_route_dead_letters_total{route=\"kept\"} 0",
    ] {
        assert!(page.2.lines().any(|own| own == line), "no {line} in\n{}", page.2);
    }
    for (method, target, status) in
        [("GET", "/events", 405), ("POST", "/metrics", 405), ("POST", "/health", 405), ("GET", "/x", 404)]
    {
        let answer = ask(&gateway, method, target, &[], Body::empty()).await;
        assert_eq!(answer.0, status, "{method} {target}");
        assert_eq!(answer.1.contains_key("allow"), status == 405);
    }
}

pub(crate) fn guarded(data: &TempDir, guard: Guard) -> ServeOptions {
    let mut guarded = options(data, &[WEB]);
    guarded.guard = guard;
    guarded
}

pub(crate) fn guard(origins: &[&str], tokens: &[&str]) -> Guard {
    let mut guard = Guard::default();
    guard.origins = origins.iter().map(|text| (*text).to_owned()).collect();
    guard.tokens = tokens.iter().map(|text| (*text).to_owned()).collect();
    guard
}

#[tokio::test]
async fn pages_of_foreign_origins_are_refused_and_listed_ones_are_told_that_they_may() {
    let data = TempDir::new().unwrap();
    let app = "https://app.example";
    let gateway = Gateway::start(guarded(&data, guard(&[app], &[])), registry()).await.unwrap();
    let own = format!("http://127.0.0.1:{}", port(&gateway));
    for (origin, status) in
        [("https://evil.example", 403), ("null", 403), ("http://127.0.0.1:1", 403), (app, 200), (&own, 200)]
    {
        let answer = post(&gateway, &[("origin", origin)], "x").await;
        assert_eq!(answer.0, status, "{origin}: {}", answer.2);
        let allowed = answer.1.get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!(allowed, (origin == app).then_some(app));
        let (line, _) = upgrade(&gateway, "/", &[("Origin", origin)]).await;
        let expected = if status == 200 { " 101 " } else { " 403 " };
        assert!(line.contains(expected), "{origin}: {line}");
    }
    let asked =
        [("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")];
    let preflight = |origin| [&[("origin", origin)], &asked[..]].concat();
    let may = ask(&gateway, "OPTIONS", "/events", &preflight(app), Body::empty()).await;
    assert_eq!(may.0, 204);
    assert_eq!(may.1["access-control-allow-headers"], "authorization");
    assert_eq!(may.1["access-control-allow-methods"], "GET, POST, DELETE");
    let may_not =
        ask(&gateway, "OPTIONS", "/events", &preflight("https://evil.example"), Body::empty()).await;
    assert_eq!(may_not.0, 403);
    assert_eq!(gateway.status().stored, 2);
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_read_why_it_is_refused() {
    let data = TempDir::new().unwrap();
    let app = "https://app.example";
    let gateway = Gateway::start(guarded(&data, guard(&[app], &["secret"])), registry()).await.unwrap();
    let refused = post(&gateway, &[("origin", app)], "x").await;
    assert_eq!(refused.0, 401);
    assert_eq!(refused.1["access-control-allow-origin"], app);
}

#[tokio::test]
async fn a_name_that_was_led_here_is_not_the_gateways_own() {
    let data = TempDir::new().unwrap();
    let gateway = start(&data, &[WEB]).await;
    for (host, status) in [("evil.example:7700", 403), ("localhost:7700", 200), ("[::1]:7700", 200)] {
        let headers = [("origin", format!("http://{host}")), ("host", host.to_owned())];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(post(&gateway, &headers, "x").await.0, status, "{host}");
    }
}

#[tokio::test]
async fn a_token_is_shown_in_the_header_the_query_or_the_subprotocol() {
    let data = TempDir::new().unwrap();
    let gateway = Gateway::start(guarded(&data, guard(&[], &["other", "s3cret"])), registry()).await.unwrap();
    for (value, status) in
        [("Bearer s3cret", 200), ("bearer other", 200), ("Bearer s3cre", 401), ("Basic s3cret", 401)]
    {
        let headers = [("authorization", value)];
        assert_eq!(post(&gateway, &headers, "x").await.0, status, "{value}");
        assert_eq!(ask(&gateway, "GET", "/metrics", &headers, Body::empty()).await.0, status, "{value}");
        let (line, _) = upgrade(&gateway, "/", &headers).await;
        assert_eq!(line.contains(" 101 "), status == 200, "{value}: {line}");
    }
    assert_eq!(post(&gateway, &[], "x").await.0, 401);
    assert_eq!(ask(&gateway, "GET", "/health", &[], Body::empty()).await.0, 200);
    assert_eq!(ask(&gateway, "POST", "/events?access_token=s3cret", &[], "x").await.0, 200);
    let agreed = async |offer| upgrade(&gateway, "/", &[("Sec-WebSocket-Protocol", offer)]).await;
    let (line, chosen) = agreed("bearer.s3cret").await;
    assert!(line.contains(" 101 ") && chosen.as_deref() == Some("bearer.s3cret"), "{line} {chosen:?}");
    let (line, chosen) = agreed("bearer.s3cret, haul.v1").await;
    assert!(line.contains(" 101 ") && chosen.as_deref() == Some("haul.v1"), "{line} {chosen:?}");
    let (line, _) = agreed("bearer.wrong, haul.v1").await;
    assert!(line.contains(" 401 "), "{line}");
    assert!(!format!("{:?}", guard(&[], &["s3cret"])).contains("s3cret"));

    let mixed = async |urls: &[&str]| {
        let mut mixed = options(&data, urls);
        mixed.guard = guard(&[], &["new"]);
        gateway.reload(mixed).await
    };
    let why = mixed(&[WEB, "tcp://127.0.0.1:0"]).await.unwrap_err();
    assert!(why.kind() == ErrorKind::Config && why.to_string().contains("tokens=none"), "{why}");
    mixed(&[WEB, "tcp://127.0.0.1:0?tokens=none"]).await.unwrap();
    mixed(&["http://127.0.0.1:0?tokens=none"]).await.unwrap();
    assert_eq!(post(&gateway, &[], "x").await.0, 200);
    assert_eq!(ask(&gateway, "POST", "/events?tokens=none", &[], "x").await.0, 200);

    let changed = guarded(&data, guard(&[], &["new"]));
    gateway.reload(changed).await.unwrap();
    assert_eq!(post(&gateway, &[("authorization", "Bearer s3cret")], "x").await.0, 401);
    assert_eq!(post(&gateway, &[("authorization", "Bearer new")], "x").await.0, 200);
    assert_eq!(ask(&gateway, "POST", "/events?tokens=none", &[], "x").await.0, 401);
}

#[tokio::test]
async fn a_check_of_ones_own_has_the_last_word() {
    let data = TempDir::new().unwrap();
    let seen = watch::Sender::new(0);
    let counted = seen.clone();
    let own = Guard::default().check(move |request| {
        counted.send_modify(|seen| *seen += 1);
        let tenant = request.headers.get("x-tenant").is_some_and(|name| name == "a");
        let slow = || Err(Error::new(ErrorKind::RateLimited, "slower"));
        std::future::ready(if tenant { Ok(Metadata::new()) } else { slow() })
    });
    let gateway = Gateway::start(guarded(&data, own), registry()).await.unwrap();
    assert_eq!(post(&gateway, &[("x-tenant", "a")], "x").await.0, 200);
    let refused = post(&gateway, &[], "x").await;
    assert_eq!((refused.0, refused.2.as_str()), (429, "slower\n"));
    assert!(upgrade(&gateway, "/", &[]).await.0.contains(" 429 "));
    assert_eq!(*seen.borrow(), 3);
}

#[tokio::test]
async fn what_would_let_nobody_in_or_means_nothing_is_refused_at_the_start() {
    let data = TempDir::new().unwrap();
    for (wrong, why) in [
        (guard(&[], &[""]), "a token is empty"),
        (guard(&["app.example"], &[]), "https://host"),
        (guard(&["https://app.example/"], &[]), "https://host"),
    ] {
        let refused = Gateway::start(guarded(&data, wrong), registry()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config);
        assert!(refused.to_string().contains(why), "{refused}");
    }
    let unknown = Gateway::start(options(&data, &["http://127.0.0.1:0?fraiming=lines"]), registry()).await;
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::Config);
    let fine = options(&data, &["http://127.0.0.1:7700?max_packet=1MiB&idle=9s&stall=1s&ping=2s"]);
    Gateway::check(&fine, &registry()).await.unwrap();
}
