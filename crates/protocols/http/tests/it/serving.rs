//! What the server promises, told by clients that misbehave.

use std::time::Duration;

use haul_core::{Body, Call, Error, ErrorKind, Request, Response, service_fn};
use haul_http::{ClientConfig, Peer, Version};
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::{client, get, listen, plain, port, request, says, soon, text, url};

/// All that a server says to `asked` until it closes.
async fn told(server: &haul_http::Server, asked: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port(server))).await.unwrap();
    // The server may close before it has read all.
    let _ = stream.write_all(asked).await;
    until_closed(stream).await
}

async fn until_closed(mut stream: TcpStream) -> String {
    let mut told = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(size) = soon("the end", stream.read(&mut piece)).await
        && size > 0
    {
        told.extend_from_slice(&piece[..size]);
    }
    String::from_utf8_lossy(&told).into_owned()
}

#[tokio::test]
async fn heads_that_are_too_large_too_many_or_no_heads_are_refused() {
    let server = listen("max_head=8KiB&max_headers=10", says("ok")).await;
    let fits =
        format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: {}\r\n\r\n", "a".repeat(7 << 10));
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "a".repeat(64 << 10));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(10));
    for (asked, status) in [
        (fits.as_str(), "200"),
        (&large, "431"),
        (&many, "431"),
        ("nonsense\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n", "400"),
    ] {
        let told = told(&server, asked.as_bytes()).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {told}");
    }
}

#[tokio::test]
async fn a_request_that_begins_as_the_preface_of_http2_does_is_answered() {
    let server = listen("", says("ok")).await;
    for pieces in [["PRI", "NT / HTTP/1.1\r\nhost: a\r\n"], ["PRI * HTTP/", "1.1\r\nhost: a\r\n"]] {
        let mut stream = TcpStream::connect(("127.0.0.1", port(&server))).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in pieces.into_iter().chain(["connection: close\r\n\r\n"]) {
            stream.write_all(piece.as_bytes()).await.unwrap();
        }
        let told = until_closed(stream).await;
        assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_ends_the_connection_however_it_drips() {
    let server = listen("head_deadline=300ms&idle=1h", says("ok")).await;
    for beginning in ["", "GET / HTTP/1.1\r\nhos", "PRI * HTTP/2.0\r\n"] {
        assert_eq!(told(&server, beginning.as_bytes()).await, "", "{beginning:?}");
    }
    // Behind an answered request, the time counts from the first byte of the next one.
    let mut stream = TcpStream::connect(("127.0.0.1", port(&server))).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 4096];
    let size = soon("the answer", stream.read(&mut answer)).await.unwrap();
    assert!(answer[..size].ends_with(b"ok"));
    let (mut read, mut write) = stream.into_split();
    let drip = tokio::spawn(async move {
        while write.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut scrap = Vec::new();
    // An end or a reset.
    let _ = soon("the end", read.read_to_end(&mut scrap)).await;
    soon("the dripping", drip).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_with_a_slow_answer_is_not() {
    let slow = service_fn(|_| async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        Ok(Response::new(Body::from("late")))
    });
    let server = listen("idle=200ms&head_deadline=5s&stall=200ms", slow).await;
    let clients = [Version::Http1, Version::Http2]
        .map(|version| client(ClientConfig { version, ..ClientConfig::default() }));
    for client in &clients {
        assert_eq!(text(client, get(&url(&server, "/"))).await.unwrap().1, "late");
    }
    soon("both to be closed, though their clients would keep them", async {
        while server.stats().open > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    drop(clients);
}

#[tokio::test]
async fn a_kept_connection_lives_as_long_as_it_is_used() {
    for version in [Version::Http1, Version::Http2] {
        let server = listen("head_deadline=300ms&idle=300ms", says("ok")).await;
        let client = client(ClientConfig { version, ..ClientConfig::default() });
        for _ in 0..40 {
            assert_eq!(text(&client, get(&url(&server, "/"))).await.unwrap().1, "ok");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(server.stats().accepted, 1);
    }
}

#[tokio::test]
async fn a_body_that_stalls_is_408_and_one_that_is_cut_reaches_the_service_as_an_error() {
    let (tell, mut errors) = mpsc::channel(1);
    let reading = service_fn(move |request: Request| {
        let tell = tell.clone();
        async move {
            let read = request.into_body().bytes(1 << 20).await;
            if let Err(why) = &read {
                tell.send(why.clone()).await.unwrap();
            }
            read.map(|bytes| Response::new(Body::from(bytes)))
        }
    });
    let server = listen("stall=300ms", reading).await;
    let asked = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf";
    let answer = told(&server, asked).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(errors.recv().await.unwrap().kind(), ErrorKind::Timeout);
    let mut cut = TcpStream::connect(("127.0.0.1", port(&server))).await.unwrap();
    cut.write_all(asked).await.unwrap();
    cut.shutdown().await.unwrap();
    assert_eq!(soon("the error", errors.recv()).await.unwrap().kind(), ErrorKind::Closed);
    let garbage = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n";
    let answer = told(&server, garbage).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(errors.recv().await.unwrap().kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_body_above_the_bound_is_413_whether_its_length_is_told_or_not() {
    let server = listen("max_body=1000", echo_collected()).await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
    for (size, status) in [(1000, "200"), (1001, "413")] {
        let body = "a".repeat(size);
        let length = format!("{head}content-length: {size}\r\n\r\n{body}");
        let chunks = format!("{head}transfer-encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n");
        for asked in [length, chunks] {
            let told = told(&server, asked.as_bytes()).await;
            assert!(told.starts_with(&format!("HTTP/1.1 {status}")), "{told}");
        }
    }
}

fn echo_collected() -> impl haul_core::Service<Request> {
    service_fn(|request: Request| async move {
        Ok(Response::new(Body::from(request.into_body().bytes(1 << 30).await?)))
    })
}

#[tokio::test]
async fn a_response_that_nobody_reads_is_given_up() {
    let server = listen("stall=300ms", says(Box::leak("a".repeat(64 << 20).into_boxed_str()))).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port(&server))).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    soon("the server to give up", async {
        while server.stats().accepted == 0 || server.stats().open > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(server.stats().failed, 1);
    drop(stream);
}

#[tokio::test]
async fn one_connection_too_many_is_told_to_come_back() {
    let server = listen("max_connections=2", says("ok")).await;
    let first = TcpStream::connect(("127.0.0.1", port(&server))).await.unwrap();
    let second = TcpStream::connect(("127.0.0.1", port(&server))).await.unwrap();
    let (status, body) = text(&plain(), get(&url(&server, "/"))).await.unwrap();
    assert_eq!((status, body.as_str()), (503, "too many connections here; try again soon"));
    assert_eq!((server.stats().refused, server.stats().open), (1, 2));
    drop((first, second));
    soon("room", async {
        while server.stats().open > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(text(&plain(), get(&url(&server, "/"))).await.unwrap().0, 200);
}

#[tokio::test]
async fn errors_of_a_service_are_answers() {
    let failing = service_fn(|request: Request| async move {
        let name = request.uri().path()[1..].to_owned();
        let kind = ErrorKind::from_name(&name).unwrap_or(ErrorKind::Internal);
        let why = Error::new(kind, "the reason").with_retry_after(Duration::from_millis(1500));
        Err::<Response, _>(if name == "teapot" { why.with("status", 418) } else { why })
    });
    let server = listen("", failing).await;
    for (name, status) in [
        ("not_found", 404),
        ("unauthorized", 401),
        ("rejected", 400),
        ("too_large", 413),
        ("rate_limited", 429),
        ("overloaded", 503),
        ("timeout", 504),
        ("unsupported", 501),
        ("teapot", 418),
        ("internal", 500),
    ] {
        let response = soon("it", plain().request(get(&url(&server, &format!("/{name}"))))).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["retry-after"], "2");
        let text = response.into_body().bytes(1000).await.unwrap();
        assert_eq!(text.starts_with(b"the reason"), status < 500, "{text:?}");
    }
}

#[tokio::test]
async fn a_shutdown_answers_what_was_asked_and_accepts_nothing_more() {
    for version in [Version::Http1, Version::Http2] {
        let (tell, mut asked) = mpsc::channel(1);
        let release = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        let open = release.clone();
        let server = listen(
            "",
            service_fn(move |_| {
                let (tell, open) = (tell.clone(), open.clone());
                async move {
                    tell.send(()).await.unwrap();
                    open.acquire().await.unwrap().forget();
                    Ok(Response::new(Body::from("answered")))
                }
            }),
        )
        .await;
        let client = client(ClientConfig { version, ..ClientConfig::default() });
        // An idle connection, which goes at once.
        let _idle = TcpStream::connect(("127.0.0.1", port(&server))).await.unwrap();
        let at = url(&server, "/");
        let asking = tokio::spawn(async move { text(&client, get(&at)).await });
        soon("the request", asked.recv()).await.unwrap();
        let at = url(&server, "/");
        let stopping = tokio::spawn(async move { server.shutdown(Duration::from_secs(20)).await });
        soon("the address to be free", async {
            while TcpStream::connect(at[7..at.len() - 1].to_owned()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert!(!stopping.is_finished());
        release.add_permits(1);
        assert_eq!(soon("the answer", asking).await.unwrap().unwrap().1, "answered");
        soon("the end", stopping).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_shutdown_cuts_what_is_left_at_its_deadline_and_says_how_many() {
    let server = listen("", service_fn(|_| std::future::pending::<haul_core::Result<Response>>())).await;
    let at = url(&server, "/");
    let asking = tokio::spawn(async move { text(&plain(), get(&at)).await });
    soon("the request", async {
        while server.stats().open == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let why = soon("the end", server.shutdown(Duration::from_millis(300))).await.unwrap_err();
    assert_eq!(why.kind(), ErrorKind::Timeout);
    assert!(why.to_string().contains("1 connections still open"), "{why}");
    let cut = soon("the cut", asking).await.unwrap().unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::Closed, "{cut}");
}

#[tokio::test]
async fn a_service_knows_its_peer() {
    let server = listen(
        "",
        service_fn(|request: Request| async move {
            let peer = request.extensions().get::<Peer>().unwrap();
            Ok(Response::new(Body::from(format!("{} {}", peer.address.ip(), peer.local.port()))))
        }),
    )
    .await;
    let told = text(&plain(), get(&url(&server, "/"))).await.unwrap().1;
    assert_eq!(told, format!("127.0.0.1 {}", port(&server)));
}

#[tokio::test]
async fn a_connection_becomes_another_protocol_with_all_that_was_sent_before() {
    let server = listen(
        "idle=200ms&stall=200ms",
        service_fn(|mut request: Request| async move {
            let Some(upgrade) = haul_http::upgrade(&mut request) else {
                return Ok(http::Response::builder().status(426).body(Body::empty()).unwrap());
            };
            tokio::spawn(async move {
                let mut stream = upgrade.stream().await.unwrap();
                let mut piece = [0; 100];
                while let Ok(size) = stream.read(&mut piece).await
                    && size > 0
                {
                    stream.write_all(&piece[..size]).await.unwrap();
                }
            });
            let answer = http::Response::builder().status(101).header("upgrade", "echo");
            Ok(answer.header("connection", "upgrade").body(Body::empty()).unwrap())
        }),
    )
    .await;
    assert_eq!(text(&plain(), request(Method::GET, &url(&server, "/"), "")).await.unwrap().0, 426);
    let mut stream = TcpStream::connect(("127.0.0.1", port(&server))).await.unwrap();
    let asked = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly";
    stream.write_all(asked).await.unwrap();
    let mut told = String::new();
    let mut piece = [0; 1000];
    while !told.ends_with("early") {
        let size = soon("the echo", stream.read(&mut piece)).await.unwrap();
        assert!(size > 0, "{told}");
        told += std::str::from_utf8(&piece[..size]).unwrap();
    }
    assert!(told.starts_with("HTTP/1.1 101"), "{told}");
    // It outlives the server's deadlines, and counts until it is gone.
    tokio::time::sleep(Duration::from_millis(600)).await;
    stream.write_all(b"late").await.unwrap();
    let size = soon("the echo", stream.read(&mut piece)).await.unwrap();
    assert_eq!((&piece[..size], server.stats().open), (&b"late"[..], 1));
    drop(stream);
    soon("the end", server.shutdown(Duration::from_secs(10))).await.unwrap();
}
