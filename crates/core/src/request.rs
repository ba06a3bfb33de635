//! The role *call*: a request and its response, in the `http` crate's types.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

use crate::service::{Input, Subject};
use crate::{Body, Error, ErrorKind, Result, Sent, Status};

/// A request. Its method, or an `Idempotency-Key` header, says whether it may be applied twice.
pub type Request = http::Request<Body>;

/// The answer to a [`Request`].
pub type Response = http::Response<Body>;

/// In a response's extensions: it was tried again already, or must not be.
#[derive(Clone, Copy)]
struct Exhausted;

impl Input for Request {
    type Out = Response;

    const ROLE: &'static str = "call";

    fn subject(&self) -> Subject {
        Subject::Request(self.method().clone(), self.uri().clone())
    }

    /// `None` if the body can be read only once.
    fn replay(&self) -> Option<Self> {
        let body = self.body().replay()?;
        let mut copy = http::Request::new(body);
        *copy.method_mut() = self.method().clone();
        *copy.uri_mut() = self.uri().clone();
        *copy.version_mut() = self.version();
        *copy.headers_mut() = self.headers().clone();
        *copy.extensions_mut() = self.extensions().clone();
        Some(copy)
    }

    /// By its method (RFC 9110 section 9.2.2), or if it carries an `Idempotency-Key`.
    fn idempotent(&self) -> bool {
        const KEY: HeaderName = HeaderName::from_static("idempotency-key");
        self.method().is_idempotent() || self.headers().get(KEY).is_some_and(|key| !key.is_empty())
    }

    /// What a status of 4xx or 5xx says. 408, 425, 429 and 5xx are transient, except 501 and 505. A peer that answers
    /// 429, or 503 with `Retry-After` (RFC 9110 section 10.2.3), refused the request; whatever else it answered, it may
    /// have acted: gateways also answer 503 when their own connection broke after the request was passed on.
    fn failure(out: &Response) -> Option<Error> {
        let (kind, status) = meaning(out.status())?;
        let sent = match out.status() {
            StatusCode::TOO_MANY_REQUESTS => Sent::No,
            StatusCode::SERVICE_UNAVAILABLE if out.headers().contains_key(RETRY_AFTER) => Sent::No,
            _ => Sent::Maybe,
        };
        let error = Error::new(kind, format!("the peer answered {}", out.status()));
        let mut error = error.with_status(status).with_sent(sent);
        if let Some(wait) = retry_after(out.headers()) {
            error = error.with_retry_after(wait);
        }
        Some(if out.extensions().get::<Exhausted>().is_some() { error.exhausted() } else { error })
    }

    /// All of it, if the answer is a transient failure and the peer refused it or may apply it twice.
    fn rest(self, out: &mut Response) -> Option<Self> {
        let why = Self::failure(out).filter(|why| why.status() == Status::Transient)?;
        if why.sent() == Sent::No || self.idempotent() {
            return Some(self);
        }
        out.extensions_mut().insert(Exhausted);
        None
    }

    fn reopen(out: &mut Response) {
        out.extensions_mut().remove::<Exhausted>();
    }

    /// A response that failed is marked in its extensions.
    fn exhausted(answer: Result<Response>) -> Result<Response> {
        let mut out = answer.map_err(Error::exhausted)?;
        if Self::failure(&out).is_some() {
            out.extensions_mut().insert(Exhausted);
        }
        Ok(out)
    }
}

fn meaning(status: StatusCode) -> Option<(ErrorKind, Status)> {
    Some(match status.as_u16() {
        408 | 504 => (ErrorKind::Timeout, Status::Transient),
        429 => (ErrorKind::RateLimited, Status::Transient),
        503 => (ErrorKind::Overloaded, Status::Transient),
        501 | 505 => (ErrorKind::Unsupported, Status::Permanent),
        425 | 500..=599 => (ErrorKind::Rejected, Status::Transient),
        401 | 403 | 407 => (ErrorKind::Unauthorized, Status::Permanent),
        404 | 410 => (ErrorKind::NotFound, Status::Permanent),
        400..=499 => (ErrorKind::Rejected, Status::Permanent),
        _ => return None,
    })
}

/// Seconds, or a date (RFC 9110 section 10.2.3), taken by the peer's own clock if it tells it.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let then = httpdate::parse_http_date(value).ok()?;
    Some(then.duration_since(now.unwrap_or_else(SystemTime::now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
