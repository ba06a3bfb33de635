//! What an endpoint says about a QUIC connection.

use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Limits, ListenerLimits, Place, Result};
use haul_tls::{ClientOptions, ServerOptions};
use tokio::time::timeout;

use crate::raw::Path;
use crate::raw::tls::{CLIENT_OPTIONS, SERVER_OPTIONS};

/// How a dial goes.
#[derive(Clone, Debug)]
pub(crate) struct DialConfig {
    pub(crate) timeout: Duration,
    pub(crate) tls: ClientOptions,
    pub(crate) path: Path,
}

/// How a listener goes.
#[derive(Clone, Debug)]
pub(crate) struct ListenConfig {
    pub(crate) tls: ServerOptions,
    /// Take packets of a handshake that is not done.
    pub(crate) early_data: bool,
    pub(crate) path: Path,
}

impl DialConfig {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self> {
        let known = [&Path::OPTIONS[..], &["timeout"], &CLIENT_OPTIONS, Limits::OPTIONS].concat();
        let options = endpoint.options(Place::Query, &known)?;
        Ok(Self {
            timeout: options.duration("timeout")?.unwrap_or(Duration::from_secs(10)),
            tls: ClientOptions::from_lookup(|key| options.text(key))?,
            path: Path::from_options(&options)?.kept_alive(),
        })
    }

    /// `work`, within the time that a dial may take. Errors: `Timeout`.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let late = |_| Error::new(ErrorKind::Timeout, format!("not connected within {:?}", self.timeout));
        timeout(self.timeout, work).await.map_err(late)?
    }
}

impl ListenConfig {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<(Self, ListenerLimits)> {
        let own = &["early_data"][..];
        let known =
            [&Path::OPTIONS[..], own, &SERVER_OPTIONS, Limits::OPTIONS, ListenerLimits::OPTIONS].concat();
        let options = endpoint.options(Place::Query, &known)?;
        let tls = ServerOptions::from_lookup(|key| options.text(key))?;
        let early_data = options.flag("early_data")?;
        if early_data && tls.client_ca.is_some() {
            let why = "early_data comes before the client's certificate: leave it out, or `client_ca`";
            return Err(Error::new(ErrorKind::Config, why));
        }
        let path = Path::from_options(&options)?;
        Ok((Self { tls, early_data, path }, ListenerLimits::from_options(&options)?))
    }
}
