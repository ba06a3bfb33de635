use haul_core::{Dial, Endpoint, ErrorKind, Level, Packet, Service, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{dial, listen, port, soon};

/// Sends `request` to a listener and answers all that it says.
async fn ask(listen_on: &str, request: &str) -> String {
    let listener = listen(listen_on).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port(&listener))).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

const UPGRADE: &str = "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn what_is_no_websocket_handshake_is_answered_with_the_status_that_fits() {
    for (listen_on, request, status) in [
        ("ws://127.0.0.1:0", "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "426 Upgrade Required"),
        ("ws://127.0.0.1:0", format!("POST / HTTP/1.1\r\n{UPGRADE}\r\n"), "400 Bad Request"),
        (
            "ws://127.0.0.1:0",
            format!("GET / HTTP/1.1\r\n{}\r\n", UPGRADE.replace("13", "8")),
            "426 Upgrade Required",
        ),
        (
            "ws://127.0.0.1:0",
            format!("GET / HTTP/1.1\r\n{}\r\n", UPGRADE.replace("dGhl", "")),
            "400 Bad Request",
        ),
        ("ws://127.0.0.1:0/live", format!("GET /other HTTP/1.1\r\n{UPGRADE}\r\n"), "404 Not Found"),
        (
            "ws://127.0.0.1:0?subprotocol=chat",
            format!("GET / HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Protocol: other\r\n\r\n"),
            "400 Bad Request",
        ),
        (
            "ws://127.0.0.1:0",
            format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(20_000)),
            "431 Request Header Fields Too Large",
        ),
        (
            "ws://127.0.0.1:0?max_connections=0",
            format!("GET / HTTP/1.1\r\n{UPGRADE}\r\n"),
            "503 Service Unavailable",
        ),
    ] {
        let answer = ask(listen_on, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}\n{answer}");
    }
}

#[tokio::test]
async fn the_answer_to_a_key_is_the_one_of_the_standard() {
    let listener = listen("ws://127.0.0.1:0").await;
    let mut stream = TcpStream::connect(("127.0.0.1", port(&listener))).await.unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\n{UPGRADE}\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 200];
    let read = soon("the answer", stream.read(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
}

/// A server that answers every request with `answer`.
async fn server(answer: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let asked = stream.read(&mut request).await.unwrap();
            assert!(asked > 0, "the client asks first");
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Held until the client hangs up: the error must not need the end.
            let _ = stream.read(&mut request).await;
        }
    });
    port
}

#[tokio::test]
async fn an_http_error_is_carried_in_the_error() {
    let body = "please come back";
    for (status, extra, kind, retry) in [
        ("401 Unauthorized", "", ErrorKind::Unauthorized, Status::Permanent),
        ("404 Not Found", "", ErrorKind::NotFound, Status::Permanent),
        ("302 Found", "Location: ws://elsewhere/\r\n", ErrorKind::Rejected, Status::Permanent),
        ("200 OK", "", ErrorKind::Rejected, Status::Permanent),
        ("429 Too Many Requests", "Retry-After: 7\r\n", ErrorKind::RateLimited, Status::Transient),
        ("503 Service Unavailable", "Retry-After: 7\r\n", ErrorKind::Overloaded, Status::Transient),
        ("500 Internal Server Error", "", ErrorKind::Rejected, Status::Transient),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\n{extra}Content-Length: {}\r\n\r\n{body}", body.len());
        let port = server(answer).await;
        let error = dial(&format!("ws://127.0.0.1:{port}/")).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (kind, retry), "{error}");
        let text = error.to_string();
        assert!(text.contains(&status[..3]) && text.contains(body), "{text}");
        assert_eq!(error.retry_after().map(|wait| wait.as_secs()), extra.contains("Retry").then_some(7));
        assert_eq!(text.contains("ws://elsewhere/"), status.starts_with("302"), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_is_no_websocket_server_is_named_as_such() {
    for answer in [
        "SSH-2.0-OpenSSH_9\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: wrong\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
    ] {
        let port = server(answer.clone()).await;
        let error = dial(&format!("ws://127.0.0.1:{port}/")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{answer}: {error}");
    }
}

#[tokio::test]
async fn credentials_headers_and_query_reach_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialing = tokio::spawn(async move {
        let dialer = haul_ws::Dialer::default().header("X-One", "1").unwrap();
        let url =
            format!("ws://me:secret@127.0.0.1:{port}/live?token=7#headers=X-Two:2;X-Three:3&subprotocol=a,b");
        dialer.dial(Endpoint::parse(&url).unwrap()).await
    });
    let (mut stream, _) = soon("the dialer", listener.accept()).await.unwrap();
    let mut request = vec![0; 4096];
    let read = soon("the request", stream.read(&mut request)).await.unwrap();
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    drop(stream);
    for line in [
        "GET /live?token=7 HTTP/1.1",
        "Authorization: Basic bWU6c2VjcmV0",
        "X-One: 1",
        "X-Two: 2",
        "X-Three: 3",
        "Sec-WebSocket-Protocol: a, b",
        &format!("Host: 127.0.0.1:{port}"),
    ] {
        assert!(request.contains(&format!("{line}\r\n")), "no {line:?} in\n{request}");
    }
    assert!(soon("the dial", dialing).await.unwrap().is_err());
    assert!(haul_ws::Dialer::default().header("X", "a\r\nInjected: 1").is_err());
}

#[tokio::test]
async fn what_a_handshake_showed_is_in_the_facts() {
    let listener = listen("ws://127.0.0.1:0").await;
    let client =
        dial(&format!("ws://127.0.0.1:{}/live?receipts=json&session=7", port(&listener))).await.unwrap();
    let server = soon("the server", listener.accept()).await.unwrap().unwrap();
    let facts = &server.info().facts;
    assert_eq!(facts.get("path"), Some("/live"));
    assert_eq!(facts.get("query"), Some("receipts=json&session=7"));
    assert_eq!(facts.get("subprotocol"), Some("haul.v1"));
    assert_eq!(client.info().facts.get("subprotocol"), Some("haul.v1"));
}

#[tokio::test]
async fn bytes_right_behind_the_handshake_are_not_lost() {
    let listener = listen("ws://127.0.0.1:0").await;
    let mut stream = TcpStream::connect(("127.0.0.1", port(&listener))).await.unwrap();
    let frame = b"\x81\x82\x00\x00\x00\x00hi";
    let request = [format!("GET / HTTP/1.1\r\n{UPGRADE}\r\n").as_bytes(), frame].concat();
    stream.write_all(&request).await.unwrap();
    let mut server = soon("the server", listener.accept()).await.unwrap().unwrap();
    assert_eq!(soon("hi", server.recv()).await.unwrap().unwrap().as_text(), Some("hi"));
}

#[tokio::test]
async fn a_plain_websocket_delivers_as_far_as_the_operating_system_and_says_so() {
    let listener = listen("ws://127.0.0.1:0").await;
    let client = dial(&format!("ws://127.0.0.1:{}/#subprotocol=", port(&listener))).await.unwrap();
    let mut server = soon("the server", listener.accept()).await.unwrap().unwrap();
    let receipt = soon("the receipt", client.call(Packet::text("hi"))).await.unwrap();
    assert_eq!(receipt.level, Level::Sent);
    let error = client.send(Packet::text("hi").with("a", "1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(soon("hi", server.recv()).await.unwrap().unwrap().as_text(), Some("hi"));
}
