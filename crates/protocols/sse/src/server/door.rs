//! What a listener answers requests with.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use haul_core::wire::PROTOCOL;
use haul_core::{Body, Error, ErrorKind, Metadata, Request, Response, Result};
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{Method, StatusCode, Uri};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Session;
use super::body::Stream;
use super::session::Posted;
use super::table::{Known, Table};
use crate::options::ListenConfig;
use crate::words;

/// How long a POST waits for the application to read what came before.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bodies of fewer bytes are copied.
const COPIED: usize = 4 << 10;

/// What a GET came to that no session answered: a client that wants one of its own, or why it was turned away, which
/// counts as a handshake that failed.
pub(crate) type Asked = Result<Opening>;

/// A client that wants a session of its own.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) request: Request,
    /// What the caller knows of the client.
    pub(crate) facts: Metadata,
    pub(crate) haul: bool,
    reply: oneshot::Sender<Response>,
}

impl Opening {
    /// Answers with the events of `session`. Errors: `Closed` if the client is gone.
    pub(crate) fn welcome(self, session: Arc<Session>) -> Result<()> {
        let response = stream(session, None)?;
        let gone = |_| Error::new(ErrorKind::Closed, "the client went away before it was answered");
        self.reply.send(response).map_err(gone)
    }

    /// Turns the client away.
    pub(crate) fn refuse(self) {
        let mut response =
            said(StatusCode::SERVICE_UNAVAILABLE, "too many event streams here; try again soon");
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        // Who is gone need not be told.
        let _ = self.reply.send(response);
    }
}

/// Leads requests to their sessions.
pub(crate) struct Door {
    pub(crate) config: ListenConfig,
    pub(crate) table: Arc<Table>,
    pub(crate) asked: mpsc::Sender<Asked>,
}

impl Door {
    /// Whether a request with this head is for event streams.
    pub(crate) fn wants(&self, head: &Parts) -> bool {
        let known = || token(&head.headers, &head.uri).is_some();
        self.serves(&head.uri)
            && match head.method {
                Method::GET => names_events(&head.headers) || known(),
                Method::POST | Method::DELETE => known(),
                _ => false,
            }
    }

    pub(crate) async fn answer(&self, request: Request, facts: Metadata) -> Result<Response> {
        let opens = request.method() == Method::GET;
        let answered = self.lead(request, facts).await;
        if let (true, Err(why)) = (opens, &answered) {
            // If it listens no longer, nobody counts.
            let _ = self.asked.send(Err(why.clone())).await;
        }
        answered
    }

    async fn lead(&self, request: Request, facts: Metadata) -> Result<Response> {
        if !self.serves(request.uri()) {
            let why = format!("nothing is served at {}", request.uri().path());
            return Err(Error::new(ErrorKind::NotFound, why));
        }
        match *request.method() {
            Method::GET => self.get(request, facts).await,
            Method::POST => self.post(request, &facts).await,
            Method::DELETE => self.delete(&request, &facts),
            _ => {
                let mut response =
                    said(StatusCode::METHOD_NOT_ALLOWED, "GET the events, POST what goes back");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
                Ok(response)
            }
        }
    }

    fn serves(&self, uri: &Uri) -> bool {
        self.config.path.as_ref().is_none_or(|served| served == uri.path())
    }

    async fn get(&self, request: Request, facts: Metadata) -> Result<Response> {
        let headers = request.headers();
        if !accepts_events(headers) {
            let why = "there is only text/event-stream here";
            return Err(Error::new(ErrorKind::Protocol, why).with("status", 406));
        }
        let haul = self.config.haul && text(headers, words::PROTOCOL) == Some(PROTOCOL);
        let last = text(headers, "last-event-id").and_then(|id| id.rsplit_once('.'));
        let last = last.and_then(|(token, number)| Some((token, number.parse().ok()?)));
        if let Some(token) = token(headers, request.uri()) {
            let behind = last.filter(|(other, _)| *other == token).map(|(_, number)| number);
            return stream(self.session(token, &facts)?, behind);
        }
        if let Some((token, number)) = last {
            match self.table.find(token) {
                Known::Session(session) if session.haul() == haul && session.belongs_to(&facts) => {
                    // Where that cannot be, the client begins anew: the application sees what it saw last.
                    if let Ok(response) = stream(session, Some(number)) {
                        return Ok(response);
                    }
                }
                // It was closed, and browsers come back until they are told not to.
                Known::Over => return Ok(empty(StatusCode::NO_CONTENT)),
                _ => {}
            }
        }
        let (reply, answered) = oneshot::channel();
        let closed = || Error::new(ErrorKind::Overloaded, "it listens no longer");
        self.asked.send(Ok(Opening { request, facts, haul, reply })).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())
    }

    async fn post(&self, request: Request, facts: &Metadata) -> Result<Response> {
        let session = self.named(&request, facts)?;
        let crowd = || {
            Error::new(ErrorKind::RateLimited, "too many POSTs at once: one after another keeps the order")
        };
        let _place = session.posts.clone().try_acquire_owned().map_err(|_| crowd())?;
        let (head, body) = request.into_parts();
        let number = text(&head.headers, words::NUMBER).map(str::parse).transpose();
        let number: Option<u64> =
            number.map_err(|_| Error::new(ErrorKind::Protocol, "haul-number is a number"))?;
        let max = if session.haul() { self.config.max_post } else { self.config.limits.max_packet };
        let body = apart(body.bytes(max).await?);
        let text = !session.haul() && is_text(&head.headers, &body)?;
        let mut up = session.up.lock().await;
        if let Some(number) = number
            && number != up.0
        {
            // One that came before: its answer was lost.
            let status = if number < up.0 { StatusCode::NO_CONTENT } else { StatusCode::CONFLICT };
            return Ok(empty(status));
        }
        match timeout(PATIENCE, up.1.reserve()).await {
            Ok(Ok(place)) => place.send(Box::new(Posted { body, text })),
            Ok(Err(_)) => return Err(over()),
            Err(_) => {
                let mut response = empty(StatusCode::SERVICE_UNAVAILABLE);
                response.headers_mut().insert(words::BUSY, HeaderValue::from_static("1"));
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("0"));
                return Ok(response);
            }
        }
        up.0 += 1;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    fn delete(&self, request: &Request, facts: &Metadata) -> Result<Response> {
        let session = self.named(request, facts)?;
        session.cut(Error::new(ErrorKind::Closed, "the client cut the session"));
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// The session whose token `request` shows.
    fn named(&self, request: &Request, facts: &Metadata) -> Result<Arc<Session>> {
        self.session(token(request.headers(), request.uri()).ok_or_else(no_token)?, facts)
    }

    fn session(&self, token: &str, facts: &Metadata) -> Result<Arc<Session>> {
        match self.table.find(token) {
            Known::Session(session) if session.belongs_to(facts) => Ok(session),
            Known::Session(_) => {
                Err(Error::new(ErrorKind::Unauthorized, "the session belongs to another identity"))
            }
            Known::Over => Err(over()),
            Known::Unknown => Err(Error::new(ErrorKind::NotFound, "there is no such session")),
        }
    }
}

fn over() -> Error {
    Error::new(ErrorKind::NotFound, "the session is over").with("status", 410)
}

fn no_token() -> Error {
    let why = "the header haul-session, or haul-session= in the query, says whose it is: the first event has the token";
    Error::new(ErrorKind::Unauthorized, why)
}

/// The events of `session` behind the one with this number.
fn stream(session: Arc<Session>, behind: Option<u64>) -> Result<Response> {
    let request = session.attach(behind).map_err(|why| why.with("status", 410))?;
    let haul = session.haul();
    let mut response = Response::new(Body::once(Stream::new(session, request)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(words::EVENT_STREAM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if haul {
        headers.insert(words::PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    Ok(response)
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn said(status: StatusCode, why: &'static str) -> Response {
    let mut response = empty(status);
    *response.body_mut() = Body::from(why);
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// In the header, or in the query for clients that can set none.
fn token<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let of_query = || {
        let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == words::SESSION).map(|(_, token)| token)
    };
    text(headers, words::SESSION).or_else(of_query)
}

/// The types that a client accepts (RFC 9110 section 12.5.1).
fn accepted(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(|kind| kind.split(';').next().unwrap_or_default().trim())
}

fn names_events(headers: &HeaderMap) -> bool {
    accepted(headers).any(|kind| kind.eq_ignore_ascii_case(words::EVENT_STREAM))
}

/// Who says nothing accepts all.
fn accepts_events(headers: &HeaderMap) -> bool {
    names_events(headers)
        || !headers.contains_key(ACCEPT)
        || accepted(headers).any(|kind| matches!(kind, "text/*" | "*/*"))
}

/// The body for itself, if it is small: as it came, it keeps the server's whole read buffer while somebody holds it.
fn apart(body: Bytes) -> Bytes {
    if body.len() < COPIED { Bytes::copy_from_slice(&body) } else { body }
}

/// Whether a body is text by its type, which a body without type is if it can be. Errors: `Codec` for text that is none.
fn is_text(headers: &HeaderMap, body: &[u8]) -> Result<bool> {
    let kind = text(headers, CONTENT_TYPE.as_str()).unwrap_or_default().trim().to_ascii_lowercase();
    let valid = std::str::from_utf8(body);
    if kind.is_empty() {
        return Ok(valid.is_ok());
    }
    if !kind.starts_with("text/") && !kind.starts_with("application/json") {
        return Ok(false);
    }
    let wrong = |why: std::str::Utf8Error| format!("the body is not UTF-8 at byte {}", why.valid_up_to());
    valid.map(|_| true).map_err(|why| Error::new(ErrorKind::Codec, wrong(why)))
}
