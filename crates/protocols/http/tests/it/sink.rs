//! Deliveries: what a server sees, and what its answers mean.

use std::io::Read;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use haul_core::{
    Body, Deliver, DeliverAll, ErrorKind, Level, Packet, PacketId, Request, Response, Sent, Service, Sink,
    Status, service_fn,
};
use haul_http::{BatchAs, HttpConfig, HttpSink, MetadataAs, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::{listen, soon, url};

type Seen = Arc<Mutex<Vec<http::Request<Bytes>>>>;

/// Notes each request, and answers it as `answer` says of its number.
async fn noting(answer: impl Fn(usize) -> Response + Send + Sync + 'static) -> (Server, Seen) {
    let seen = Seen::default();
    let (note, answer) = (seen.clone(), Arc::new(answer));
    let service = service_fn(move |request: Request| {
        let (note, answer) = (note.clone(), answer.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.bytes(1 << 30).await?;
            let mut note = note.lock().unwrap();
            note.push(http::Request::from_parts(head, body));
            Ok(answer(note.len() - 1))
        }
    });
    (listen("", service).await, seen)
}

fn answer(status: u16) -> Response {
    http::Response::builder().status(status).body(Body::empty()).unwrap()
}

/// A sink on `server` with these options in the fragment.
fn sink(server: &Server, options: &str) -> HttpSink {
    let endpoint = format!("{}#{options}", url(server, "/in?tenant=7")).parse().unwrap();
    HttpSink::new(HttpConfig::from_endpoint(&endpoint).unwrap()).unwrap()
}

fn id(number: u8) -> PacketId {
    PacketId::from_bytes([number; 16])
}

async fn outcomes(sink: &HttpSink, packets: Vec<Packet>) -> Vec<haul_core::Result<haul_core::Receipt>> {
    soon("the outcomes", sink.deliver_all(packets)).await.unwrap()
}

#[tokio::test]
async fn a_packet_is_a_request_with_its_metadata_as_headers_and_its_id_as_key() {
    let (server, seen) = noting(|_| {
        http::Response::builder().status(201).header("location", "/in/1").body(Body::empty()).unwrap()
    })
    .await;
    let sink = sink(&server, "headers=x-from:haul&bearer=t0ken&header_prefix=x-");
    let packet = Packet::text("hello").with("session_id", "7").with_id(id(1));
    let receipt = soon("a receipt", sink.deliver(packet)).await.unwrap();
    assert_eq!((receipt.level, receipt.id), (Level::Acknowledged, Some(id(1))));
    assert_eq!(receipt.reference.as_deref(), Some("/in/1"));
    let seen = seen.lock().unwrap();
    let [request] = &seen[..] else { panic!("{} requests", seen.len()) };
    assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("POST", "/in?tenant=7"));
    assert_eq!(request.body(), "hello");
    for (name, value) in [
        ("x-session-id", "7"),
        ("idempotency-key", "01010101-0101-0101-0101-010101010101"),
        ("content-type", "text/plain; charset=utf-8"),
        ("x-from", "haul"),
        ("authorization", "Bearer t0ken"),
    ] {
        assert_eq!(request.headers()[name], value, "{name}");
    }
}

#[tokio::test]
async fn a_batch_is_one_request_of_envelopes_compressed_where_that_is_asked_for() {
    for (batch, gzip) in [("json", false), ("ndjson", true)] {
        let (server, seen) = noting(|_| answer(204)).await;
        let sink = sink(&server, &format!("batch={batch}&gzip={gzip}"));
        let packets = vec![
            Packet::text("{\"a\":\n1}").with("k", "v").with_id(id(1)),
            Packet::binary(vec![0, 255]).with_id(id(2)),
        ];
        assert!(outcomes(&sink, packets.clone()).await.iter().all(Result::is_ok));
        assert!(outcomes(&sink, packets).await.iter().all(Result::is_ok));
        let seen = seen.lock().unwrap();
        let body = if gzip {
            assert_eq!(seen[0].headers()["content-encoding"], "gzip");
            let mut text = String::new();
            flate2::read::GzDecoder::new(&seen[0].body()[..]).read_to_string(&mut text).unwrap();
            text
        } else {
            String::from_utf8(seen[0].body().to_vec()).unwrap()
        };
        let sent: Vec<Value> = match batch {
            "json" => serde_json::from_str(&body).unwrap(),
            _ => body.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        };
        assert_eq!(sent[0]["event"], json!({"a": 1}));
        assert_eq!(sent[0]["metadata"], json!({"k": "v"}));
        assert_eq!(sent[0]["id"], id(1).to_string());
        assert!(sent[0]["timestamp"].as_str().unwrap().ends_with('Z'), "{}", sent[0]);
        assert_eq!((&sent[1]["event"], &sent[1]["encoding"]), (&json!("AP8="), &json!("base64")));
        let key = |at: usize| seen[at].headers()["idempotency-key"].clone();
        assert_eq!(key(0), key(1), "the same packets have the same key");
    }
}

#[tokio::test]
async fn a_packet_by_itself_is_an_envelope_by_another_method_and_type_where_that_is_asked_for() {
    let (server, seen) = noting(|_| answer(200)).await;
    let options = "metadata=envelope&method=PUT&content_type=application/x-event&idempotency=&gzip=true";
    let sink = sink(&server, options);
    let packet = Packet::text("{\"a\":1}").with("k", "v").with_id(id(1));
    soon("a receipt", sink.deliver(packet)).await.unwrap();
    let seen = seen.lock().unwrap();
    let headers = seen[0].headers();
    assert_eq!(
        (seen[0].method(), headers["content-type"].to_str().unwrap()),
        (&http::Method::PUT, "application/x-event")
    );
    assert!(!headers.contains_key("idempotency-key") && !headers.contains_key("k"), "{headers:?}");
    let mut body = String::new();
    flate2::read::GzDecoder::new(&seen[0].body()[..]).read_to_string(&mut body).unwrap();
    let mut sent: Value = serde_json::from_str(&body).unwrap();
    let timestamp = sent.as_object_mut().unwrap().remove("timestamp").unwrap();
    assert!(timestamp.as_str().unwrap().ends_with('Z'), "{timestamp}");
    assert_eq!(sent, json!({ "id": id(1).to_string(), "event": { "a": 1 }, "metadata": { "k": "v" } }));
}

#[tokio::test]
async fn what_an_answer_means_is_told_with_what_the_server_said() {
    let facts = |kind, status, sent| (kind, status, sent);
    for (code, expected) in [
        (400, facts(ErrorKind::Rejected, Status::Permanent, Sent::Maybe)),
        (401, facts(ErrorKind::Unauthorized, Status::Permanent, Sent::Maybe)),
        (404, facts(ErrorKind::NotFound, Status::Permanent, Sent::Maybe)),
        (302, facts(ErrorKind::Rejected, Status::Permanent, Sent::Maybe)),
        (429, facts(ErrorKind::RateLimited, Status::Transient, Sent::No)),
        (500, facts(ErrorKind::Rejected, Status::Transient, Sent::Maybe)),
        (503, facts(ErrorKind::Overloaded, Status::Transient, Sent::No)),
        (504, facts(ErrorKind::Timeout, Status::Transient, Sent::Maybe)),
    ] {
        let (server, _) = noting(move |_| {
            let answer = http::Response::builder().status(code).header("retry-after", "7");
            answer.header("location", "/elsewhere").body(Body::from("because")).unwrap()
        })
        .await;
        let why = soon("it", sink(&server, "").deliver(Packet::text("x"))).await.unwrap_err();
        assert_eq!((why.kind(), why.status(), why.sent()), expected, "{code}: {why}");
        assert!(why.to_string().contains("because") && why.to_string().contains("deliver to http"), "{why}");
        if code != 302 {
            assert_eq!(why.retry_after(), Some(Duration::from_secs(7)), "{code}");
        } else {
            assert!(why.to_string().contains("/elsewhere"), "{why}");
        }
    }
}

#[tokio::test]
async fn a_date_says_when_to_come_back_too() {
    let (server, _) = noting(|_| {
        let answer = http::Response::builder().status(503).header("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        answer.header("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT").body(Body::empty()).unwrap()
    })
    .await;
    let why = soon("it", sink(&server, "").deliver(Packet::text("x"))).await.unwrap_err();
    assert_eq!(why.retry_after(), Some(Duration::from_secs(30)));
}

#[tokio::test]
async fn a_failure_that_may_pass_stops_the_batch_and_one_for_good_does_not() {
    let (server, seen) = noting(|number| answer([200, 400, 200, 503, 200][number.min(4)])).await;
    let packets: Vec<_> = (0..6u8).map(|number| Packet::text(number.to_string())).collect();
    let outcomes = outcomes(&sink(&server, ""), packets).await;
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            outcome.as_ref().map_or_else(|why| (Some(why.kind()), Some(why.sent())), |_| (None, None))
        })
        .collect();
    let (refused, busy) = (Some(ErrorKind::Rejected), Some(ErrorKind::Overloaded));
    let (no, maybe) = (Some(Sent::No), Some(Sent::Maybe));
    // Without Retry-After, a gateway's 503 does not say that nobody acted.
    assert_eq!(told, [(None, None), (refused, maybe), (None, None), (busy, maybe), (busy, no), (busy, no)]);
    assert!(outcomes[5].as_ref().unwrap_err().to_string().contains("not tried"));
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_request_fails_whole_and_what_cannot_be_sent_fails_alone() {
    let (server, seen) = noting(|number| answer(if number == 0 { 200 } else { 400 })).await;
    let sink = sink(&server, "batch=json&max_packet=10B&max_batch=2");
    let packets = ["one", "much too large", "two", "three", "four"].map(Packet::text).to_vec();
    let told: Vec<_> = outcomes(&sink, packets)
        .await
        .into_iter()
        .map(|outcome| outcome.err().map(|why| why.kind()))
        .collect();
    let refused = Some(ErrorKind::Rejected);
    assert_eq!(told, [None, Some(ErrorKind::TooLarge), refused, refused, refused]);
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_large_batch_is_several_requests_each_within_its_bounds() {
    let (server, seen) = noting(|_| answer(200)).await;
    let packets = vec![Packet::text("a".repeat(100)); 50];
    for (options, requests) in
        [("max_batch=20", 3), ("max_batch_bytes=1000B&metadata=none", 6), ("max_batch_bytes=1B", 50)]
    {
        let sink = sink(&server, &format!("batch=json&{options}"));
        assert!(outcomes(&sink, packets.clone()).await.iter().all(Result::is_ok));
        assert_eq!(seen.lock().unwrap().drain(..).len(), requests, "{options}");
    }
}

#[tokio::test]
async fn metadata_is_never_dropped() {
    let (server, seen) = noting(|_| answer(200)).await;
    for (options, packet) in [
        ("", Packet::text("x").with("name", "ä")),
        ("metadata=none", Packet::text("x").with("name", "a")),
        ("metadata=none&batch=json", Packet::text("x").with("name", "a")),
        ("metadata=none&batch=json", Packet::binary("x")),
    ] {
        let why = soon("it", sink(&server, options).deliver(packet)).await.unwrap_err();
        let facts = (why.kind(), why.status(), why.sent());
        assert_eq!(facts, (ErrorKind::Unsupported, Status::Permanent, Sent::No), "{options}: {why}");
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn ready_asks_without_a_packet() {
    for (options, status, ready) in [
        ("", 204, true),
        ("", 501, true),
        ("", 405, true),
        ("", 503, false),
        ("", 401, false),
        ("health=/healthy", 200, true),
        ("health=/healthy", 404, false),
    ] {
        let (server, seen) = noting(move |_| answer(status)).await;
        let asked = soon("ready", sink(&server, options).ready()).await;
        assert_eq!(asked.is_ok(), ready, "{options} {status}: {asked:?}");
        let seen = seen.lock().unwrap();
        let path = seen[0].uri().path().to_owned();
        let expected = if options.is_empty() { ("OPTIONS", "/in") } else { ("GET", "/healthy") };
        assert_eq!((seen[0].method().as_str(), path.as_str()), expected);
    }
    let gone = listen("", crate::support::says("x")).await;
    let sink = sink(&gone, "");
    gone.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(soon("ready", sink.ready()).await.unwrap_err().kind(), ErrorKind::Connect);
}

#[tokio::test]
async fn close_waits_for_what_is_under_way() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (tell, mut asked) = tokio::sync::mpsc::channel(1);
    let open = gate.clone();
    let service = service_fn(move |_| {
        let (open, tell) = (open.clone(), tell.clone());
        async move {
            tell.send(()).await.unwrap();
            open.acquire().await.unwrap().forget();
            Ok(answer(200))
        }
    });
    let server = listen("", service).await;
    let sink = Arc::new(sink(&server, ""));
    let deliverer = sink.clone();
    let delivery = tokio::spawn(async move { deliverer.deliver(Packet::text("x")).await });
    soon("the request", asked.recv()).await.unwrap();
    let closer = sink.clone();
    let closing = tokio::spawn(async move { closer.close().await });
    tokio::task::yield_now().await;
    assert!(!closing.is_finished());
    gate.add_permits(1);
    soon("the receipt", delivery).await.unwrap().unwrap();
    soon("the close", closing).await.unwrap().unwrap();
    let late = Service::<Packet>::call(&*sink, Packet::text("late")).await.unwrap_err();
    assert_eq!((late.kind(), late.sent()), (ErrorKind::Closed, Sent::No));
}

#[test]
fn the_configuration_is_read_from_urls_and_tables_alike() {
    let url = "https://me:pw@host/in?tenant=7#batch=ndjson&gzip=true&metadata=envelope&method=PUT&max_batch=10\
               &max_packet=1KiB&reference=x-id&idempotency=x-key&health=/up&content_type=a/b&header_prefix=x-\
               &timeout=5s&headers=a:b;c:d&redirects=2&insecure=true&version=1.1";
    let table = r#"
        url = "https://me:pw@host/in?tenant=7"
        batch = "ndjson"
        gzip = true
        metadata = "envelope"
        method = "PUT"
        max_batch = 10
        max_packet = "1KiB"
        reference = "x-id"
        idempotency = "x-key"
        health = "/up"
        content_type = "a/b"
        header_prefix = "x-"
        [client]
        timeout = "5s"
        headers = { a = "b", c = "d" }
        redirects = 2
        version = "1.1"
        tls = { insecure = true }
    "#;
    let by_url = HttpConfig::from_endpoint(&url.parse().unwrap()).unwrap();
    assert_eq!(by_url, toml::from_str(table).unwrap());
    assert_eq!((by_url.batch, by_url.metadata), (BatchAs::Ndjson, Some(MetadataAs::Envelope)));
    assert_eq!(
        HttpConfig::from_endpoint(&"http://h/".parse().unwrap()).unwrap(),
        HttpConfig::new("http://h/")
    );
    for wrong in
        ["http://h/#bach=json", "http://h/#batch=xml", "http://h/#timeout=soon", "http://h/#headers=a"]
    {
        let why = HttpConfig::from_endpoint(&wrong.parse().unwrap()).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::Config, "{why}");
    }
    for wrong in [
        HttpConfig {
            batch: BatchAs::Json,
            metadata: Some(MetadataAs::Headers),
            ..HttpConfig::new("http://h/")
        },
        HttpConfig { max_batch: 0, ..HttpConfig::new("http://h/") },
        HttpConfig { reference: "a b".into(), ..HttpConfig::new("http://h/") },
        HttpConfig { content_type: Some("a\nb".into()), ..HttpConfig::new("http://h/") },
        HttpConfig::new("ftp://h/"),
        HttpConfig::new("http:///path"),
    ] {
        let why = HttpSink::new(wrong).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::Config, "{why}");
    }
    assert!(!format!("{by_url:?}").contains("pw"), "{by_url:?}");
}

/// aiohttp, which keeps the lines that it is sent and prints them when it is asked to.
const KEEPER: &str = r#"
import asyncio, gzip, json
from aiohttp import web
kept = []
async def take(request):
    body = await request.read()  # aiohttp decompresses it
    kept.extend(json.loads(line) for line in body.decode().splitlines())
    return web.Response(status=202, headers={"Location": f"/in/{len(kept)}"})
async def tell(request):
    return web.json_response([one["event"] for one in kept])
async def main():
    app = web.Application()
    app.router.add_post("/in", take)
    app.router.add_get("/in", tell)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"#;

#[tokio::test]
async fn aiohttp_has_every_line_once_and_in_order() {
    let Some(python) = haul_services::python_aiohttp() else { return };
    let mut command = Command::from(python);
    let mut child = command.args(["-c", KEEPER]).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = soon("the port", lines.next_line()).await.unwrap().unwrap();
    let url = format!("http://127.0.0.1:{port}/in");
    let endpoint = format!("{url}#batch=ndjson&gzip=true&max_batch=100").parse().unwrap();
    let sink = HttpSink::new(HttpConfig::from_endpoint(&endpoint).unwrap()).unwrap();
    soon("ready", sink.ready()).await.unwrap();
    let packets: Vec<_> = (0..1000).map(|number| Packet::text(format!("packet {number}"))).collect();
    let receipts = outcomes(&sink, packets).await;
    let references: Vec<_> =
        receipts.into_iter().map(|receipt| receipt.unwrap().reference.unwrap().into_owned()).collect();
    assert_eq!((references[0].as_str(), references[999].as_str()), ("/in/100", "/in/1000"));
    let (_, kept) = crate::support::text(&crate::support::plain(), crate::support::get(&url)).await.unwrap();
    let kept: Vec<String> = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept, (0..1000).map(|number| format!("packet {number}")).collect::<Vec<_>>());
    child.kill().await.unwrap();
}
