//! What is listened on: a listener of the registry, or the gateway's own address for many protocols.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use haul_core::{Endpoint, Info, Listener, ListenerStats, Registry, Result};
use haul_session::Acceptor;
use tokio::time::timeout;

use crate::gateway::Shared;
use crate::listen::ListenUrl;
use crate::status::ListenerStatus;
use crate::web::{self, Entrance, Opened};

/// How long HTTP is still answered to connections that end: those of event streams say so in requests.
const PARTING: Duration = Duration::from_secs(1);

pub(crate) struct Socket {
    pub(crate) listener: Listener,
    web: Option<Web>,
}

struct Web {
    entrance: Arc<Entrance>,
    server: haul_http::Server,
    wt: Option<haul_wt::Server>,
    sse: bool,
    most: usize,
    /// Connections that are served, of all protocols, and those of WebTransport, which the server does not know of.
    served: AtomicUsize,
    sessions: AtomicUsize,
    all_sessions: AtomicU64,
    refused: AtomicU64,
}

impl Socket {
    /// Listens on `url`: by HTTP and all that goes with it itself, otherwise as `registry` does.
    pub(crate) async fn open(
        url: &ListenUrl,
        registry: &Registry,
        acceptor: &Acceptor,
        shared: Weak<Shared>,
    ) -> Result<Self> {
        let Some(at) = &url.web else {
            return registry.listen(url.endpoint.clone()).await.map(Self::from);
        };
        let entrance = Arc::new(Entrance::new(url.clone(), shared));
        let opened = web::open(at, acceptor, &entrance).await;
        let Opened { listener, server, wt } =
            opened.map_err(|why| why.while_doing(format!("listen on {}", url.endpoint)))?;
        let web = Web {
            entrance,
            server,
            wt,
            sse: at.sse.is_some(),
            most: at.max_connections,
            served: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            all_sessions: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        Ok(Self { listener, web: Some(web) })
    }

    pub(crate) fn local_endpoint(&self) -> &Endpoint {
        self.listener.local_endpoint()
    }

    pub(crate) fn stats(&self) -> ListenerStats {
        let mut stats = self.listener.stats();
        if let Some(web) = &self.web {
            let beneath = web.server.stats();
            stats.accepted = beneath.accepted + web.all_sessions.load(Relaxed);
            stats.refused = beneath.refused + web.refused.load(Relaxed);
            stats.failed += beneath.failed;
            stats.open = beneath.open + web.sessions.load(Relaxed);
            stats.last_failure = stats.last_failure.or(beneath.last_failure);
        }
        stats
    }

    pub(crate) fn status(&self) -> ListenerStatus {
        let stats = self.stats();
        ListenerStatus {
            url: self.local_endpoint().to_string(),
            accepted: stats.accepted,
            refused: stats.refused,
            failed: stats.failed,
            open: stats.open,
            protocols: self.web.as_ref().map(Web::protocols).unwrap_or_default(),
            certificate_hashes: self.web.as_ref().map(Web::certificate_hashes).unwrap_or_default(),
            last_failure: stats.last_failure.map(|why| why.to_string()),
        }
    }

    /// A place for the connection of `info`; `None` if all are taken. Where the listener bounds them itself, there is
    /// one.
    pub(crate) fn place(self: &Arc<Self>, info: &Info) -> Option<Place> {
        let mut place = Place { socket: self.clone(), session: false };
        let Some(web) = &self.web else { return Some(place) };
        if web.served.fetch_add(1, Relaxed) >= web.most {
            web.refused.fetch_add(1, Relaxed);
            return None;
        }
        if info.protocol == "wt" {
            place.session = true;
            web.sessions.fetch_add(1, Relaxed);
            web.all_sessions.fetch_add(1, Relaxed);
        }
        Some(place)
    }

    /// Lets nobody in any more, and waits until nobody is there: `ending` are the connections that end.
    pub(crate) async fn finish(&self, ending: impl Future<Output = ()>) {
        if let Some(web) = &self.web {
            web.entrance.close();
        }
        // It stops listening at once; that connections remain is no news.
        let _ = self.listener.shutdown(Duration::ZERO).await;
        let Some(web) = &self.web else { return ending.await };
        let mut ending = std::pin::pin!(ending);
        let ended = timeout(PARTING, &mut ending).await.is_ok();
        let rest = async {
            if !ended {
                ending.await;
            }
        };
        let _ = tokio::join!(web.server.shutdown(Duration::MAX), rest);
    }

    /// Cuts the requests that are under way.
    pub(crate) async fn cut(&self) {
        if let Some(web) = &self.web {
            // How many is known already.
            let _ = web.server.shutdown(Duration::ZERO).await;
        }
    }
}

impl Web {
    fn protocols(&self) -> Vec<&'static str> {
        let (wt, sse) = (self.wt.is_some().then_some("wt"), self.sse.then_some("sse"));
        wt.into_iter().chain(["ws"]).chain(sse).chain(["http"]).collect()
    }

    fn certificate_hashes(&self) -> Vec<String> {
        self.wt.as_ref().map(haul_wt::Server::certificate_hashes).unwrap_or_default()
    }
}

impl From<Listener> for Socket {
    fn from(listener: Listener) -> Self {
        Self { listener, web: None }
    }
}

/// A place among the connections of a listener. Dropped, it is free again.
pub(crate) struct Place {
    socket: Arc<Socket>,
    session: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(web) = &self.socket.web else { return };
        web.served.fetch_sub(1, Relaxed);
        if self.session {
            web.sessions.fetch_sub(1, Relaxed);
        }
    }
}
