//! WebSockets on a port that an HTTP server listens on: it has read the request, and gives the stream away.

use bytes::BytesMut;
use haul_core::{Body, Info, Limits, Link, Response};
use http::{HeaderValue, Request, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::dialer::describe;
use crate::handshake::Agreed;
use crate::handshake::server::{self, Refusal, Terms};
use crate::link;

/// Answers requests for a WebSocket that a server of another crate has read, and makes links of their streams.
///
/// ```
/// let request = http::Request::get("/live").header("upgrade", "websocket").body(()).unwrap();
/// let (answer, accepted) = haul_ws::Upgrader::new(haul_core::Limits::default()).answer(&request);
/// assert!(answer.status() == 400 && accepted.is_none(), "there is no key");
/// ```
#[derive(Clone, Debug)]
pub struct Upgrader {
    terms: Terms,
    limits: Limits,
}

impl Upgrader {
    /// Serves any path and client, those that offer `haul.v1` with it, within `limits`.
    pub fn new(limits: Limits) -> Self {
        Self { terms: Terms::default(), limits }
    }

    /// The same, agreeing to the subprotocol `name` with clients that offer it and nothing better: browsers close a
    /// connection whose server agrees to none that they offered.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.terms.subprotocols.push(name.into());
        self
    }

    /// The answer to `request` (RFC 6455 section 4.2.2) and, if it is 101, what makes a link of its stream.
    pub fn answer<B>(&self, request: &Request<B>) -> (Response, Option<Accepted>) {
        let fields = request.headers().iter();
        let fields =
            fields.map(|(name, value)| httparse::Header { name: name.as_str(), value: value.as_bytes() });
        let mut fields: Vec<_> = fields.collect();
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let mut head = httparse::Request::new(&mut fields);
        head.method = Some(request.method().as_str());
        head.path = Some(target);
        head.version = (request.version() == Version::HTTP_11).then_some(1);
        let (key, subprotocol) = match server::check(&head, &self.terms) {
            Ok(agreed) => agreed,
            Err(refusal) => return (refused(&refusal), None),
        };
        let answer = http::Response::builder().status(101).header("connection", "upgrade");
        let answer =
            answer.header("upgrade", "websocket").header("sec-websocket-accept", server::accept(&key));
        let mut answer = answer.body(Body::empty()).expect("these headers are valid");
        if let Some(name) = subprotocol.as_deref().and_then(|name| HeaderValue::from_str(name).ok()) {
            answer.headers_mut().insert("sec-websocket-protocol", name);
        }
        let agreed = Agreed {
            subprotocol,
            early: BytesMut::new(),
            target: target.to_owned(),
            facts: server::facts(&head),
        };
        (answer, Some(Accepted { agreed, limits: self.limits.clone() }))
    }
}

fn refused(refusal: &Refusal) -> Response {
    let mut answer = Response::new(Body::from(format!("{}\n", refusal.why)));
    let code = refusal.status.split(' ').next().and_then(|code| code.parse().ok());
    *answer.status_mut() = code.unwrap_or(http::StatusCode::BAD_REQUEST);
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    for line in refusal.extra.lines() {
        if let Some((name, value)) = line.split_once(": ") {
            headers.insert(
                name.to_ascii_lowercase().parse::<http::HeaderName>().expect("a name"),
                HeaderValue::from_static(value),
            );
        }
    }
    answer
}

/// A request that was answered with 101.
pub struct Accepted {
    agreed: Agreed,
    limits: Limits,
}

impl Accepted {
    /// Makes a link of `stream`, which begins behind the head of the request. `info` has the addresses, and what else
    /// the server knows; protocol, framing, path, query, subprotocol, origin and user agent are added.
    pub fn link(self, mut info: Info, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Link {
        info.protocol = "ws";
        let role = (Role::Server, self.agreed.speech());
        describe(&mut info, self.agreed, None);
        let (read, write) = tokio::io::split(stream);
        link::link(info, self.limits, role, BytesMut::new(), read, write)
    }
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accepted").field("target", &self.agreed.target).finish_non_exhaustive()
    }
}
