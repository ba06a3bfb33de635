//! The gateway's own address: WebSocket, WebTransport, event streams, events by POST, the dashboard, health and metrics.

mod door;
mod events;
mod metrics;
mod open;
mod pages;
mod url;

use haul_core::{Body, Request, Response};
use http::{HeaderValue, Method, StatusCode, header};

pub(crate) use door::Entrance;
pub(crate) use open::{Opened, open};
pub(crate) use url::WebUrl;

/// The refusal of a request whose method is not `method`; HEAD is a GET.
fn only(method: &Method, request: &Request) -> Option<Response> {
    let asked = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    (asked != method).then(|| {
        let kind = "text/plain; charset=utf-8";
        let mut refusal = with_status(StatusCode::METHOD_NOT_ALLOWED, text(kind, door::MAP));
        let allowed = if method == Method::GET { "GET, HEAD" } else { method.as_str() };
        let allowed = HeaderValue::from_str(allowed).expect("a method is a header's value");
        refusal.headers_mut().insert(header::ALLOW, allowed);
        refusal
    })
}

fn text(kind: &'static str, body: impl Into<String>) -> Response {
    let mut answer = Response::new(Body::from(body.into()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn with_status(status: StatusCode, mut answer: Response) -> Response {
    *answer.status_mut() = status;
    answer
}
