//! Asking for an event stream.

use std::time::Duration;

use haul_core::wire::PROTOCOL;
use haul_core::{Body, Error, ErrorKind, Input, Response, Result, Status};
use haul_http::Client;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use tokio::time::timeout;

use crate::words;

/// How much of what a server says when it refuses goes into the error.
const SAID: usize = 512;

/// How an event stream is asked for, each time.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) client: Client,
    /// Path and query.
    pub(crate) target: String,
    /// Whether haul's frames are asked for.
    pub(crate) haul: bool,
    /// The token of the session to come back to.
    pub(crate) token: Option<HeaderValue>,
    /// For each try.
    pub(crate) timeout: Duration,
}

impl Request {
    /// The request of this method, with the token if there is one. Errors: `Config` for a path that is none.
    pub(crate) fn of(&self, method: Method, body: Body) -> Result<haul_core::Request> {
        let built = http::Request::builder().method(method).uri(&self.target).body(body);
        let wrong = |why| Error::new(ErrorKind::Config, format!("{}: {why}", self.target));
        let mut request = built.map_err(wrong)?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(words::SESSION, token.clone());
        }
        Ok(request)
    }
}

/// Opens the stream from behind the event `last_id` on.
///
/// Errors: those of haul-http; what the answer's status says, with the beginning of its body; `NotFound` for 204, which
/// says not to come back (WHATWG HTML section 9.2.3); `Protocol` for what is no event stream; `Timeout`.
pub(crate) async fn open(request: Request, last_id: String) -> Result<Response> {
    let late = || Error::new(ErrorKind::Timeout, format!("no answer within {:?}", request.timeout));
    timeout(request.timeout, ask(&request, &last_id)).await.unwrap_or_else(|_| Err(late()))
}

async fn ask(request: &Request, last_id: &str) -> Result<Response> {
    let mut get = request.of(Method::GET, Body::empty())?;
    let headers = get.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static(words::EVENT_STREAM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if request.haul {
        headers.insert(words::PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    if !last_id.is_empty() {
        let wrong =
            |_| Error::new(ErrorKind::Config, format!("last event id {last_id:?} cannot stand in a head"));
        headers.insert("last-event-id", HeaderValue::from_bytes(last_id.as_bytes()).map_err(wrong)?);
    }
    let response = request.client.exclusive(get).await?;
    check(response).await
}

/// Whether it is an event stream.
async fn check(response: Response) -> Result<Response> {
    let status = response.status();
    if status == StatusCode::OK {
        if is_event_stream(response.headers()) {
            return Ok(response);
        }
        let kind = response.headers().get(CONTENT_TYPE).cloned();
        let error = format!("the answer is no event stream but {kind:?}");
        return Err(said(Error::new(ErrorKind::Protocol, error), response).await);
    }
    if status == StatusCode::NO_CONTENT {
        let why = "the peer answered 204 No Content: it has no more events and says not to come back";
        return Err(Error::new(ErrorKind::NotFound, why).with_status(Status::Permanent).with("status", 204));
    }
    let failure = haul_core::Request::failure(&response).unwrap_or_else(|| {
        let hint = if status.is_redirection() { "; redirects=5 follows" } else { "" };
        Error::new(ErrorKind::Rejected, format!("the peer answered {status}{hint}"))
    });
    Err(said(failure.with("status", status.as_u16()), response).await)
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(words::EVENT_STREAM)
}

/// The error with the beginning of what the server said.
pub(crate) async fn said(error: Error, response: Response) -> Error {
    use http_body::Body as _;
    let mut body = response.into_body();
    let mut start = Vec::new();
    let read = async {
        while start.len() < SAID
            && let Some(Ok(frame)) =
                std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await
        {
            start.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        }
    };
    // What comes too late is not waited for.
    let _ = timeout(Duration::from_secs(1), read).await;
    start.truncate(SAID);
    let text = String::from_utf8_lossy(&start).trim().to_owned();
    if text.is_empty() { error } else { error.with("said", text) }
}
