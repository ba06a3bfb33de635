//! What an endpoint says about a WebTransport session.

use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Limits, ListenerLimits, Place, Result};
use haul_quic::raw::Path;
use haul_quic::raw::tls::{CLIENT_OPTIONS, SERVER_OPTIONS};
use haul_tls::{ClientOptions, ServerOptions};

/// How a dial goes.
#[derive(Clone, Debug)]
pub(crate) struct DialConfig {
    pub(crate) timeout: Duration,
    pub(crate) tls: ClientOptions,
    pub(crate) path: Path,
    pub(crate) headers: Vec<(String, String)>,
}

/// How a listener goes.
#[derive(Clone, Debug)]
pub(crate) struct ListenConfig {
    pub(crate) tls: ServerOptions,
    pub(crate) path: Path,
    /// The one path that is served; `None` serves any.
    pub(crate) serves: Option<String>,
}

impl DialConfig {
    /// The query is the server's: options stand in the fragment.
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self> {
        let known = [&Path::OPTIONS[..], &["timeout", "headers"], &CLIENT_OPTIONS, Limits::OPTIONS].concat();
        let options = endpoint.options(Place::Fragment, &known)?;
        let headers = options.text("headers").unwrap_or_default();
        Ok(Self {
            timeout: options.duration("timeout")?.unwrap_or(Duration::from_secs(10)),
            tls: ClientOptions::from_lookup(|key| options.text(key))?,
            path: Path::from_options(&options)?.kept_alive(),
            headers: headers.split(';').filter(|pair| !pair.is_empty()).map(header).collect::<Result<_>>()?,
        })
    }
}

impl ListenConfig {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<(Self, ListenerLimits)> {
        let known = [&Path::OPTIONS[..], &SERVER_OPTIONS, Limits::OPTIONS, ListenerLimits::OPTIONS].concat();
        let options = endpoint.options(Place::Query, &known)?;
        let serves = Some(endpoint.path()).filter(|path| !matches!(*path, "" | "/")).map(str::to_owned);
        let tls = ServerOptions::from_lookup(|key| options.text(key))?;
        let config = Self { tls, path: Path::from_options(&options)?, serves };
        Ok((config, ListenerLimits::from_options(&options)?))
    }
}

/// `name:value`, as HTTP/3 carries it: names in lower case.
fn header(pair: &str) -> Result<(String, String)> {
    let wrong = || Error::new(ErrorKind::Config, format!("header {pair:?}: it looks like name:value"));
    let (name, value) = pair.split_once(':').ok_or_else(wrong)?;
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let visible = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    if name.is_empty() || !name.bytes().all(token) || !value.bytes().all(visible) {
        return Err(wrong());
    }
    Ok((name, value.to_owned()))
}
