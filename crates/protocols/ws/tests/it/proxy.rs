use haul_core::{ErrorKind, Packet};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::{dial, listen, port, soon};

/// An HTTP proxy that wants `me:secret` and notes what it was asked.
async fn http_proxy() -> (u16, tokio::sync::oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, answer) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(client.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        if !request.contains("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n") {
            let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
            client.write_all(refusal.as_bytes()).await.unwrap();
            return;
        }
        let target = request.split(' ').nth(1).unwrap().to_owned();
        let mut server = TcpStream::connect(&target).await.unwrap();
        asked.send(target).unwrap();
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut server).await;
    });
    (port, answer)
}

/// A SOCKS5 proxy (RFC 1928) that wants `me:secret` (RFC 1929) and connects to loopback.
async fn socks_proxy() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut methods = [0; 2];
        client.read_exact(&mut methods).await.unwrap();
        let mut offered = vec![0; usize::from(methods[1])];
        client.read_exact(&mut offered).await.unwrap();
        if !offered.contains(&2) {
            client.write_all(&[5, 0xff]).await.unwrap();
            return;
        }
        client.write_all(&[5, 2]).await.unwrap();
        let mut credentials = [0; 11];
        client.read_exact(&mut credentials).await.unwrap();
        assert_eq!(&credentials, b"\x01\x02me\x06secret");
        client.write_all(&[1, 0]).await.unwrap();
        let mut request = [0; 10];
        client.read_exact(&mut request).await.unwrap();
        let target = u16::from_be_bytes([request[8], request[9]]);
        let mut server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
        client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut server).await;
    });
    port
}

async fn echoes_through(proxy: &str) {
    let listener = listen("ws://127.0.0.1:0").await;
    let client = dial(&format!("ws://127.0.0.1:{}/#proxy={proxy}", port(&listener))).await.unwrap();
    let mut server = soon("the server", listener.accept()).await.unwrap().unwrap();
    client.send(Packet::text("through")).await.unwrap();
    assert_eq!(soon("the packet", server.recv()).await.unwrap().unwrap().as_text(), Some("through"));
}

#[tokio::test]
async fn an_http_proxy_is_asked_to_connect_with_credentials() {
    let (proxy, asked) = http_proxy().await;
    echoes_through(&format!("http://me:secret@127.0.0.1:{proxy}")).await;
    assert!(asked.await.unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn a_socks_proxy_is_asked_to_connect_with_credentials() {
    let proxy = socks_proxy().await;
    echoes_through(&format!("socks5://me:secret@127.0.0.1:{proxy}")).await;
}

#[tokio::test]
async fn a_proxy_that_refuses_the_credentials_says_what_to_do() {
    let (http, _asked) = http_proxy().await;
    let socks = socks_proxy().await;
    for proxy in [format!("http://127.0.0.1:{http}"), format!("socks5://127.0.0.1:{socks}")] {
        let error = dial(&format!("ws://127.0.0.1:9/#proxy={proxy}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    }
    let error = dial("ws://127.0.0.1:9/#proxy=ftp://127.0.0.1:9").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}
