//! Listening.

use std::sync::Arc;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Incoming, Link, Listener, Result};
use haul_tls::{ServerOptions, ServerTls};
use quinn::{EndpointConfig, ServerConfig, TokioRuntime};

use crate::link::Quic;
use crate::options::ListenConfig;
use crate::raw::{Facts, Session, failure, tls};
use crate::{ALPN, socket, spawn};

/// Listens on `quic://host:port`; port 0 takes a free one. Without a certificate of its own it makes one, and its
/// local endpoint names the pin by which to dial it.
///
/// Errors: `Config`, also for certificates that cannot be used, `Io` if the address is taken or not ours.
pub async fn listen(endpoint: Endpoint) -> Result<Listener> {
    bind(&endpoint).map_err(|why| why.while_doing(format!("listen on {endpoint}")))
}

fn bind(endpoint: &Endpoint) -> Result<Listener> {
    let (config, limits) = ListenConfig::new(endpoint)?;
    let (own, made) = identity(&config.tls, endpoint.host())?;
    let tls = if config.early_data { tls::server_early(&own, ALPN) } else { tls::server(&own, ALPN) };
    let mut server = ServerConfig::with_crypto(tls?);
    server.transport_config(config.path.transport(0)?);
    let socket = socket::bind(endpoint.host(), endpoint.require_port()?)?;
    let mut local = endpoint.with_port(socket.local_addr()?.port())?;
    if made {
        let sign = if local.as_str().contains(['?', '#']) { '&' } else { '?' };
        local = format!("{}{sign}pin={}", local.as_str(), own.fingerprint()).parse()?;
    }
    let quic = quinn::Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime))?;
    let incoming = QuicIncoming { quic, config, preface: limits.handshake_deadline };
    Ok(Listener::new(local, incoming, limits, spawn))
}

/// The certificate to show, and whether it was made for want of one.
fn identity(options: &ServerOptions, host: Option<&str>) -> Result<(ServerTls, bool)> {
    let given = options.cert.is_some() || options.key.is_some() || options.self_signed.is_some();
    if given {
        return Ok((options.build()?, false));
    }
    let names = format!("localhost,{}", host.unwrap_or("127.0.0.1"));
    let made = ServerOptions { self_signed: Some(names), ..options.clone() };
    Ok((made.build()?, true))
}

struct QuicIncoming {
    quic: quinn::Endpoint,
    config: ListenConfig,
    preface: Duration,
}

impl Incoming for QuicIncoming {
    type Raw = quinn::Incoming;

    async fn accept(&self) -> Result<quinn::Incoming> {
        let next = self.quic.accept().await;
        next.ok_or_else(|| Error::new(ErrorKind::Closed, "the socket is closed"))
    }

    async fn handshake(&self, raw: quinn::Incoming) -> Result<Link> {
        let peer = raw.remote_address();
        let shaken = async {
            let mut connecting = raw.accept()?;
            if !self.config.early_data {
                return connecting.await;
            }
            connecting.handshake_data().await?;
            match connecting.into_0rtt() {
                Ok((connection, _)) => Ok(connection),
                Err(connecting) => connecting.await,
            }
        };
        let connection = shaken
            .await
            .map_err(|why| failure::lost(&why).while_doing(format!("accept a handshake of {peer}")))?;
        let facts = Facts::new("quic", &connection, self.quic.local_addr()?, &self.config.path, self.preface);
        Ok(Session::accepted(Quic { connection, _endpoint: None }, facts))
    }

    async fn refuse(&self, raw: quinn::Incoming) {
        raw.refuse();
    }
}

impl Drop for QuicIncoming {
    fn drop(&mut self) {
        socket::refuse_others(self.quic.clone());
    }
}
