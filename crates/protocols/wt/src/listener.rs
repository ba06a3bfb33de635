//! Listening.

use std::sync::Arc;
use std::time::Duration;

use haul_core::wire::PROTOCOL;
use haul_core::{Endpoint, Error, ErrorKind, Incoming, Link, Listener, Result};
use haul_quic::raw::{Facts, Session, failure, tls};
use haul_quic::socket;
use quinn::{EndpointConfig, ServerConfig, TokioRuntime};
use wtransport_proto::headers::Headers;

use crate::h3::{self, Http3, Request};
use crate::link::Wt;
use crate::options::ListenConfig;
use crate::{ALPN, OFFERED, OWN_STREAMS, SPOKEN, spawn};

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
    async fn agree(&self, quic: quinn::Connection) -> Result<Link> {
        let local = self.quic.local_addr()?;
        let mut facts = Facts::new("wt", &quic, local, &self.config.path, self.preface);
        let http3 = Http3::start(quic, self.preface).await?;
        let mut request = http3.request().await?;
        let headers = &request.headers;
        let asked = headers.get(":path").unwrap_or_default();
        let (path, query) = asked.split_once('?').unwrap_or((asked, ""));
        if headers.get(":method") != Some("CONNECT") || headers.get(":protocol") != Some("webtransport") {
            answer(&mut request, &[(":status", "501")], true).await?;
            return Err(Error::new(ErrorKind::Protocol, "it asks for something else than WebTransport"));
        }
        if self.config.serves.as_deref().is_some_and(|serves| serves != path) {
            let why = Error::new(ErrorKind::NotFound, format!("it asks for the path {path}"));
            answer(&mut request, &[(":status", "404")], true).await?;
            return Err(why);
        }
        facts.facts.set("path", path.to_owned());
        if !query.is_empty() {
            facts.facts.set("query", query.to_owned());
        }
        if let Some(origin) = headers.get("origin") {
            facts.facts.set("origin", origin.to_owned());
        }
        let spoken = format!("\"{PROTOCOL}\"");
        if offers_haul(headers) {
            facts.facts.set("subprotocol", PROTOCOL.to_owned());
            answer(&mut request, &[(":status", "200"), (SPOKEN, &spoken)], false).await?;
        } else {
            answer(&mut request, &[(":status", "200")], false).await?;
        }
        Ok(Session::accepted(Wt::new(http3, request, None), facts))
    }
}

/// Answers a request; a refusal is the last word, and waits until it was heard.
async fn answer(request: &mut Request, fields: &[(&str, &str)], last: bool) -> Result<()> {
    let headers: Headers = fields.iter().copied().collect();
    request.send.write_all(&h3::bytes_of(&headers.generate_frame())).await.map_err(h3::broken)?;
    if last {
        // The peer that is gone has heard enough.
        let _ = request.send.finish();
        let _ = request.send.stopped().await;
    }
    Ok(())
}

/// Whether haul is among the protocols that the client offers: a list of strings (RFC 9651).
fn offers_haul(headers: &Headers) -> bool {
    let offered = headers.get(OFFERED);
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
        let shaken = async { raw.accept()?.await };
        let agreed = async { self.agree(shaken.await.map_err(|why| failure::lost(&why))?).await };
        agreed.await.map_err(|why| why.while_doing(format!("accept a session of {peer}")))
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
