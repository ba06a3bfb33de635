use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::*;
use crate::{Call, Shared, service_fn};

/// A body of pieces, with no known size.
struct Pieces(VecDeque<Result<&'static str, std::io::Error>>);

fn pieces<const N: usize>(texts: [&'static str; N]) -> Pieces {
    Pieces(texts.map(Ok).into())
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let piece = self.0.pop_front();
        Poll::Ready(piece.map(|piece| piece.map(|text| Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}

fn request(method: Method, body: Body) -> Request {
    http::Request::builder().method(method).uri("https://me:pw@a.example/b?key=secret").body(body).unwrap()
}

fn answer(status: u16) -> Response {
    http::Response::builder().status(status).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn bytes_are_read_up_to_the_bound_and_no_further() {
    assert_eq!(Body::from("abc").bytes(3).await.unwrap(), "abc");
    assert_eq!(Body::empty().bytes(0).await.unwrap(), "");
    assert_eq!(Body::once(pieces(["ab", "", "c", "de"])).bytes(5).await.unwrap(), "abcde");
    for body in [Body::from("abcd"), Body::once(pieces(["ab", "cd"])), Body::once(pieces(["abcd"]))] {
        assert_eq!(body.bytes(3).await.unwrap_err().kind(), ErrorKind::TooLarge);
    }
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let error = Body::once(Pieces([Ok("a"), Err(broken)].into())).bytes(9).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_replayed_body_begins_at_its_start() {
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = opened.clone();
    let reopenable = Body::reopenable(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Body::from("file")
    });
    assert_eq!(opened.load(Ordering::Relaxed), 0);
    assert_eq!(reopenable.size_hint().exact(), Some(4));
    for mut body in [Body::from("bytes"), reopenable] {
        let whole = body.size_hint().exact().unwrap();
        let read = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert!(read.is_some() && body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert_eq!(body.replay().unwrap().bytes(9).await.unwrap().len() as u64, whole);
    }
    assert_eq!(opened.load(Ordering::Relaxed), 2);
    let once = Body::once(pieces(["a"]));
    assert!(once.replay().is_none() && request(Method::GET, once).replay().is_none());
    assert_eq!(Body::once(pieces(["a"])).size_hint().upper(), SizeHint::new().upper());
}

#[test]
fn a_request_is_idempotent_by_its_method_or_its_key() {
    for (method, expected) in [
        (Method::GET, true),
        (Method::PUT, true),
        (Method::DELETE, true),
        (Method::POST, false),
        (Method::PATCH, false),
    ] {
        assert_eq!(request(method, Body::empty()).idempotent(), expected);
    }
    let mut post = request(Method::POST, Body::from("x"));
    post.headers_mut().insert("idempotency-key", "7".parse().unwrap());
    assert!(post.idempotent() && post.replay().unwrap().idempotent());
}

#[test]
fn its_subject_tells_no_secret() {
    assert_eq!(request(Method::GET, Body::empty()).subject().to_string(), "GET https://a.example/b");
}

#[test]
fn a_status_says_what_went_wrong_and_whether_to_try_again() {
    use ErrorKind::*;
    for status in [200, 204, 304] {
        assert!(Request::failure(&answer(status)).is_none());
    }
    for (status, kind, again, sent) in [
        (400, Rejected, Status::Permanent, Sent::Maybe),
        (401, Unauthorized, Status::Permanent, Sent::Maybe),
        (403, Unauthorized, Status::Permanent, Sent::Maybe),
        (407, Unauthorized, Status::Permanent, Sent::Maybe),
        (404, NotFound, Status::Permanent, Sent::Maybe),
        (410, NotFound, Status::Permanent, Sent::Maybe),
        (408, Timeout, Status::Transient, Sent::Maybe),
        (425, Rejected, Status::Transient, Sent::Maybe),
        (429, RateLimited, Status::Transient, Sent::No),
        (500, Rejected, Status::Transient, Sent::Maybe),
        (501, Unsupported, Status::Permanent, Sent::Maybe),
        (503, Overloaded, Status::Transient, Sent::Maybe),
        (504, Timeout, Status::Transient, Sent::Maybe),
        (505, Unsupported, Status::Permanent, Sent::Maybe),
    ] {
        let why = Request::failure(&answer(status)).unwrap();
        assert_eq!((why.kind(), why.status(), why.sent()), (kind, again, sent), "{status}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date_by_the_peers_clock() {
    let wait = |value: &str| {
        let mut out = answer(503);
        out.headers_mut().insert(header::RETRY_AFTER, value.parse().unwrap());
        out.headers_mut().insert(header::DATE, "Fri, 31 Dec 1999 23:59:59 GMT".parse().unwrap());
        Request::failure(&out).unwrap().retry_after()
    };
    assert_eq!(wait("120"), Some(Duration::from_secs(120)));
    let mut refused = answer(503);
    refused.headers_mut().insert(header::RETRY_AFTER, "1".parse().unwrap());
    assert_eq!(Request::failure(&refused).unwrap().sent(), Sent::No);
    assert_eq!(wait("Sat, 01 Jan 2000 00:00:09 GMT"), Some(Duration::from_secs(10)));
    assert_eq!(wait("Fri, 31 Dec 1999 23:00:00 GMT"), Some(Duration::ZERO));
    assert_eq!(wait("soon"), None);
}

#[test]
fn only_what_was_refused_or_is_idempotent_is_left_to_send_again() {
    let left = |method: Method, status: u16| {
        let mut out = Ok(answer(status));
        let rest = request(method, Body::from("x")).unfinished(&mut out);
        let told = Request::failure(out.as_ref().unwrap()).map(|why| why.status());
        (rest.is_some(), told)
    };
    assert_eq!(left(Method::POST, 429), (true, Some(Status::Transient)));
    assert_eq!(left(Method::GET, 503), (true, Some(Status::Transient)));
    assert_eq!(left(Method::POST, 503), (false, Some(Status::Exhausted)));
    assert_eq!(left(Method::GET, 500), (true, Some(Status::Transient)));
    assert_eq!(left(Method::POST, 500), (false, Some(Status::Exhausted)));
    assert_eq!(left(Method::GET, 404), (false, Some(Status::Permanent)));
    assert_eq!(left(Method::GET, 200), (false, None));
    let last = Request::exhausted(Ok(answer(503))).unwrap();
    assert_eq!(Request::failure(&last).unwrap().status(), Status::Exhausted);
    let mut last = Ok(last);
    let (rest, why) = request(Method::GET, Body::empty()).elsewhere(&mut last).unwrap();
    assert_eq!((rest.method(), why.status()), (&Method::GET, Status::Transient));
    assert!(request(Method::POST, Body::empty()).elsewhere(&mut last).is_none());
}

#[tokio::test]
async fn a_response_answers_a_request() {
    let echo = Shared::new(service_fn(|request: Request| async move {
        Ok(http::Response::new(Body::from(request.into_body().bytes(64).await?)))
    }));
    let answer = echo.request(request(Method::POST, Body::from("hi"))).await.unwrap();
    assert_eq!(answer.into_body().bytes(64).await.unwrap(), "hi");
}
