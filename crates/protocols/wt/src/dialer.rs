//! Dialing.

use haul_core::wire::PROTOCOL;
use haul_core::{Connection, Endpoint, Error, ErrorKind, Link, Result, Sent, Service};
use haul_quic::raw::tls::TlsCache;
use haul_quic::raw::{Facts, Session};
use haul_quic::socket::Sockets;
use tokio::time::timeout;
use wtransport_proto::headers::Headers;

use crate::h3::{Connect, Http3};
use crate::link::Wt;
use crate::options::DialConfig;
use crate::{ALPN, OFFERED, OWN_STREAMS, SPOKEN, spawn};

/// Dials `wt://host:port/path`. Clones resume each other's TLS sessions, share a
/// socket, and move together.
///
/// Errors: `Config`; `Connect` if nobody listens or the peer takes no more connections; `Tls`; what the server's
/// status says if it does not agree; `Timeout` (option `timeout`, 10 s by default, for everything together). Cancelled, the
/// connection is closed.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    tls: TlsCache,
    sockets: Sockets,
}

impl Dialer {
    /// Moves every connection that was dialed here and is open to new local sockets, as after a change of network
    /// (RFC 9000 section 9). Answers how many. What was on its way is sent again.
    ///
    /// Errors: `Io` if there is no socket to move to; the others have moved.
    pub fn migrate(&self) -> Result<usize> {
        self.sockets.migrate()
    }

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
        let name = config.tls.sni.as_deref().unwrap_or(host);
        let (socket, quic) = self.sockets.dial(host, port, name, &client).await?;
        let mut facts = Facts::new("wt", &quic, socket.local_addr()?, &config.path, config.timeout);
        let http3 = Http3::start(quic, config.timeout).await?;
        http3.settled().await?;
        let answer = http3.ask(&request(endpoint, config, host, port)).await?;
        agreed(&answer)?;
        facts.facts.set("path", endpoint.path().to_owned());
        if answer.headers.get(SPOKEN).is_some_and(|spoken| spoken.trim_matches('"') == PROTOCOL) {
            facts.facts.set("subprotocol", PROTOCOL.to_owned());
        }
        Session::dialed(Wt::new(http3, answer, Some(socket)), facts).await
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

/// What is asked of the server: an extended CONNECT (RFC 9220).
fn request(endpoint: &Endpoint, config: &DialConfig, host: &str, port: u16) -> Headers {
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let (path, offered) = (endpoint.path_and_query(), format!("\"{PROTOCOL}\""));
    let own = [
        (":method", "CONNECT"),
        (":scheme", "https"),
        (":protocol", "webtransport"),
        (":authority", &authority),
        (":path", if path.is_empty() { "/" } else { &path }),
        (OFFERED, &offered),
    ];
    let given = config.headers.iter().map(|(name, value)| (&**name, &**value));
    own.into_iter().chain(given).collect()
}

/// Whether the server agreed. Errors: what its status says.
fn agreed(answer: &Connect) -> Result<()> {
    let status = answer.headers.get(":status").unwrap_or_default();
    let kind = match status {
        _ if status.len() == 3 && status.starts_with('2') => return Ok(()),
        "401" | "403" => ErrorKind::Unauthorized,
        "404" => ErrorKind::NotFound,
        "429" => ErrorKind::RateLimited,
        "503" => ErrorKind::Overloaded,
        _ => ErrorKind::Rejected,
    };
    Err(Error::new(kind, format!("the server answered {status:?} to a WebTransport request")))
}
