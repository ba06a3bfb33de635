//! What a client's options do.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use haul_core::{Body, Call, ErrorKind, Response, Sent, Status, service_fn};
use haul_http::{Client, ClientConfig, Version};
use http::Method;
use http_body::{Body as HttpBody, Frame};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::support::{Bad, client, echo, failure, get, head, listen, plain, request, says, soon, text, url};

/// Answers `ok` to each request of a connection, and tells each head.
async fn tells(answer: &'static str) -> (Bad, mpsc::Receiver<String>) {
    let (tell, told) = mpsc::channel(64);
    let bad = Bad::new(move |mut stream| {
        let tell = tell.clone();
        async move {
            loop {
                let head = head(&mut stream).await;
                if head.is_empty() {
                    return;
                }
                tell.send(head).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (bad, told)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The header lines that a request of `config` has.
async fn sent(config: ClientConfig, request: impl FnOnce(&Bad) -> haul_core::Request) -> String {
    let (bad, mut told) = tells(OK).await;
    text(&client(config), request(&bad)).await.unwrap();
    soon("the head", told.recv()).await.unwrap()
}

fn config() -> ClientConfig {
    ClientConfig::default()
}

#[tokio::test]
async fn a_base_url_takes_paths_and_gives_its_credentials_to_its_origin_alone() {
    let (bad, mut told) = tells(OK).await;
    let (other, mut elsewhere) = tells(OK).await;
    let base_url = Some(format!("http://me:p%40ss@127.0.0.1:{}/v1/", bad.port));
    let client = client(ClientConfig { base_url, ..config() });
    text(&client, get("/jobs?a=1")).await.unwrap();
    let head = soon("the head", told.recv()).await.unwrap();
    assert!(head.starts_with("GET /v1/jobs?a=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: Basic bWU6cEBzcw==\r\n"), "{head}");
    text(&client, get(&bad.url("/x"))).await.unwrap();
    assert!(soon("the head", told.recv()).await.unwrap().contains("authorization"));
    text(&client, get(&other.url("/x"))).await.unwrap();
    assert!(!soon("the head", elsewhere.recv()).await.unwrap().contains("authorization"));
    let why = failure(&plain(), get("/jobs")).await;
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Config, Sent::No), "{why}");
}

#[tokio::test]
async fn default_headers_and_credentials_give_way_to_those_of_the_request() {
    let headers = BTreeMap::from([("x-tenant".into(), "7".into()), ("accept".into(), "text/plain".into())]);
    let config = ClientConfig { headers, bearer: Some("t0ken".into()), ..config() };
    let head = sent(config, |bad| {
        let mut request = get(&bad.url("/"));
        request.headers_mut().insert("accept", "image/png".parse().unwrap());
        request
    })
    .await;
    for line in
        ["x-tenant: 7\r\n", "accept: image/png\r\n", "authorization: Bearer t0ken\r\n", "user-agent: haul/"]
    {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert!(!head.contains("text/plain"), "{head}");
    let of_url =
        sent(ClientConfig::default(), |bad| get(&format!("http://a:b@127.0.0.1:{}/", bad.port))).await;
    assert!(of_url.contains("authorization: Basic YTpi\r\n") && !of_url.contains("a:b@"), "{of_url}");
}

#[tokio::test]
async fn names_of_headers_are_in_title_case_where_a_server_needs_it() {
    let head =
        sent(ClientConfig { title_case: true, ..config() }, |bad| request(Method::POST, &bad.url("/"), ""))
            .await;
    assert!(head.contains("User-Agent: ") && head.contains("Content-Length: 0\r\n"), "{head}");
    assert!(sent(config(), |bad| get(&bad.url("/"))).await.contains("user-agent: "));
}

/// So many bytes, in pieces, with no size known.
struct Pieces(usize);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let piece = self.0.min(1000);
        self.0 -= piece;
        Poll::Ready((piece > 0).then(|| Ok(Frame::data(Bytes::from(vec![b'a'; piece])))))
    }
}

#[tokio::test]
async fn a_body_of_unknown_size_goes_in_chunks_or_is_collected_where_a_server_needs_its_length() {
    let pieces = |bad: &Bad, size| request(Method::POST, &bad.url("/"), Body::once(Pieces(size)));
    let head = sent(config(), |bad| pieces(bad, 0)).await;
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    let short = ClientConfig { length_only: true, max_body: 2500, ..config() };
    let server = listen("", echo()).await;
    let small = request(Method::POST, &url(&server, "/"), Body::once(Pieces(2500)));
    assert_eq!(text(&client(short.clone()), small).await.unwrap().1.len(), 2500);
    let (bad, _told) = tells(OK).await;
    let why = failure(&client(short), pieces(&bad, 2501)).await;
    assert_eq!((why.kind(), why.sent(), bad.connections()), (ErrorKind::TooLarge, Sent::No, 0), "{why}");
}

#[tokio::test]
async fn connections_are_kept_or_made_anew_for_each_request() {
    for (max_idle_per_host, connections) in [(32, 1), (0, 10)] {
        let (bad, _told) = tells(OK).await;
        let client = client(ClientConfig { max_idle_per_host, ..config() });
        for _ in 0..10 {
            text(&client, get(&bad.url("/"))).await.unwrap();
        }
        assert_eq!(bad.connections(), connections);
    }
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_allowed_and_none_longer() {
    let (closed, mut closes) = mpsc::channel(64);
    let bad = Bad::new(move |mut stream| {
        let closed = closed.clone();
        async move {
            while !head(&mut stream).await.is_empty() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
            closed.send(()).await.unwrap();
        }
    })
    .await;
    let kept = client(ClientConfig { max_idle_per_host: 2, ..config() });
    let held: Vec<_> = five(&kept, &bad).await;
    assert_eq!(bad.connections(), 5);
    // Read, their connections are free: two stay, three go.
    for response in held {
        soon("a body", response.into_body().bytes(10)).await.unwrap();
    }
    for _ in 0..3 {
        soon("a connection to be closed", closes.recv()).await.unwrap();
    }
    text(&kept, get(&bad.url("/"))).await.unwrap();
    assert_eq!(bad.connections(), 5, "none was kept");
    assert!(closes.try_recv().is_err(), "more were closed");

    let short = client(ClientConfig { keep_idle: Duration::from_millis(10), ..config() });
    text(&short, get(&bad.url("/"))).await.unwrap();
    soon("the idle connection to be closed", closes.recv()).await.unwrap();
}

/// Responses of five requests under way at once.
async fn five(client: &Client, bad: &Bad) -> Vec<Response> {
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (client, url) = (client.clone(), bad.url("/"));
        asking.spawn(async move { client.request(get(&url)).await.unwrap() });
    }
    soon("five answers", asking.join_all()).await
}

/// A service that answers when it is let, and tells who came.
fn held()
-> (impl haul_core::Service<haul_core::Request>, mpsc::Receiver<()>, std::sync::Arc<tokio::sync::Semaphore>) {
    let (tell, told) = mpsc::channel(64);
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let open = gate.clone();
    let service = service_fn(move |_| {
        let (tell, open) = (tell.clone(), open.clone());
        async move {
            tell.send(()).await.unwrap();
            open.acquire().await.unwrap().forget();
            Ok(Response::new(Body::from("let in")))
        }
    });
    (service, told, gate)
}

#[tokio::test]
async fn requests_above_the_bound_of_a_host_wait_and_other_hosts_do_not() {
    for version in [Version::Http1, Version::Http2] {
        let (service, mut told, gate) = held();
        let server = listen("", service).await;
        let free = listen("", says("free")).await;
        let client = client(ClientConfig { max_requests_per_host: 3, version, ..config() });
        let ask = |client: Client| {
            let url = url(&server, "/");
            tokio::spawn(async move { text(&client, get(&url)).await.unwrap().1 })
        };
        let asking: Vec<_> = (0..6).map(|_| ask(client.clone())).collect();
        for _ in 0..3 {
            soon("a request", told.recv()).await.unwrap();
        }
        assert_eq!(text(&client, get(&url(&free, "/"))).await.unwrap().1, "free");
        assert!(told.try_recv().is_err(), "a fourth request came");
        gate.add_permits(6);
        for asked in asking {
            assert_eq!(soon("an answer", asked).await.unwrap(), "let in");
        }
    }
}

#[tokio::test]
async fn who_waits_for_its_turn_longer_than_its_deadline_sent_nothing() {
    let (service, mut told, gate) = held();
    let server = listen("", service).await;
    let timeout = Some(Duration::from_millis(300));
    let client = client(ClientConfig { max_requests: 1, timeout, ..config() });
    let (first, at) = (client.clone(), url(&server, "/"));
    let first = tokio::spawn(async move { failure(&first, get(&at)).await });
    soon("the first", told.recv()).await.unwrap();
    let second = failure(&client, get(&url(&server, "/"))).await;
    // Either its turn never came, or it came when the first gave up.
    assert_eq!(second.kind(), ErrorKind::Timeout);
    assert_eq!(first.await.unwrap().sent(), Sent::Maybe);
    gate.add_permits(2);
}

#[tokio::test]
async fn a_response_that_is_not_read_counts_until_it_is_dropped() {
    let server = listen("", says("something")).await;
    let client = client(ClientConfig { max_requests: 1, ..config() });
    let response = soon("a response", client.request(get(&url(&server, "/")))).await.unwrap();
    let (second, at) = (client.clone(), url(&server, "/"));
    let second = tokio::spawn(async move { text(&second, get(&at)).await.unwrap().0 });
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    drop(response);
    assert_eq!(soon("the second", second).await.unwrap(), 200);
}

#[tokio::test]
async fn a_collected_response_is_bounded() {
    let server = listen("", echo()).await;
    let client = client(ClientConfig { max_body: 100, ..config() });
    let ask = |size| request(Method::POST, &url(&server, "/"), "a".repeat(size));
    assert_eq!(soon("it", client.fetch(ask(100))).await.unwrap().body().len(), 100);
    let why = soon("it", client.fetch(ask(101))).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::TooLarge, Sent::Maybe), "{why}");
}

#[tokio::test]
async fn options_that_mean_nothing_are_refused() {
    for config in [
        ClientConfig { max_requests: 0, ..config() },
        ClientConfig { max_head: 100, ..config() },
        ClientConfig { base_url: Some("ftp://a.example".into()), ..config() },
        ClientConfig { base_url: Some("http://a.example/?q".into()), ..config() },
        ClientConfig { base_url: Some("http://me@a.example".into()), bearer: Some("t".into()), ..config() },
        ClientConfig { proxy: Some("ftp://a.example".into()), ..config() },
        ClientConfig { headers: BTreeMap::from([("a b".into(), "c".into())]), ..config() },
        ClientConfig {
            tls: haul_tls::ClientOptions { ca: Some("/no/such/file".into()), ..Default::default() },
            ..config()
        },
    ] {
        let why = Client::new(config).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::Config, "{why}");
    }
}

#[tokio::test]
async fn http_2_is_spoken_by_prior_knowledge_where_it_is_asked_for() {
    let server = listen("", echo()).await;
    let client = client(ClientConfig { version: Version::Http2, ..config() });
    let response = soon("it", client.request(get(&url(&server, "/")))).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    let older = Bad::says("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let why = failure(&client, get(&older.url("/"))).await;
    assert_eq!((why.kind(), why.status()), (ErrorKind::Protocol, Status::Permanent), "{why}");
}
