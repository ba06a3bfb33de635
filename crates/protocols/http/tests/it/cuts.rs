//! What a client says of servers that break off, stall, or talk nonsense.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use haul_core::{Body, Call, ErrorKind, Sent, Status};
use haul_http::ClientConfig;
use http::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::{Bad, client, failure, get, head, plain, request, reset, rest, soon, text};

type Facts = (ErrorKind, Status, Sent);

async fn facts(client: &haul_http::Client, bad: &Bad) -> Facts {
    let why = failure(client, get(&bad.url("/a"))).await;
    assert!(why.to_string().contains("GET http://127.0.0.1"), "{why}");
    (why.kind(), why.status(), why.sent())
}

const CLOSED: Facts = (ErrorKind::Closed, Status::Transient, Sent::Maybe);
const LATE: Facts = (ErrorKind::Timeout, Status::Transient, Sent::Maybe);
const NONSENSE: Facts = (ErrorKind::Protocol, Status::Permanent, Sent::Maybe);

#[tokio::test]
async fn a_refused_connection_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let why = failure(&plain(), get(&format!("http://127.0.0.1:{port}/"))).await;
    assert_eq!((why.kind(), why.status(), why.sent()), (ErrorKind::Connect, Status::Transient, Sent::No));
    assert!(why.to_string().contains("refused"), "{why}");
}

#[tokio::test]
async fn a_name_that_nobody_has_sent_nothing() {
    let why = failure(&plain(), get("http://no-such-host.invalid/")).await;
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Connect, Sent::No), "{why}");
}

#[tokio::test]
async fn a_connection_that_is_reset_or_closed_after_the_request_may_have_been_served() {
    let resets = Bad::new(|mut stream| async move {
        head(&mut stream).await;
        reset(stream);
    })
    .await;
    assert_eq!(facts(&plain(), &resets).await, CLOSED);
    let closes = Bad::new(|mut stream| async move {
        head(&mut stream).await;
    })
    .await;
    assert_eq!(facts(&plain(), &closes).await, CLOSED);
}

#[tokio::test]
async fn a_response_that_is_cut_is_no_short_response() {
    let declared = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    for answer in [declared, chunked] {
        for cut in [true, false] {
            let bad = Bad::new(move |mut stream| async move {
                head(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                if cut {
                    reset(stream);
                }
            })
            .await;
            assert_eq!(facts(&plain(), &bad).await, CLOSED, "{answer:?}, reset: {cut}");
        }
    }
}

#[tokio::test]
async fn what_is_not_http_is_told_from_what_was_cut() {
    for answer in [
        "SSH-2.0-OpenSSH_9\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
    ] {
        let bad = Bad::says(answer).await;
        assert_eq!(facts(&plain(), &bad).await, NONSENSE, "{answer:?}");
    }
}

#[tokio::test]
async fn a_head_above_the_bound_is_refused_before_it_is_read_whole() {
    let config = ClientConfig { max_head: 8 << 10, ..ClientConfig::default() };
    let fits = format!("HTTP/1.1 200 OK\r\nx: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(7 << 10));
    let bad = Bad::says(fits).await;
    assert_eq!(text(&client(config.clone()), get(&bad.url("/"))).await.unwrap().0, 200);
    let bad = Bad::says(format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(1 << 20))).await;
    let why = failure(&client(config), get(&bad.url("/"))).await;
    assert_eq!((why.kind(), why.sent()), (ErrorKind::TooLarge, Sent::Maybe), "{why}");
}

#[tokio::test]
async fn a_server_that_says_nothing_or_stops_is_left_after_the_idle_timeout() {
    let config = ClientConfig { idle_timeout: Duration::from_millis(200), ..ClientConfig::default() };
    for answer in ["", "HTTP/1.1 200 OK\r\nConte", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"] {
        let bad = Bad::says(answer).await;
        let short = ClientConfig { connect_timeout: Duration::from_millis(200), ..config.clone() };
        assert_eq!(facts(&client(short), &bad).await, LATE, "{answer:?}");
    }
}

#[tokio::test]
async fn the_whole_exchange_has_one_deadline_however_much_drips() {
    let drips = Bad::new(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await;
        while stream.write_all(b".").await.is_ok() {
            let _ = stream.flush().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let config = ClientConfig { timeout: Some(Duration::from_millis(300)), ..ClientConfig::default() };
    assert_eq!(facts(&client(config), &drips).await, LATE);
}

#[tokio::test]
async fn a_handshake_that_does_not_end_sent_nothing() {
    let silent = Bad::new(|mut stream| async move {
        rest(&mut stream).await;
    })
    .await;
    for timeout in [None, Some(Duration::from_millis(100))] {
        let connect_timeout = Duration::from_millis(timeout.map_or(200, |_| 5000));
        let config = ClientConfig { connect_timeout, timeout, ..ClientConfig::default() };
        let config =
            ClientConfig { tls: haul_tls::ClientOptions { insecure: true, ..Default::default() }, ..config };
        let why = failure(&client(config), get(&format!("https://127.0.0.1:{}/", silent.port))).await;
        assert_eq!((why.kind(), why.sent()), (ErrorKind::Timeout, Sent::No), "{why}");
    }
}

/// A server that answers the first request of each connection, and does `then` with the next one.
async fn answers_once<F, Fut>(then: F) -> Bad
where
    F: Fn(tokio::io::BufReader<tokio::net::TcpStream>) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Bad::new(move |mut stream| {
        let then = then.clone();
        async move {
            head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            then(stream).await;
        }
    })
    .await
}

#[tokio::test]
async fn idle_connections_that_a_server_closed_are_not_used_again() {
    let (closed, seen) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (told, count) = (closed.clone(), seen.clone());
    let bad = answers_once(move |stream| {
        drop(stream);
        count.fetch_add(1, Relaxed);
        told.notify_one();
        async {}
    })
    .await;
    let client = plain();
    for round in 1..=50 {
        assert_eq!(text(&client, request(Method::POST, &bad.url("/"), "x")).await.unwrap().1, "ok");
        soon("the close", closed.notified()).await;
        assert_eq!(seen.load(Relaxed), round);
        // The client may see the close before, while or after the next request takes the connection up. A request
        // that was not written is sent again over a new one.
    }
}

#[tokio::test]
async fn a_connection_that_ends_as_a_request_is_written_is_told_and_not_tried_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let bad = answers_once(move |mut stream| {
        let count = count.clone();
        async move {
            head(&mut stream).await;
            count.fetch_add(1, Relaxed);
            reset(stream);
        }
    })
    .await;
    let client = plain();
    assert_eq!(text(&client, get(&bad.url("/"))).await.unwrap().1, "ok");
    assert_eq!(facts(&client, &bad).await, CLOSED);
    assert_eq!((requests.load(Relaxed), bad.connections()), (1, 1));
    assert_eq!(text(&client, get(&bad.url("/"))).await.unwrap().1, "ok");
}

#[tokio::test]
async fn a_body_that_fails_is_the_error_that_it_gave() {
    let bad = Bad::new(|mut stream| async move {
        rest(&mut stream).await;
    })
    .await;
    struct Fails(bool);
    impl http_body::Body for Fails {
        type Data = bytes::Bytes;
        type Error = haul_core::Error;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, haul_core::Error>>> {
            std::task::Poll::Ready(Some(if std::mem::replace(&mut self.0, true) {
                Err(haul_core::Error::new(ErrorKind::NotFound, "the file went away"))
            } else {
                Ok(http_body::Frame::data("some".into()))
            }))
        }
    }
    let why = failure(&plain(), request(Method::POST, &bad.url("/"), Body::once(Fails(false)))).await;
    assert_eq!((why.kind(), why.sent()), (ErrorKind::NotFound, Sent::Maybe), "{why}");
    assert!(why.to_string().contains("the file went away"), "{why}");
}

#[tokio::test]
async fn a_cancelled_request_ends_its_connection() {
    let (tell, mut told) = tokio::sync::mpsc::channel(4);
    let bad = Bad::new(move |mut stream| {
        let tell = tell.clone();
        async move {
            head(&mut stream).await;
            tell.send("asked").await.unwrap();
            rest(&mut stream).await;
            tell.send("gone").await.unwrap();
        }
    })
    .await;
    let (client, url) = (plain(), bad.url("/"));
    let asking = tokio::spawn(async move { client.request(get(&url)).await.map(drop) });
    assert_eq!(soon("the request", told.recv()).await, Some("asked"));
    asking.abort();
    assert_eq!(soon("the end", told.recv()).await, Some("gone"));
}
