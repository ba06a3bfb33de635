//! Dialing.

use std::sync::Arc;

use haul_core::{Connection, Endpoint, Link, Packet, Result, Sent, Service};
use quinn::ClientConfig;

use crate::early::{self, Early};
use crate::link::Quic;
use crate::options::DialConfig;
use crate::raw::tls::TlsCache;
use crate::raw::{Facts, Session};
use crate::socket::Sockets;
use crate::{ALPN, spawn};

/// Dials `quic://host:port`. Clones resume each other's TLS sessions, share a socket, and move together.
///
/// Errors: `Config`; `Connect` if nobody listens or the peer takes no more connections; `Tls`; `Timeout` (option
/// `timeout`, 10 s by default, for everything together). Cancelled, the connection is closed.
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

    /// Dials and sends `packets`, with the first packets of the handshake (0-RTT) where that can be: if this dialer has
    /// been connected there before and the listener has the option `early_data`. They come before everything else, in
    /// order, and once: if the peer does not take them early they are sent after the handshake. Which it was, the fact
    /// `early_data` of the connection says: `accepted` or not there.
    ///
    /// Whoever records early data can send it again, unseen by this end: each packet must have an id, which says that the
    /// peer tolerates duplicates.
    ///
    /// Errors: `Unsupported` for a packet without an id or an unreliable one, `TooLarge`; otherwise as for a dial, but the peer
    /// may have got packets. Cancelled, too.
    pub async fn dial_early(&self, endpoint: Endpoint, packets: Vec<Packet>) -> Result<Connection> {
        let dialed = async {
            let config = DialConfig::new(&endpoint)?;
            let early = Arc::from(early::encode(&packets, &config.path.limits)?);
            let sent = config.within(async {
                let connection = Connection::new(self.connect_early(&endpoint, &config, early).await?, spawn);
                connection.send_all(packets).await?;
                Ok(connection)
            });
            sent.await.map_err(|why| why.with_sent(Sent::Maybe))
        };
        dialed.await.map_err(|why| why.while_doing(format!("dial {endpoint}")))
    }

    async fn link(&self, endpoint: &Endpoint) -> Result<Link> {
        let config = DialConfig::new(endpoint)?;
        config.within(self.connect(endpoint, &config)).await
    }

    async fn connect(&self, endpoint: &Endpoint, config: &DialConfig) -> Result<Link> {
        let (host, port) = (endpoint.require_host()?, endpoint.require_port()?);
        let name = config.tls.sni.as_deref().unwrap_or(host);
        let mut client = ClientConfig::new(self.tls.get(&config.tls, ALPN)?);
        client.transport_config(config.path.transport(0)?);
        let (endpoint, connection) = self.sockets.dial(host, port, name, &client).await?;
        let facts = Facts::new("quic", &connection, endpoint.local_addr()?, &config.path, config.timeout);
        Session::dialed(Quic { connection, _endpoint: Some(endpoint) }, facts).await
    }

    async fn connect_early(
        &self,
        endpoint: &Endpoint,
        config: &DialConfig,
        early: Arc<[u8]>,
    ) -> Result<Link> {
        let (host, port) = (endpoint.require_host()?, endpoint.require_port()?);
        let name = config.tls.sni.as_deref().unwrap_or(host);
        let mut client = ClientConfig::new(self.tls.get_early(&config.tls, ALPN)?);
        client.transport_config(config.path.transport(0)?);
        let shake = move |connecting| early::shake(connecting, early.clone());
        let (endpoint, (connection, early)) = self.sockets.dial_by(host, port, name, &client, shake).await?;
        let mut facts = Facts::new("quic", &connection, endpoint.local_addr()?, &config.path, config.timeout);
        let quic = Quic { connection, _endpoint: Some(endpoint) };
        match early {
            Some(Early { stream, said }) => {
                facts.facts.set("early_data", "accepted");
                Ok(Session::dialed_early(quic, facts, stream, said))
            }
            None => Session::dialed(quic, facts).await,
        }
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
