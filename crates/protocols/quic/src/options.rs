//! What an endpoint says about a QUIC connection.

use std::time::Duration;

use haul_core::{Endpoint, Limits, ListenerLimits, Place, Result};
use haul_tls::{ClientOptions, ServerOptions};

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
}

impl ListenConfig {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<(Self, ListenerLimits)> {
        let known = [&Path::OPTIONS[..], &SERVER_OPTIONS, Limits::OPTIONS, ListenerLimits::OPTIONS].concat();
        let options = endpoint.options(Place::Query, &known)?;
        let tls = ServerOptions::from_lookup(|key| options.text(key))?;
        Ok((Self { tls, path: Path::from_options(&options)? }, ListenerLimits::from_options(&options)?))
    }
}
