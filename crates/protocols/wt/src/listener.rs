//! Listening.

use std::sync::Arc;
use std::time::Duration;

use haul_core::wire::PROTOCOL;
use haul_core::{Endpoint, Error, ErrorKind, Incoming, Link, Listener, Result};
use haul_quic::raw::{Facts, Session, tls};
use haul_quic::socket;
use quinn::{EndpointConfig, ServerConfig, TokioRuntime};
use wtransport::endpoint::{IncomingSessionFuture, SessionRequest};

use crate::link::Wt;
use crate::options::ListenConfig;
use crate::{ALPN, OFFERED, OWN_STREAMS, SPOKEN, failure, spawn};

/// Listens on `wt://host:port/path`; port 0 takes a free one, no path serves any. Without a certificate of its own it makes
/// one that browsers pin, for 14 days, and its local endpoint names the pin by which to dial it.
///
/// Errors: `Config`, also for certificates that cannot be used, `Io` if the address is taken or not ours.
pub async fn listen(endpoint: Endpoint) -> Result<Listener> {
    bind(&endpoint).map_err(|why| why.while_doing(format!("listen on {endpoint}")))
}

fn bind(endpoint: &Endpoint) -> Result<Listener> {
    let (config, limits) = ListenConfig::new(endpoint)?;
    let (own, made) = config.identity(endpoint.host())?;
    let mut server = ServerConfig::with_crypto(tls::server(&own, ALPN)?);
    server.transport_config(config.path.transport(OWN_STREAMS)?);
    let socket = socket::bind(endpoint.host(), endpoint.port().unwrap_or(443))?;
    let mut local = endpoint.with_port(socket.local_addr()?.port())?;
    if made {
        // The options of a dial stand in the fragment.
        let sign = if local.as_str().contains('#') { '&' } else { '#' };
        local = format!("{}{sign}pin={}", local.as_str(), own.fingerprint()).parse()?;
    }
    let quic = quinn::Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime))?;
    let incoming = WtIncoming { quic, config, preface: limits.handshake_deadline };
    Ok(Listener::new(local, incoming, limits, spawn))
}

struct WtIncoming {
    quic: quinn::Endpoint,
    config: ListenConfig,
    preface: Duration,
}

impl WtIncoming {
    async fn agree(&self, raw: quinn::Incoming) -> Result<Link> {
        let request =
            IncomingSessionFuture::with_quic_incoming(raw).await.map_err(|why| failure::lost(&why))?;
        let (path, query) = request.path().split_once('?').unwrap_or((request.path(), ""));
        if self.config.serves.as_deref().is_some_and(|serves| serves != path) {
            let why = Error::new(ErrorKind::NotFound, format!("it asks for the path {path}"));
            request.not_found().await;
            return Err(why);
        }
        let mut known = vec![("path", path.to_owned())];
        known.extend(Some(("query", query.to_owned())).filter(|_| !query.is_empty()));
        known.extend(request.origin().map(|origin| ("origin", origin.to_owned())));
        let spoken = offers_haul(&request).then(|| (SPOKEN, format!("\"{PROTOCOL}\"")));
        known.extend(spoken.iter().map(|_| ("subprotocol", PROTOCOL.to_owned())));
        let session = request.accept_with_headers(spoken).await.map_err(|why| failure::lost(&why))?;
        let local = self.quic.local_addr()?;
        let mut facts = Facts::new("wt", session.quic_connection(), local, &self.config.path, self.preface);
        for (name, value) in known {
            facts.facts.set(name, value);
        }
        Ok(Session::accepted(Wt::new(session), facts))
    }
}

/// Whether haul is among the protocols that the client offers: a list of strings (RFC 9651).
fn offers_haul(request: &SessionRequest) -> bool {
    let offered = request.headers().get(OFFERED);
    offered.is_some_and(|offered| offered.split(',').any(|name| name.trim().trim_matches('"') == PROTOCOL))
}

impl Incoming for WtIncoming {
    type Raw = quinn::Incoming;

    async fn accept(&self) -> Result<quinn::Incoming> {
        let next = self.quic.accept().await;
        next.ok_or_else(|| Error::new(ErrorKind::Closed, "the socket is closed"))
    }

    async fn handshake(&self, raw: quinn::Incoming) -> Result<Link> {
        let peer = raw.remote_address();
        self.agree(raw).await.map_err(|why| why.while_doing(format!("accept a session of {peer}")))
    }

    async fn refuse(&self, raw: quinn::Incoming) {
        raw.refuse();
    }
}

impl Drop for WtIncoming {
    fn drop(&mut self) {
        socket::refuse_others(self.quic.clone());
    }
}
