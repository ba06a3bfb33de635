//! HTTP on the gateway's own port: WebSockets, events by POST, health and metrics.

mod events;
mod metrics;

use std::future::ready;
use std::sync::Weak;

use haul_core::{
    Body, Error, ErrorKind, Incoming, Info, Link, Listener, ListenerLimits, Request, Response, Result,
    Service,
};
use haul_http::{Peer, Server};
use http::{HeaderValue, Method, StatusCode, header};
use tokio::sync::{Mutex, mpsc};

use crate::gateway::Shared;
use crate::guard::{self, Origin};
use crate::listen::ListenUrl;

/// WebSockets that wait to be accepted.
const BACKLOG: usize = 1024;

/// What is answered to those who ask for something else.
const MAP: &str = "here are: WebSocket on any path, POST /events, GET /metrics, GET /health\n";

/// Listens on `url`; its WebSockets come out of the listener.
///
/// Errors: as [`haul_http::serve`].
pub(crate) async fn listen(url: &ListenUrl, shared: Weak<Shared>) -> Result<(Listener, Server)> {
    let (links, waiting) = mpsc::channel(BACKLOG);
    let server = haul_http::serve(url.endpoint.clone(), Door { url: url.clone(), shared, links }).await?;
    // The server counts and bounds the connections.
    let limits = ListenerLimits { max_connections: u32::MAX as usize, ..ListenerLimits::default() };
    let upgraded = Upgraded(Mutex::new(waiting));
    let listener = Listener::new(server.local_endpoint().clone(), upgraded, limits, |task| {
        tokio::spawn(task);
    });
    Ok((listener, server))
}

/// WebSockets whose handshake is done.
struct Upgraded(Mutex<mpsc::Receiver<Link>>);

impl Incoming for Upgraded {
    type Raw = Link;

    async fn accept(&self) -> Result<Link> {
        match self.0.lock().await.recv().await {
            Some(link) => Ok(link),
            // The server is gone: nobody comes any more.
            None => std::future::pending().await,
        }
    }

    async fn handshake(&self, raw: Link) -> Result<Link> {
        Ok(raw)
    }

    /// Dropped, it is cut.
    fn refuse(&self, _: Link) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

struct Door {
    url: ListenUrl,
    shared: Weak<Shared>,
    links: mpsc::Sender<Link>,
}

impl Service<Request> for Door {
    async fn call(&self, request: Request) -> Result<Response> {
        let gone = || Error::new(ErrorKind::Overloaded, "the gateway ends");
        let shared = self.shared.upgrade().ok_or_else(gone)?;
        if request.uri().path() == "/health" {
            return only(&Method::GET, &request).map_or_else(|| health(&shared), Ok);
        }
        let guard = shared.guard();
        let (parts, body) = request.into_parts();
        let origin = guard.origin(&parts, &self.url.endpoint)?;
        if let (&Method::OPTIONS, Origin::Allowed(origin)) = (&parts.method, &origin) {
            return Ok(guard::preflight(&parts, origin));
        }
        let token = guard.admit(&parts, self.url.open).await?;
        let mut request = Request::from_parts(parts, body);
        let path = request.uri().path().to_owned();
        let asks_for = request.headers().get(header::UPGRADE).and_then(|name| name.to_str().ok());
        let mut answer = if asks_for.is_some_and(|name| name.eq_ignore_ascii_case("websocket")) {
            self.upgrade(&mut request, token)
        } else {
            match path.as_str() {
                "/events" => match only(&Method::POST, &request) {
                    None => events::take(request, &self.url, shared).await?,
                    Some(refusal) => refusal,
                },
                "/metrics" => match only(&Method::GET, &request) {
                    None => text("text/plain; version=0.0.4; charset=utf-8", metrics::of(&shared.status())),
                    Some(refusal) => refusal,
                },
                _ => with_status(StatusCode::NOT_FOUND, text("text/plain; charset=utf-8", MAP)),
            }
        };
        origin.mark(&mut answer);
        Ok(answer)
    }
}

impl Door {
    /// Answers 101, and passes the stream on once it is there. `token` is a subprotocol that carried one.
    fn upgrade(&self, request: &mut Request, token: Option<String>) -> Response {
        let mut upgrader = haul_ws::Upgrader::new(self.url.limits.clone());
        if let Some(token) = token {
            upgrader = upgrader.subprotocol(token);
        }
        let (answer, accepted) = upgrader.answer(request);
        if let (Some(accepted), Some(upgrade)) = (accepted, haul_http::upgrade(request)) {
            let info = info(request, "ws", "");
            let links = self.links.clone();
            tokio::spawn(async move {
                match upgrade.stream().await {
                    // Where nobody accepts any more, it is dropped, which cuts it.
                    Ok(stream) => drop(links.send(accepted.link(info, stream)).await),
                    Err(why) => tracing::debug!(peer = info.peer, "{why}"),
                }
            });
        }
        answer
    }
}

/// Who sent `request`, and what the server knows of it.
fn info<B>(request: &http::Request<B>, protocol: &'static str, framing: &'static str) -> Info {
    let mut info = Info::new(protocol, framing);
    if let Some(peer) = request.extensions().get::<Peer>() {
        info.peer = peer.address.to_string();
        info.local = peer.local.to_string();
        if let Some(tls) = &peer.tls {
            // What the handshake agreed on is plain data: it always has a form in JSON.
            info.facts.set("tls", serde_json::to_string(&**tls).unwrap_or_default());
        }
    }
    info
}

/// The refusal of a request whose method is not `method`; HEAD is a GET.
fn only(method: &Method, request: &Request) -> Option<Response> {
    let asked = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    (asked != method).then(|| {
        let mut refusal = with_status(StatusCode::METHOD_NOT_ALLOWED, text("text/plain; charset=utf-8", MAP));
        let allowed = if method == Method::GET { "GET, HEAD" } else { method.as_str() };
        let allowed = HeaderValue::from_str(allowed).expect("a method is a header's value");
        refusal.headers_mut().insert(header::ALLOW, allowed);
        refusal
    })
}

fn health(shared: &Shared) -> Result<Response> {
    Ok(match shared.log.failure() {
        None => text("application/json", "{\"status\":\"ok\"}\n"),
        Some(why) => {
            let said = serde_json::json!({ "status": "failed", "why": why.to_string() });
            with_status(StatusCode::SERVICE_UNAVAILABLE, text("application/json", format!("{said}\n")))
        }
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
