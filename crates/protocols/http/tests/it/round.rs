use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use haul_core::{Body, Call};
use haul_http::{ClientConfig, Version};
use http::Method;
use http_body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;

use crate::support::{client, echo, listen, request, soon, text, url};

#[tokio::test]
async fn what_is_sent_comes_back_over_both_versions() {
    let server = listen("", echo()).await;
    for version in [Version::Http1, Version::Http2] {
        let client = client(ClientConfig { version, ..ClientConfig::default() });
        let sent = "x".repeat(1 << 20);
        let posted = request(Method::POST, &url(&server, "/a"), sent.clone());
        let (status, body) = text(&client, posted).await.unwrap();
        assert_eq!((status, body.len()), (200, sent.len()));
        assert!(body == sent);
    }
}

/// A body whose pieces come when the test sends them.
struct Fed(mpsc::Receiver<&'static str>);

impl HttpBody for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.0.poll_recv(cx);
        piece.map(|piece| piece.map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}

#[tokio::test]
async fn an_answer_is_read_while_its_question_is_still_asked() {
    let server = listen("", echo()).await;
    for version in [Version::Http1, Version::Http2] {
        let client = client(ClientConfig { version, ..ClientConfig::default() });
        let (feed, fed) = mpsc::channel(1);
        let asked = request(Method::POST, &url(&server, "/"), Body::once(Fed(fed)));
        feed.send("first").await.unwrap();
        let mut answer = soon("the head", client.request(asked)).await.unwrap().into_body();
        for piece in ["first", "second", "third"] {
            if piece != "first" {
                feed.send(piece).await.unwrap();
            }
            let frame = soon(piece, poll_fn(|cx| Pin::new(&mut answer).poll_frame(cx))).await;
            assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), piece);
        }
        drop(feed);
        while let Some(frame) = soon("the end", poll_fn(|cx| Pin::new(&mut answer).poll_frame(cx))).await {
            assert!(frame.unwrap().into_data().unwrap().is_empty(), "more came than was sent");
        }
    }
}
