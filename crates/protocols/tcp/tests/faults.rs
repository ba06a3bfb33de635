//! Peers that do not do as they should.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::time::Duration;

use haul_core::{CloseReason, Dial, Endpoint, ErrorKind, Packet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), work).await.unwrap_or_else(|_| panic!("waited 60 s for {what}"))
}

#[tokio::test]
async fn a_peer_without_the_preface_is_refused_with_what_to_do() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", server.local_addr().unwrap());
    let dialing = tokio::spawn(async move { haul_tcp::Dialer.dial(Endpoint::parse(&url).unwrap()).await });
    let (mut stream, _) = soon("the dialer", server.accept()).await.unwrap();
    stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
    let error = soon("the dial", dialing).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("framing=lines"), "{error}");
}

#[tokio::test]
async fn a_client_without_the_preface_is_cut_and_the_next_is_served() {
    let listener = haul_tcp::listen(Endpoint::parse("tcp://127.0.0.1:0").unwrap()).await.unwrap();
    let endpoint = listener.local_endpoint().clone();
    let mut stream = TcpStream::connect(("127.0.0.1", endpoint.port().unwrap())).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A reset is as good an end as any.
    let _ = soon("the cut", stream.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"haul.v1\n");
    let _client = soon("the next", haul_tcp::Dialer.dial(endpoint)).await.unwrap();
    assert!(soon("the next", listener.accept()).await.unwrap().is_some());
    assert_eq!(listener.stats().failed, 1);
}

#[tokio::test]
async fn what_is_malformed_ends_the_connection_with_the_reason() {
    for (bytes, kind, code) in [
        (&b"\0\0\0\x01\x80"[..], ErrorKind::Protocol, "code 1002"),
        (b"\0\0\0\x02\x01\xff", ErrorKind::Codec, "code 1007"),
        (b"\xff\xff\xff\xff", ErrorKind::TooLarge, "code 1009"),
    ] {
        let listener = haul_tcp::listen(Endpoint::parse("tcp://127.0.0.1:0").unwrap()).await.unwrap();
        let port = listener.local_endpoint().port().unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(&[b"haul.v1\n", bytes].concat()).await.unwrap();
        let mut server = soon("the server", listener.accept()).await.unwrap().unwrap();
        let error = soon("the refusal", server.recv()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let mut told = Vec::new();
        soon("the end", stream.read_to_end(&mut told)).await.unwrap();
        // Preface, length, control, close, code.
        let told = u16::from_be_bytes([told[14], told[15]]);
        assert_eq!(format!("code {told}"), code);
    }
}

#[tokio::test]
async fn an_abort_is_no_clean_end_for_a_stranger() {
    let listener =
        haul_tcp::listen(Endpoint::parse("tcp://127.0.0.1:0?framing=lines").unwrap()).await.unwrap();
    let port = listener.local_endpoint().port().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let server = soon("the server", listener.accept()).await.unwrap().unwrap();
    server.send(Packet::text("half of it")).await.unwrap();
    server.flush().await.unwrap();
    server.abort(CloseReason::INTERNAL);
    let mut told = Vec::new();
    assert!(soon("the cut", stream.read_to_end(&mut told)).await.is_err(), "it looks like a clean end");
}

#[tokio::test]
async fn a_stale_unix_socket_is_replaced_and_a_living_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("haul.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let endpoint = Endpoint::parse(&format!("unix://{}", path.display())).unwrap();
    let _listener = haul_tcp::listen(endpoint.clone()).await.unwrap();
    let error = haul_tcp::listen(endpoint).await.unwrap_err();
    assert!(error.to_string().contains("another program listens there"), "{error}");
}
