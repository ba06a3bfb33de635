//! Who comes in over HTTP, and where to.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use haul_core::{Error, ErrorKind, Info, Limits, Link, Metadata, Request, Response, Result, Service};
use haul_http::Peer;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::mpsc;

use super::{events, metrics, only, pages, text, with_status};
use crate::gateway::Shared;
use crate::guard::{self, Admitted, Guard, Origin};
use crate::listen::ListenUrl;

/// What is answered to those who ask for something else.
pub(super) const MAP: &str = "here are: WebSocket, WebTransport and event streams on any path, POST /events, \
                              GET / (the dashboard), /haul.js, /haul.d.ts, /haul.json, /status, /metrics and /health\n";

/// Where all protocols of one address come in.
pub(crate) struct Entrance {
    url: ListenUrl,
    shared: Weak<Shared>,
    closed: AtomicBool,
}

impl Entrance {
    pub(crate) fn new(url: ListenUrl, shared: Weak<Shared>) -> Self {
        Self { url, shared, closed: AtomicBool::new(false) }
    }

    /// Lets nobody in any more. Who is inside goes on, also where that takes further requests.
    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// Whom a request for a WebTransport session is from. Errors: its refusal.
    pub(super) async fn session(&self, request: &Parts) -> Result<Metadata> {
        let guard = self.gateway()?.guard();
        self.is_open()?;
        guard.origin(request, &self.url.endpoint)?;
        Ok(self.admit(&guard, request).await?.facts)
    }

    async fn admit(&self, guard: &Guard, request: &Parts) -> Result<Admitted> {
        guard.admit(request, self.url.open).await
    }

    fn gateway(&self) -> Result<Arc<Shared>> {
        self.shared.upgrade().ok_or_else(ends)
    }

    fn is_open(&self) -> Result<()> {
        if self.closed.load(Relaxed) { Err(ends()) } else { Ok(()) }
    }
}

fn ends() -> Error {
    Error::new(ErrorKind::Overloaded, "the gateway ends here: try again")
}

/// What an HTTP server answers with.
pub(super) struct Door {
    pub(super) entrance: Arc<Entrance>,
    pub(super) limits: Limits,
    /// To WebSockets that wait to be accepted.
    pub(super) links: mpsc::Sender<Link>,
    pub(super) sse: Option<haul_sse::Mount>,
    pub(super) wt: Option<haul_wt::Server>,
}

impl Service<Request> for Door {
    async fn call(&self, request: Request) -> Result<Response> {
        let shared = self.entrance.gateway()?;
        if request.uri().path() == "/health" {
            return only(&Method::GET, &request).map_or_else(|| health(&shared), Ok);
        }
        let guard = shared.guard();
        let (parts, body) = request.into_parts();
        let origin = guard.origin(&parts, &self.entrance.url.endpoint)?;
        if let (&Method::OPTIONS, Origin::Allowed(origin)) = (&parts.method, &origin) {
            return Ok(guard::preflight(&parts, origin));
        }
        let request = Request::from_parts(parts, body);
        // A page is to read why it is refused, too.
        let mut answer =
            self.lead(request, &guard, shared).await.unwrap_or_else(|why| haul_http::answer(&why));
        origin.mark(&mut answer);
        Ok(answer)
    }
}

impl Door {
    async fn lead(&self, request: Request, guard: &Guard, shared: Arc<Shared>) -> Result<Response> {
        let websocket = is_websocket(request.headers());
        let (parts, body) = request.into_parts();
        let stream = self.sse.as_ref().filter(|sse| !websocket && sse.wants(&parts));
        if !websocket && stream.is_none() {
            // What everybody may know: tokens guard what flows.
            let request = Request::from_parts(parts, body);
            if let Some(answer) = self.public(&request)? {
                return Ok(answer);
            }
            return self.guarded(request, guard, shared).await;
        }
        let admitted = self.entrance.admit(guard, &parts).await?;
        let request = Request::from_parts(parts, body);
        match stream {
            Some(stream) => stream.answer(request, admitted.facts).await,
            None => self.entrance.is_open().map(|()| self.upgrade(request, admitted)),
        }
    }

    /// The dashboard, what pages need to connect, and which protocols there are.
    fn public(&self, request: &Request) -> Result<Option<Response>> {
        let answer = match request.uri().path() {
            "/haul.json" => only(&Method::GET, request).unwrap_or_else(|| self.protocols()),
            path => match pages::find(path) {
                Some(page) => only(&Method::GET, request).unwrap_or_else(|| page.answer(request.headers())),
                None => return Ok(None),
            },
        };
        Ok(Some(answer))
    }

    async fn guarded(&self, request: Request, guard: &Guard, shared: Arc<Shared>) -> Result<Response> {
        let (parts, body) = request.into_parts();
        self.entrance.admit(guard, &parts).await?;
        let request = Request::from_parts(parts, body);
        let get = |answer: Response| Ok(only(&Method::GET, &request).unwrap_or(answer));
        match request.uri().path() {
            "/events" => match only(&Method::POST, &request) {
                Some(refusal) => Ok(refusal),
                None => {
                    self.entrance.is_open()?;
                    events::take(request, &self.entrance.url, self.limits.max_packet, shared).await
                }
            },
            "/metrics" => {
                get(text("text/plain; version=0.0.4; charset=utf-8", metrics::of(&shared.status())))
            }
            crate::feed::PATH => get(status(&shared)?),
            _ => Ok(with_status(StatusCode::NOT_FOUND, text("text/plain; charset=utf-8", MAP))),
        }
    }

    /// Answers 101, and passes the stream on once it is there.
    fn upgrade(&self, mut request: Request, admitted: Admitted) -> Response {
        let mut upgrader = haul_ws::Upgrader::new(self.limits.clone());
        if let Some(token) = admitted.subprotocol {
            upgrader = upgrader.subprotocol(token);
        }
        let (answer, accepted) = upgrader.answer(&request);
        if let (Some(accepted), Some(upgrade)) = (accepted, haul_http::upgrade(&mut request)) {
            let mut info = info(&request, "ws", "");
            for (name, value) in admitted.facts.iter() {
                info.facts.set(name.to_owned(), value.to_owned());
            }
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

    /// How to connect: what a page cannot know of itself.
    fn protocols(&self) -> Response {
        let hashes = self.wt.as_ref().map(haul_wt::Server::certificate_hashes).unwrap_or_default();
        let (wt, sse) = (self.wt.is_some().then_some("wt"), self.sse.is_some().then_some("sse"));
        let protocols: Vec<_> = wt.into_iter().chain(["ws"]).chain(sse).collect();
        let told = serde_json::json!({ "protocols": protocols, "certificateHashes": hashes });
        let mut answer = text("application/json", format!("{told}\n"));
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }
}

/// Who sent `request`, and what the server knows of it.
pub(super) fn info<B>(request: &http::Request<B>, protocol: &'static str, framing: &'static str) -> Info {
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

fn is_websocket(headers: &HeaderMap) -> bool {
    let asks_for = headers.get(header::UPGRADE).and_then(|name| name.to_str().ok());
    asks_for.is_some_and(|name| name.eq_ignore_ascii_case("websocket"))
}

fn status(shared: &Shared) -> Result<Response> {
    let wrong = |why| Error::new(ErrorKind::Internal, format!("the status as JSON: {why}"));
    let told = serde_json::to_string(&shared.status()).map_err(wrong)?;
    let mut answer = text("application/json", told + "\n");
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
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
