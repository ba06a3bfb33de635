//! Dialing.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use haul_core::wire::PROTOCOL;
use haul_core::{Connection, Endpoint, Error, ErrorKind, Link, Result, Sent, Service};
use haul_quic::raw::tls::TlsCache;
use haul_quic::raw::{Facts, Session};
use haul_quic::socket;
use tokio::time::timeout;
use wtransport::config::{DnsLookupFuture, DnsResolver};
use wtransport::endpoint::ConnectOptions;
use wtransport::{ClientConfig, Endpoint as WtEndpoint};

use crate::link::Wt;
use crate::options::DialConfig;
use crate::{ALPN, OFFERED, OWN_STREAMS, failure, spawn};

/// Dials `wt://host:port/path`. Clones resume each other's TLS sessions.
///
/// Errors: `Config`; `Connect` if nobody listens or the peer takes no more connections; `Tls`; `Rejected` if the server has
/// no WebTransport there; `Timeout` (option `timeout`, 10 s by default, for everything together). Cancelled, the
/// connection is closed.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    tls: TlsCache,
}

impl Dialer {
    async fn link(&self, endpoint: &Endpoint) -> Result<Link> {
        let config = DialConfig::new(endpoint)?;
        let deadline = config.timeout;
        let late = || Error::new(ErrorKind::Timeout, format!("not connected within {deadline:?}"));
        timeout(deadline, self.connect(endpoint, &config)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn connect(&self, endpoint: &Endpoint, config: &DialConfig) -> Result<Link> {
        let host = endpoint.require_host()?;
        let port = endpoint.port().unwrap_or(443);
        let mut client = quinn::ClientConfig::new(self.tls.get(&config.tls, ALPN)?);
        client.transport_config(config.path.transport(OWN_STREAMS)?);
        let request = request(endpoint, config, host, port)?;
        let attempt = |address| shake(client.clone(), address, request.clone());
        let (local, session) = socket::first(host, port, attempt).await?;
        let mut facts = Facts::new("wt", session.quic_connection(), local, &config.path, config.timeout);
        facts.facts.set("path", endpoint.path().to_owned());
        Session::dialed(Wt::new(session), facts).await
    }
}

impl Service<Endpoint> for Dialer {
    async fn call(&self, endpoint: Endpoint) -> Result<Connection> {
        let link = self.link(&endpoint).await;
        // Nothing of the application's was sent yet.
        let link = link.map_err(|why| why.with_sent(Sent::No).while_doing(format!("dial {endpoint}")))?;
        Ok(Connection::new(link, spawn))
    }
}

/// What is asked of the server. The name that `sni` gives is asked for in place of the host.
fn request(endpoint: &Endpoint, config: &DialConfig, host: &str, port: u16) -> Result<ConnectOptions> {
    let host = match config.tls.sni.as_deref() {
        Some(name) if name.parse::<IpAddr>().is_ok() => {
            return Err(Error::new(ErrorKind::Config, format!("sni={name}: a name, not an address")));
        }
        Some(name) => name,
        None => host,
    };
    let mut url = String::from("https://");
    // Writing to a string does not fail.
    let _ = match host.contains(':') {
        true => write!(url, "[{host}]:{port}{}", endpoint.path_and_query()),
        false => write!(url, "{host}:{port}{}", endpoint.path_and_query()),
    };
    let mut request = ConnectOptions::builder(url).add_header(OFFERED, format!("\"{PROTOCOL}\""));
    for (name, value) in &config.headers {
        request = request.add_header(name, value);
    }
    Ok(request.build())
}

/// One session, from a socket of its own.
async fn shake(
    client: quinn::ClientConfig,
    address: SocketAddr,
    request: ConnectOptions,
) -> Result<(SocketAddr, wtransport::Connection)> {
    let socket = socket::towards(address)?;
    let mut config = ClientConfig::builder().with_bind_socket(socket).build_with_quic_config(client);
    config.set_dns_resolver(Known(address));
    let endpoint = WtEndpoint::client(config)?;
    let local = endpoint.local_addr()?;
    tokio::select! {
        connected = endpoint.connect(request) => Ok((local, connected.map_err(failure::connecting)?)),
        why = socket::nobody(address) => Err(why),
    }
}

/// The address that is being tried.
#[derive(Debug)]
struct Known(SocketAddr);

impl DnsResolver for Known {
    fn resolve(&self, _host: &str) -> Pin<Box<dyn DnsLookupFuture>> {
        let address = self.0;
        Box::pin(async move { Ok(Some(address)) })
    }
}
