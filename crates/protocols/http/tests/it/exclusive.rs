//! Exchanges over connections of their own.

use haul_core::ErrorKind;
use haul_http::{ClientConfig, Version};
use http::Method;
use tokio::io::AsyncWriteExt;

use crate::support::{Bad, client, echo, get, head, listen, request, says, soon, text, url};

fn http1() -> ClientConfig {
    ClientConfig { version: Version::Http1, ..ClientConfig::default() }
}

#[tokio::test]
async fn an_exclusive_exchange_has_a_connection_of_its_own_that_ends_with_its_body() {
    let server = listen("", says("hello")).await;
    let (client, url) = (client(http1()), url(&server, "/"));
    text(&client, get(&url)).await.unwrap();
    assert_eq!((server.stats().accepted, server.stats().open), (1, 1), "one is kept for the next call");
    let held = soon("the response", client.exclusive(get(&url))).await.unwrap();
    let read = soon("the response", client.exclusive(get(&url))).await.unwrap();
    assert_eq!((server.stats().accepted, server.stats().open), (3, 3));
    assert_eq!(soon("the body", read.into_body().bytes(100)).await.unwrap(), "hello");
    drop(held);
    soon("both to be gone", async {
        while server.stats().open > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
    text(&client, get(&url)).await.unwrap();
    assert_eq!(server.stats().accepted, 3, "calls go over the kept one");
}

#[tokio::test]
async fn bodies_larger_than_the_sockets_hold_go_both_ways_at_once() {
    let server = listen("", echo()).await;
    let body = bytes::Bytes::from(vec![7; 8 << 20]);
    let request = request(Method::POST, &url(&server, "/"), body.clone());
    let response = soon("the response", client(http1()).exclusive(request)).await.unwrap();
    assert_eq!(response.headers()["asked"], "POST /");
    assert!(soon("the body", response.into_body().bytes(8 << 20)).await.unwrap() == body);
}

#[tokio::test]
async fn an_exclusive_exchange_that_breaks_off_fails_as_a_call_does() {
    let bad = Bad::new(|mut stream| async move {
        head(&mut stream).await;
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
        stream.write_all(half).await.unwrap();
    })
    .await;
    let response = soon("the response", client(http1()).exclusive(get(&bad.url("/")))).await.unwrap();
    let error = soon("the body", response.into_body().bytes(100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let refused =
        soon("the refusal", client(http1()).exclusive(get("http://127.0.0.1:1/"))).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Connect, "{refused}");
}

#[tokio::test]
async fn a_client_that_may_speak_http2_shares_its_connection() {
    let server = listen("", says("hello")).await;
    let client = client(ClientConfig { version: Version::Http2, ..ClientConfig::default() });
    for _ in 0..2 {
        let response = soon("the response", client.exclusive(get(&url(&server, "/")))).await.unwrap();
        assert_eq!(soon("the body", response.into_body().bytes(100)).await.unwrap(), "hello");
    }
    assert_eq!(server.stats().accepted, 1);
}
