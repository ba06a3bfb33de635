//! A handler's error, as its client sees it.

use std::time::Duration;

use haul_core::{Body, Error, ErrorKind, Response, Sent};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

/// What a server answers for an error: with the status of its kind, or what a fact named `status` says. Clients are told
/// what they did wrong; what went wrong here is not for them.
pub fn answer(why: &Error) -> Response {
    let status = status(why);
    let text = if status.is_client_error() {
        why.message().to_owned()
    } else {
        status.canonical_reason().unwrap_or_default().to_owned()
    };
    let mut response = Response::new(Body::from(text + "\n"));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // A 503 that says when to come back says that nobody acted.
    let untouched = status == StatusCode::SERVICE_UNAVAILABLE && why.sent() == Sent::No;
    if let Some(wait) = why.retry_after().or(untouched.then_some(Duration::from_secs(1))) {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn status(why: &Error) -> StatusCode {
    let named = why.context().find(|(name, _)| *name == "status").map(|(_, value)| value);
    if let Some(named) = named.and_then(|text| StatusCode::from_bytes(text.as_bytes()).ok()) {
        return named;
    }
    match why.kind() {
        ErrorKind::Codec | ErrorKind::Protocol | ErrorKind::Rejected => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Overloaded | ErrorKind::CircuitOpen => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Connect | ErrorKind::Tls => StatusCode::BAD_GATEWAY,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
