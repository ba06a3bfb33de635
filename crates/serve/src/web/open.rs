//! One address for all: HTTP, WebSocket and event streams on TCP, WebTransport on UDP, sessions over all of them.

use std::future::ready;
use std::sync::Arc;

use haul_core::{Endpoint, ErrorKind, Incoming, Link, Listener, ListenerLimits, Result, Task};
use haul_http::Server;
use haul_session::Acceptor;
use tokio::sync::{Mutex, mpsc};

use super::door::{Door, Entrance};
use super::url::WebUrl;

/// WebSockets that wait to be accepted.
const BACKLOG: usize = 1024;

/// Pairs of ports that are tried where any port will do.
const PAIRS: usize = 16;

/// What was opened.
pub(crate) struct Opened {
    /// Connections and sessions come out of it, whatever they speak.
    pub(crate) listener: Listener,
    pub(crate) server: Server,
    pub(crate) wt: Option<haul_wt::Server>,
}

/// Listens as `web` says; whoever passes `entrance` comes out of the listener, those with sessions by way of `acceptor`.
///
/// Errors: those of [`haul_http::serve`] and [`haul_wt::Server::bind`]. Where the port is free on TCP alone, it is an
/// error too: nobody is to miss WebTransport without a word.
pub(crate) async fn open(web: &WebUrl, acceptor: &Acceptor, entrance: &Arc<Entrance>) -> Result<Opened> {
    for _ in 1..PAIRS {
        match pair(web, acceptor, entrance).await {
            // The other half of this pair is taken.
            Err(why) if web.http.port() == Some(0) && why.kind() == ErrorKind::Io => {}
            done => return done,
        }
    }
    pair(web, acceptor, entrance).await
}

async fn pair(web: &WebUrl, acceptor: &Acceptor, entrance: &Arc<Entrance>) -> Result<Opened> {
    let (links, upgraded) = mpsc::channel(BACKLOG);
    let mut http = web.http.clone();
    let mut others = Vec::new();
    let mut wt = None;
    if let Some(endpoint) = &web.wt {
        let (server, listener) = bind(endpoint, entrance)?;
        http = http.with_port(listener.local_endpoint().require_port()?)?;
        others.push(listener);
        wt = Some(server);
    }
    let mut sse = None;
    if let Some(endpoint) = &web.sse {
        let (mount, listener) = haul_sse::Mount::new(endpoint)?;
        others.push(listener);
        sse = Some(mount);
    }
    let door = Door { entrance: entrance.clone(), limits: web.limits.clone(), links, sse, wt: wt.clone() };
    let server = haul_http::serve(http, door).await?;
    // The server counts and bounds the connections.
    let limits = ListenerLimits { max_connections: u32::MAX as usize, ..ListenerLimits::default() };
    let websockets = Upgraded(Mutex::new(upgraded));
    let websockets = Listener::new(server.local_endpoint().clone(), websockets, limits, spawn);
    // They go by the name of the first.
    others.insert(0, websockets);
    Ok(Opened { listener: acceptor.listen(others)?, server, wt })
}

fn bind(endpoint: &Endpoint, entrance: &Arc<Entrance>) -> Result<(haul_wt::Server, Listener)> {
    let entrance = entrance.clone();
    let admit = move |request| {
        let entrance = entrance.clone();
        async move { entrance.session(&request).await }
    };
    let doing = "WebTransport needs the UDP port of the same number (wt=off does without)";
    haul_wt::Server::bind(endpoint, admit).map_err(|why| why.while_doing(doing))
}

fn spawn(task: Task) {
    tokio::spawn(task);
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
