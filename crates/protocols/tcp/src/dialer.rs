//! Dialing.

use haul_core::{Connection, Endpoint, Error, ErrorKind, Link, Result, Sent, Service};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::options::StreamConfig;
use crate::{link, socket, spawn};

/// Dials `tcp://host:port` and `unix:///path`.
///
/// Errors: `Config`, `Connect`, `Timeout` (option `timeout`, 10 s by default, for connecting and prefaces together),
/// `Protocol` if the peer does not speak haul. Cancelled, the socket is closed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dialer;

impl Service<Endpoint> for Dialer {
    async fn call(&self, endpoint: Endpoint) -> Result<Connection> {
        let dialed = async {
            let (config, deadline) = StreamConfig::dial(&endpoint)?;
            let late = || Error::new(ErrorKind::Timeout, format!("not connected within {deadline:?}"));
            timeout(deadline, dial(&endpoint, &config)).await.unwrap_or_else(|_| Err(late()))
        };
        let link = dialed.await.map_err(|why: Error| {
            // Nothing of the application's was sent yet.
            why.with_sent(Sent::No).while_doing(format!("dial {endpoint}"))
        })?;
        Ok(Connection::new(link, spawn))
    }
}

async fn dial(endpoint: &Endpoint, config: &StreamConfig) -> Result<Link> {
    if endpoint.scheme() == "unix" {
        let socket = UnixStream::connect(endpoint.path()).await.map_err(socket::refused)?;
        return link::unix(socket, endpoint.path(), config).await;
    }
    let socket = socket::connect(endpoint.require_host()?, endpoint.require_port()?).await?;
    link::tcp(socket, config).await
}
