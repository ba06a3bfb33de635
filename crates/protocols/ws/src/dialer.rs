//! Dialing.

use haul_core::{Connection, Endpoint, Error, ErrorKind, Info, Link, Result, Sent, Service};
use haul_tls::TlsInfo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::handshake::{Agreed, client};
use crate::options::{DialConfig, checked};
use crate::tls::TlsCache;
use crate::{link, proxy, spawn};

/// Dials `ws://` and `wss://`, through a proxy where the endpoint or the environment names one.
///
/// Errors: `Config`; `Connect`; `Tls`; what an HTTP answer other than 101 says, by its status; `Timeout` (option
/// `timeout`, 10 s by default, for everything together). Cancelled, the socket is closed.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    headers: Vec<(String, String)>,
    tls: TlsCache,
}

impl Dialer {
    /// The dialer with a header that every handshake carries. Errors: `Config` for what cannot stand in one.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self> {
        let wrong = || Error::new(ErrorKind::Config, format!("header {name:?} cannot stand in an HTTP head"));
        self.headers.push(checked(name, value).ok_or_else(wrong)?);
        Ok(self)
    }

    async fn link(&self, endpoint: &Endpoint) -> Result<Link> {
        let config = DialConfig::new(endpoint)?;
        let deadline = config.timeout;
        let late = || Error::new(ErrorKind::Timeout, format!("not connected within {deadline:?}"));
        timeout(deadline, self.connect(endpoint, &config)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn connect(&self, endpoint: &Endpoint, config: &DialConfig) -> Result<Link> {
        let secure = endpoint.scheme() == "wss";
        let host = endpoint.require_host()?;
        let port = endpoint.port().unwrap_or(if secure { 443 } else { 80 });
        let mut tcp = proxy::connect(host, port, secure, config.proxy.as_deref()).await?;
        tcp.set_nodelay(config.nodelay)?;
        let info = info(&tcp)?;
        if !secure {
            let agreed = self.shake(&mut tcp, endpoint, config).await?;
            let (read, write) = tcp.into_split();
            return Ok(assemble(info, config, agreed, None, read, write));
        }
        let tls = self.tls.get(&config.tls)?;
        let mut stream = tls.connect(tcp, host).await?;
        let facts = stream.info();
        let agreed = self.shake(&mut stream, endpoint, config).await?;
        let (read, write) = tokio::io::split(stream);
        Ok(assemble(info, config, agreed, Some(facts), read, write))
    }

    async fn shake(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        endpoint: &Endpoint,
        config: &DialConfig,
    ) -> Result<Agreed> {
        let headers = [&self.headers[..], &config.headers].concat();
        let request = client::Request { endpoint, subprotocols: &config.subprotocols, headers: &headers };
        client::shake(stream, request).await
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

fn info(tcp: &TcpStream) -> Result<Info> {
    let mut info = Info::new("ws", "");
    info.local = tcp.local_addr()?.to_string();
    info.peer = tcp.peer_addr()?.to_string();
    Ok(info)
}

fn assemble(
    mut info: Info,
    config: &DialConfig,
    mut agreed: Agreed,
    tls: Option<TlsInfo>,
    read: impl AsyncRead + Unpin + Send + 'static,
    write: impl AsyncWrite + Unpin + Send + 'static,
) -> Link {
    let early = std::mem::take(&mut agreed.early);
    let speech = agreed.speech();
    describe(&mut info, agreed, tls);
    link::link(info, config.limits.clone(), (Role::Client, speech), early, read, write)
}

/// What a handshake showed, as facts of the connection.
pub(crate) fn describe(info: &mut Info, agreed: Agreed, tls: Option<TlsInfo>) {
    let (path, query) = agreed.target.split_once('?').unwrap_or((&agreed.target, ""));
    info.facts.set("path", path.to_owned());
    if !query.is_empty() {
        info.facts.set("query", query.to_owned());
    }
    if let Some(subprotocol) = agreed.subprotocol {
        info.facts.set("subprotocol", subprotocol);
    }
    for (name, value) in agreed.facts {
        info.facts.set(name, value);
    }
    if let Some(tls) = tls {
        // What the handshake agreed on is plain data: it always has a form in JSON.
        info.facts.set("tls", serde_json::to_string(&tls).unwrap_or_default());
    }
}
