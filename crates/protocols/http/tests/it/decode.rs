//! Compressed responses.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use haul_core::{Body, Call, ErrorKind, Response, Sent, service_fn};
use haul_http::ClientConfig;
use http::Method;

use crate::support::{Bad, client, failure, get, listen, plain, request, soon, text, url};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// A server whose every answer has this body, compressed as it says.
async fn answers(encoding: &'static str, body: Vec<u8>) -> haul_http::Server {
    let service = service_fn(move |_| {
        let answer = http::Response::builder().header("content-encoding", encoding);
        let answer = answer.body(Body::from(bytes::Bytes::from(body.clone()))).unwrap();
        async move { Ok(answer) }
    });
    listen("", service).await
}

#[tokio::test]
async fn a_gzip_response_is_decompressed_whatever_its_members() {
    let text_of = "haul ".repeat(100_000);
    let (head, tail) = text_of.split_at(70_000);
    for body in [gzip(text_of.as_bytes()), [gzip(head.as_bytes()), gzip(tail.as_bytes())].concat()] {
        let server = answers("gzip", body).await;
        let response = soon("it", plain().request(get(&url(&server, "/")))).await.unwrap();
        assert!(!response.headers().contains_key("content-encoding"));
        assert!(!response.headers().contains_key("content-length"));
        assert!(response.into_body().bytes(1 << 20).await.unwrap() == text_of);
    }
}

#[tokio::test]
async fn a_bomb_goes_off_at_its_bound_and_no_later() {
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 80 << 10);
    let server = answers("gzip", bomb).await;
    let config = ClientConfig { max_decompressed: 1 << 20, ..ClientConfig::default() };
    let response = soon("it", client(config).request(get(&url(&server, "/")))).await.unwrap();
    let mut body = response.into_body();
    let mut read = 0;
    let why = loop {
        let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx));
        match soon("a piece", frame).await.expect("it is longer than this") {
            Ok(frame) => read += frame.into_data().unwrap().len(),
            Err(why) => break why,
        }
    };
    assert!(read <= 1 << 20, "{read}");
    assert_eq!((why.kind(), why.sent()), (ErrorKind::TooLarge, Sent::Maybe), "{why}");
}

#[tokio::test]
async fn what_is_broken_or_cut_is_an_error() {
    let whole = gzip(&b"haul".repeat(1000));
    for broken in [b"no gzip at all".to_vec(), whole[..whole.len() - 6].to_vec()] {
        let server = answers("gzip", broken).await;
        let why = failure(&plain(), get(&url(&server, "/"))).await;
        assert_eq!((why.kind(), why.sent()), (ErrorKind::Codec, Sent::Maybe), "{why}");
    }
    let head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n";
    let server = Bad::new(move |mut stream| {
        let answer = [&head[..], &whole[..20]].concat();
        async move {
            crate::support::head(&mut stream).await;
            tokio::io::AsyncWriteExt::write_all(&mut stream, &answer).await.unwrap();
        }
    })
    .await;
    let why = failure(&plain(), get(&server.url("/"))).await;
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Closed, Sent::Maybe), "{why}");
}

#[tokio::test]
async fn who_asks_by_itself_gets_what_it_asked_for() {
    let body = gzip(b"haul");
    let server = answers("gzip", body.clone()).await;
    for (name, value) in [("accept-encoding", "gzip"), ("range", "bytes=0-")] {
        let mut asking = get(&url(&server, "/"));
        asking.headers_mut().insert(name, value.parse().unwrap());
        let response = soon("it", plain().request(asking)).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        assert_eq!(response.into_body().bytes(1000).await.unwrap(), body);
    }
    let never = client(ClientConfig { decompress: false, ..ClientConfig::default() });
    assert_eq!(soon("it", never.fetch(get(&url(&server, "/")))).await.unwrap().body(), &body);
}

#[tokio::test]
async fn a_response_without_a_body_is_not_decompressed() {
    let server = listen(
        "",
        service_fn(|_| async {
            let answer = http::Response::builder().header("content-encoding", "gzip");
            Ok::<Response, _>(answer.body(Body::empty()).unwrap())
        }),
    )
    .await;
    for method in [Method::HEAD, Method::GET] {
        let asked = request(method, &url(&server, "/"), "");
        assert_eq!(text(&plain(), asked).await.unwrap(), (200, String::new()));
    }
}

#[cfg(feature = "br")]
#[tokio::test]
async fn a_brotli_response_is_decompressed() {
    // What Node.js makes of "haul " twenty times.
    let body = vec![
        0x1b, 0x63, 0x00, 0xf8, 0x8d, 0x94, 0x6e, 0xde, 0xb4, 0x04, 0x09, 0x43, 0x2b, 0xb6, 0xba, 0x40, 0x2d,
        0x0a, 0xc8, 0x17,
    ];
    let server = answers("br", body).await;
    assert_eq!(text(&plain(), get(&url(&server, "/"))).await.unwrap().1, "haul ".repeat(20));
}
