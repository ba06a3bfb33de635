//! Listening.

use std::sync::Arc;

use haul_core::{Endpoint, Error, ErrorKind, Incoming, Info, Link, Listener, Request, Result, service_fn};
use haul_http::{Peer, Server};
use http::header::{ORIGIN, USER_AGENT};
use tokio::sync::{Mutex, mpsc};

use crate::options::ListenConfig;
use crate::server::{Door, Ending, Opening, Posts, Session, Table};
use crate::{link, spawn};

/// Clients whose requests wait to be looked at.
const OPENINGS: usize = 64;

/// Listens on `sse://host:port/path` or `sses://...`; port 0 takes a free one, no path serves any.
///
/// Errors: `Config`, `Tls` for certificates that cannot be used, `Io` if the address is taken or not ours.
pub async fn listen(endpoint: Endpoint) -> Result<Listener> {
    let (config, limits, under) = ListenConfig::new(&endpoint)?;
    let (openings, opened) = mpsc::channel(OPENINGS);
    let table = Arc::new(Table::default());
    let door = Arc::new(Door { config: config.clone(), table: table.clone(), openings });
    let service = service_fn(move |request: Request| {
        let door = door.clone();
        async move { door.answer(request).await }
    });
    let server = haul_http::serve(under, service).await;
    let server = Arc::new(server.map_err(|why| why.while_doing(format!("listen on {endpoint}")))?);
    let local = endpoint.with_port(server.local_endpoint().require_port()?)?;
    let incoming = SseIncoming { server, opened: Mutex::new(opened), table, config };
    Ok(Listener::new(local, incoming, limits, spawn))
}

struct SseIncoming {
    /// Listens as long as anybody holds it: the POSTs of a connection come in new requests.
    server: Arc<Server>,
    opened: Mutex<mpsc::Receiver<Opening>>,
    table: Arc<Table>,
    config: ListenConfig,
}

impl Incoming for SseIncoming {
    type Raw = Opening;

    async fn accept(&self) -> Result<Opening> {
        let opening = self.opened.lock().await.recv().await;
        opening.ok_or_else(|| Error::new(ErrorKind::Closed, "the server is gone"))
    }

    async fn handshake(&self, opening: Opening) -> Result<Link> {
        let info = info(&opening.request);
        let (session, posted) = Session::new(&self.config, opening.haul);
        let ending = Ending { session: session.clone(), table: self.table.clone() };
        self.table.insert(session.clone());
        opening.welcome(session.clone())?;
        let posts = Posts::new(session.clone(), posted, self.config.limits.max_packet);
        let link = link::accepted(info, &self.config, session, posts);
        Ok(link.with_guard((ending, self.server.clone())))
    }

    /// 503.
    async fn refuse(&self, opening: Opening) {
        opening.refuse();
    }
}

/// What a request shows, as facts of the connection.
fn info(request: &Request) -> Info {
    let mut info = Info::new("sse", "");
    if let Some(peer) = request.extensions().get::<Peer>() {
        (info.local, info.peer) = (peer.local.to_string(), peer.address.to_string());
    }
    info.facts.set("path", request.uri().path().to_owned());
    if let Some(query) = request.uri().query() {
        info.facts.set("query", query.to_owned());
    }
    let headers = [
        ("origin", ORIGIN.as_str()),
        ("user_agent", USER_AGENT.as_str()),
        ("last_event_id", "last-event-id"),
    ];
    for (fact, header) in headers {
        if let Some(value) = request.headers().get(header).and_then(|value| value.to_str().ok()) {
            info.facts.set(fact, value.to_owned());
        }
    }
    info
}
