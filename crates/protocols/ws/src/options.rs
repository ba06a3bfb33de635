//! What an endpoint says about a WebSocket.

use std::time::Duration;

use haul_core::wire::PROTOCOL;
use haul_core::{Endpoint, Error, ErrorKind, Limits, ListenerLimits, Place, Result};
use haul_tls::{ClientOptions, ServerOptions};

use crate::handshake::server::Terms;

const DIAL: &[&str] = &["subprotocol", "headers", "nodelay", "timeout", "proxy"];
const LISTEN: &[&str] = &["subprotocol", "nodelay"];

/// How a dial goes.
#[derive(Clone, Debug)]
pub(crate) struct DialConfig {
    pub(crate) subprotocols: Vec<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) nodelay: bool,
    pub(crate) timeout: Duration,
    /// `Some("")` forbids one, `None` asks the environment.
    pub(crate) proxy: Option<String>,
    pub(crate) tls: ClientOptions,
    pub(crate) limits: Limits,
}

impl DialConfig {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self> {
        let known = [DIAL, &ClientOptions::KEYS, Limits::OPTIONS].concat();
        let options = endpoint.options(Place::Fragment, &known)?;
        let headers = options.text("headers").unwrap_or_default();
        Ok(Self {
            subprotocols: names(options.text("subprotocol").unwrap_or(PROTOCOL)),
            headers: headers.split(';').filter(|pair| !pair.is_empty()).map(header).collect::<Result<_>>()?,
            nodelay: options.get("nodelay")?.unwrap_or(true),
            timeout: options.duration("timeout")?.unwrap_or(Duration::from_secs(10)),
            proxy: options.text("proxy").map(str::to_owned),
            tls: ClientOptions::from_lookup(|key| options.text(key))?,
            limits: Limits::from_options(&options)?,
        })
    }
}

/// How a listener goes.
#[derive(Clone, Debug)]
pub(crate) struct ListenConfig {
    pub(crate) terms: Terms,
    pub(crate) nodelay: bool,
    pub(crate) tls: ServerOptions,
    pub(crate) limits: Limits,
}

impl ListenConfig {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<(Self, ListenerLimits)> {
        let known = [LISTEN, &ServerOptions::KEYS, Limits::OPTIONS, ListenerLimits::OPTIONS].concat();
        let options = endpoint.options(Place::Query, &known)?;
        let subprotocol = options.text("subprotocol");
        let terms = Terms {
            path: Some(endpoint.path()).filter(|path| !matches!(*path, "" | "/")).map(str::to_owned),
            subprotocols: names(subprotocol.unwrap_or(PROTOCOL)),
            strict: subprotocol.is_some_and(|names| !names.is_empty()),
        };
        let config = Self {
            terms,
            nodelay: options.get("nodelay")?.unwrap_or(true),
            tls: ServerOptions::from_lookup(|key| options.text(key))?,
            limits: Limits::from_options(&options)?,
        };
        Ok((config, ListenerLimits::from_options(&options)?))
    }
}

fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// `Name:value`, fit to stand in an HTTP head.
pub(crate) fn header(pair: &str) -> Result<(String, String)> {
    let wrong = || Error::new(ErrorKind::Config, format!("header {pair:?}: it looks like Name:value"));
    let (name, value) = pair.split_once(':').ok_or_else(wrong)?;
    checked(name.trim(), value.trim()).ok_or_else(wrong)
}

/// A header whose name and value may stand in a head (RFC 9110 section 5.1 and 5.5).
pub(crate) fn checked(name: &str, value: &str) -> Option<(String, String)> {
    http::HeaderName::try_from(name).ok()?;
    http::HeaderValue::try_from(value).ok()?;
    Some((name.to_owned(), value.to_owned()))
}
