//! Dialing.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use haul_core::{Connection, Endpoint, Error, ErrorKind, Link, Result, Sent, Service};
use quinn::ClientConfig;
use tokio::time::timeout;

use crate::link::Quic;
use crate::options::DialConfig;
use crate::raw::tls::TlsCache;
use crate::raw::{Facts, Session};
use crate::{ALPN, socket, spawn};

/// Dials `quic://host:port`. Clones resume each other's TLS sessions, and move together.
///
/// Errors: `Config`; `Connect` if nobody listens or the peer takes no more connections; `Tls`; `Timeout` (option
/// `timeout`, 10 s by default, for everything together). Cancelled, the connection is closed.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    tls: TlsCache,
    dialed: Arc<Mutex<Vec<Weak<quinn::Endpoint>>>>,
}

impl Dialer {
    /// Moves every connection that was dialed here and is open to a new local socket, as after a change of network
    /// (RFC 9000 section 9). Answers how many. What was on its way is sent again.
    ///
    /// Errors: `Io` if there is no socket to move to; the others have moved.
    pub fn migrate(&self) -> Result<usize> {
        let open: Vec<_> = self.open().iter().filter_map(Weak::upgrade).collect();
        let mut outcome = Ok(open.len());
        for endpoint in open {
            let moved = endpoint.local_addr().and_then(socket::towards).and_then(|to| endpoint.rebind(to));
            if let Err(why) = moved {
                outcome = Err(Error::from(why).while_doing("move to another socket"));
            }
        }
        outcome
    }

    fn keep(&self, endpoint: &Arc<quinn::Endpoint>) {
        let mut open = self.open();
        open.retain(|endpoint| endpoint.strong_count() > 0);
        open.push(Arc::downgrade(endpoint));
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<Weak<quinn::Endpoint>>> {
        self.dialed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn link(&self, endpoint: &Endpoint) -> Result<Link> {
        let config = DialConfig::new(endpoint)?;
        let deadline = config.timeout;
        let late = || Error::new(ErrorKind::Timeout, format!("not connected within {deadline:?}"));
        timeout(deadline, self.connect(endpoint, &config)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn connect(&self, endpoint: &Endpoint, config: &DialConfig) -> Result<Link> {
        let host = endpoint.require_host()?;
        let mut client = ClientConfig::new(self.tls.get(&config.tls, ALPN)?);
        client.transport_config(config.path.transport(0)?);
        let name = config.tls.sni.clone().unwrap_or_else(|| host.to_owned());
        let (endpoint, connection) = socket::dial(host, endpoint.require_port()?, &name, &client).await?;
        let local = endpoint.local_addr()?;
        let endpoint = Arc::new(endpoint);
        self.keep(&endpoint);
        let facts = Facts::new("quic", &connection, local, &config.path, config.timeout);
        Session::dialed(Quic { connection, _endpoint: Some(endpoint) }, facts).await
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
