//! Redirects, followed where that is asked for.

use haul_core::{Body, Call, ErrorKind, Request, Response, Sent, service_fn};
use haul_http::ClientConfig;
use http::Method;

use crate::support::{client, failure, get, listen, plain, request, soon, text, url};

/// `/303?to` redirects to `to` with that status; `/` tells what was asked.
fn redirecting() -> impl haul_core::Service<Request> {
    service_fn(|request: Request| async move {
        let (status, place) = (request.uri().path()[1..].parse::<u16>(), request.uri().query());
        if let (Ok(status), Some(place)) = (status, place) {
            let answer = http::Response::builder().status(status).header("location", place);
            return Ok(answer.body(Body::empty()).unwrap());
        }
        let names = ["authorization", "cookie", "x-tenant", "content-type"];
        let there: Vec<_> = names.into_iter().filter(|name| request.headers().contains_key(*name)).collect();
        let method = request.method().clone();
        let body = request.into_body().bytes(100).await?;
        let told = format!("{method} {} {}", String::from_utf8_lossy(&body), there.join(","));
        Ok(Response::new(Body::from(told)))
    })
}

fn following(redirects: usize) -> haul_http::Client {
    let headers = [("x-tenant".to_owned(), "7".to_owned())].into();
    client(ClientConfig { redirects, headers, ..ClientConfig::default() })
}

fn posting(url: &str) -> Request {
    let mut posting = request(Method::POST, url, "body");
    for (name, value) in [("authorization", "secret"), ("cookie", "secret"), ("content-type", "text/plain")] {
        posting.headers_mut().insert(name, value.parse().unwrap());
    }
    posting
}

#[tokio::test]
async fn a_redirect_is_the_answer_unless_following_is_asked_for() {
    let server = listen("", redirecting()).await;
    let response = soon("it", plain().request(get(&url(&server, "/302?/")))).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["location"]), (302, &"/".parse().unwrap()));
}

#[tokio::test]
async fn method_body_and_headers_go_on_as_each_status_says() {
    let server = listen("", redirecting()).await;
    for (status, told) in [
        (301, "GET  authorization,cookie,x-tenant"),
        (302, "GET  authorization,cookie,x-tenant"),
        (303, "GET  authorization,cookie,x-tenant"),
        (307, "POST body authorization,cookie,x-tenant,content-type"),
        (308, "POST body authorization,cookie,x-tenant,content-type"),
    ] {
        let posting = posting(&url(&server, &format!("/{status}?/")));
        assert_eq!(text(&following(1), posting).await.unwrap(), (200, told.to_owned()), "{status}");
    }
}

#[tokio::test]
async fn another_origin_sees_no_secrets() {
    let (server, other) = (listen("", redirecting()).await, listen("", redirecting()).await);
    let posting = posting(&url(&server, &format!("/307?{}", url(&other, "/"))));
    assert_eq!(text(&following(1), posting).await.unwrap().1, "POST body content-type");
}

#[tokio::test]
async fn more_redirects_than_allowed_are_an_error() {
    let server = listen("", redirecting()).await;
    let why = failure(&following(1), get(&url(&server, "/302?/302?/302"))).await;
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Rejected, Sent::Maybe), "{why}");
    assert!(why.to_string().contains("more than 1 times"), "{why}");
}

#[tokio::test]
async fn a_body_that_can_be_read_once_is_not_sent_elsewhere() {
    let server = listen("", redirecting()).await;
    for (status, answered) in [(307, 307), (303, 200)] {
        let once = Body::once(Body::from("body"));
        let posting = request(Method::POST, &url(&server, &format!("/{status}?/")), once);
        assert_eq!(text(&following(1), posting).await.unwrap().0, answered);
    }
}
