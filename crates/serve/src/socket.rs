//! What is listened on: a listener of the registry, or an HTTP server whose WebSockets are accepted.

use std::sync::Weak;
use std::time::Duration;

use haul_core::{Endpoint, Listener, ListenerStats, Registry, Result};

use crate::gateway::Shared;
use crate::listen::ListenUrl;
use crate::status::ListenerStatus;
use crate::web;

pub(crate) struct Socket {
    pub(crate) listener: Listener,
    web: Option<haul_http::Server>,
}

impl Socket {
    /// Listens on `url`: by HTTP itself, otherwise as `registry` does.
    pub(crate) async fn open(url: &ListenUrl, registry: &Registry, shared: Weak<Shared>) -> Result<Self> {
        if url.is_web() {
            let (listener, server) = web::listen(url, shared).await?;
            return Ok(Self { listener, web: Some(server) });
        }
        registry.listen(url.endpoint.clone()).await.map(Self::from)
    }

    pub(crate) fn local_endpoint(&self) -> &Endpoint {
        self.listener.local_endpoint()
    }

    pub(crate) fn stats(&self) -> ListenerStats {
        self.web.as_ref().map_or_else(|| self.listener.stats(), haul_http::Server::stats)
    }

    pub(crate) fn status(&self) -> ListenerStatus {
        let websockets = self.web.as_ref().map(|_| self.listener.stats().open);
        ListenerStatus::new(self.local_endpoint(), self.stats(), websockets)
    }

    /// Stops listening at once; then answers what was asked already, and waits until nobody is there.
    pub(crate) async fn finish(&self) {
        // It stops listening at once; that connections remain is no news.
        let _ = self.listener.shutdown(Duration::ZERO).await;
        if let Some(web) = &self.web {
            let _ = web.shutdown(Duration::MAX).await;
        }
    }

    /// Cuts the requests that are under way.
    pub(crate) async fn cut(&self) {
        if let Some(web) = &self.web {
            // How many is known already.
            let _ = web.shutdown(Duration::ZERO).await;
        }
    }
}

impl From<Listener> for Socket {
    fn from(listener: Listener) -> Self {
        Self { listener, web: None }
    }
}
