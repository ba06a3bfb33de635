//! Listening.

use std::sync::Arc;

use haul_core::{Endpoint, Incoming, Info, Link, Listener, Metadata, Request, Result, service_fn};
use haul_http::{Peer, Server};
use http::header::{ORIGIN, USER_AGENT};
use tokio::sync::{Mutex, mpsc};

use crate::options::ListenConfig;
use crate::server::{Asked, Ending, IDENTITY, Opening, Posts, Session, Table};
use crate::{Mount, link, spawn};

/// Listens on `sse://host:port/path` or `sses://...`; port 0 takes a free one, no path serves any.
///
/// It is a [`Mount`] on a server of its own. Errors: `Config`, `Tls` for certificates that cannot be used, `Io` if the
/// address is taken or not ours.
pub async fn listen(endpoint: Endpoint) -> Result<Listener> {
    let (config, limits, under) = ListenConfig::listening(&endpoint)?;
    let (mount, mut incoming) = Mount::with(config);
    let service = service_fn(move |request: Request| {
        let mount = mount.clone();
        async move { mount.answer(request, Metadata::new()).await }
    });
    let server = haul_http::serve(under, service).await;
    let server = server.map_err(|why| why.while_doing(format!("listen on {endpoint}")))?;
    let local = endpoint.with_port(server.local_endpoint().require_port()?)?;
    incoming.server = Some(Arc::new(server));
    Ok(Listener::new(local, incoming, limits, spawn))
}

/// The clients of a mount.
pub(crate) struct SseIncoming {
    /// Listens as long as anybody holds it: the POSTs of a connection come in new requests. `None` if the server is
    /// the caller's.
    server: Option<Arc<Server>>,
    asked: Mutex<mpsc::Receiver<Asked>>,
    table: Arc<Table>,
    config: ListenConfig,
}

impl SseIncoming {
    pub(crate) fn new(asked: mpsc::Receiver<Asked>, table: Arc<Table>, config: ListenConfig) -> Self {
        Self { server: None, asked: Mutex::new(asked), table, config }
    }
}

impl Incoming for SseIncoming {
    type Raw = Asked;

    async fn accept(&self) -> Result<Asked> {
        match self.asked.lock().await.recv().await {
            Some(asked) => Ok(asked),
            // Every mount is gone: nobody comes any more.
            None => std::future::pending().await,
        }
    }

    async fn handshake(&self, asked: Asked) -> Result<Link> {
        let opening = asked?;
        let info = info(&opening);
        let identity = info.facts.get(IDENTITY).map(str::to_owned);
        let (session, posted) = Session::new(&self.config, identity, opening.haul);
        let ending = Ending { session: session.clone(), table: self.table.clone() };
        self.table.insert(session.clone());
        opening.welcome(session.clone())?;
        let posts = Posts::new(session.clone(), posted, self.config.limits.max_packet);
        let link = link::accepted(info, &self.config, session, posts);
        Ok(link.with_guard((ending, self.server.clone())))
    }

    /// 503.
    async fn refuse(&self, asked: Asked) {
        if let Ok(opening) = asked {
            opening.refuse();
        }
    }
}

/// What a request shows, and what the caller knows of it, as facts of the connection.
fn info(Opening { request, facts, .. }: &Opening) -> Info {
    let mut info = Info::new("sse", "");
    if let Some(peer) = request.extensions().get::<Peer>() {
        link::describe(&mut info, peer);
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
    for (name, value) in facts.iter() {
        info.facts.set(name.to_owned(), value.to_owned());
    }
    info
}
