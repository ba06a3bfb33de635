//! What an `http://` or `https://` listen URL says, and to which of the protocols it says it.

use std::net::IpAddr;

use haul_core::{Endpoint, Error, ErrorKind, Limits, ListenerLimits, Options, Place, Result};
use haul_tls::ServerOptions;

/// Options of the gateway itself: what is served, and whether without TLS.
const OWN: [&str; 3] = ["plain", "sse", "wt"];

/// Those of the HTTP server; `idle` is among the bounds of connections.
const HTTP: [&str; 6] = ["head_deadline", "stall", "max_head", "max_headers", "max_body", "max_streams"];

/// Those of event streams.
const SSE: [&str; 5] = ["heartbeat", "retry", "resume", "replay", "max_post"];

/// Those of WebTransport, and of TLS there.
const WT: [&str; 2] = ["congestion", "streams"];
const WT_TLS: [&str; 5] = ["cert", "key", "client_ca", "allow_anonymous", "self_signed"];

/// The bound of connections, of which each protocol has as many as all together.
const MOST: &str = "max_connections";

/// What listens on one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebUrl {
    /// For the HTTP server, on TCP.
    pub(super) http: Endpoint,
    /// For event streams, unless they are off.
    pub(crate) sse: Option<Endpoint>,
    /// For WebTransport, on UDP, unless it is off.
    pub(super) wt: Option<Endpoint>,
    /// The bounds of each connection.
    pub(super) limits: Limits,
    /// Connections at once, over all protocols.
    pub(crate) max_connections: usize,
}

impl WebUrl {
    /// Errors: `Config`, also for HTTP without TLS where others than this machine can reach it.
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self> {
        let known = [&OWN[..], &HTTP, &SSE, &WT, &[MOST], &ServerOptions::KEYS, Limits::OPTIONS].concat();
        let options = endpoint.options(Place::Query, &known)?;
        let secure = endpoint.scheme() == "https";
        let plain = options.flag("plain")?;
        if !secure {
            check_plain(endpoint, &options, plain)?;
        } else if plain {
            return wrong("plain=true is for http://: this is https://");
        }
        if !matches!(endpoint.path(), "" | "/") {
            return wrong("it takes no path: clients say which one they want");
        }
        let limits = Limits::from_options(&options)?;
        let (tls, wt_tls) = if secure { (&ServerOptions::KEYS[..], &WT_TLS[..]) } else { Default::default() };
        let part = |scheme: &str, names: &[&[&'static str]]| -> Result<Endpoint> {
            let bare = Endpoint::parse(&format!("{scheme}://{}", place(endpoint)))?;
            let given = given(&options, &names.concat());
            Ok(given.into_iter().fold(bare, |part, (name, value)| part.with_option(name, value)))
        };
        let mut http = part(endpoint.scheme(), &[&HTTP, &[MOST, "idle"], tls])?;
        if options.text("max_body").is_none() {
            http = http.with_option("max_body", limits.max_packet.max(Limits::default().max_packet));
        }
        let sse = serves(&options, "sse")?;
        let wt = serves(&options, "wt")? && !plain;
        Ok(Self {
            http,
            sse: sse.then(|| part("sse", &[&SSE, &[MOST], Limits::OPTIONS])).transpose()?,
            // A client is told by hash which certificate to expect where it has none to check against.
            wt: wt.then(|| part("wt", &[&WT, &[MOST], Limits::OPTIONS, wt_tls])).transpose()?,
            limits,
            max_connections: options.get(MOST)?.unwrap_or(ListenerLimits::default().max_connections),
        })
    }
}

/// Errors: `Config` for HTTP without TLS where it is heard by others, and for options of TLS.
fn check_plain(endpoint: &Endpoint, options: &Options<'_>, plain: bool) -> Result<()> {
    if let Some((name, _)) = given(options, &ServerOptions::KEYS).first() {
        return wrong(format!("{name} is for https://: without TLS it means nothing"));
    }
    if plain && options.text("wt").is_some_and(|wt| wt != "off") {
        return wrong("with plain=true there is no WebTransport: leave wt out, or listen on https://");
    }
    let host = endpoint.host().unwrap_or_default();
    let local = host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    match local || plain {
        true => Ok(()),
        false => wrong(
            "HTTP without TLS on an address that others can reach: listen on https:// with cert=FILE&key=FILE, or add \
             plain=true where a proxy in front of it does TLS (then there is no WebTransport)",
        ),
    }
}

/// Whether `name` is served: `off` is all that can be said against it.
fn serves(options: &Options<'_>, name: &str) -> Result<bool> {
    match options.text(name) {
        None | Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => wrong(format!("{name}={other}: it can be on or off")),
    }
}

/// Those of `names` that are there, with their values.
fn given<'a>(options: &Options<'a>, names: &[&'static str]) -> Vec<(&'static str, &'a str)> {
    names.iter().filter_map(|name| Some((*name, options.text(name)?))).collect()
}

/// Host and port.
fn place(endpoint: &Endpoint) -> String {
    let host = endpoint.host().unwrap_or_default();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let usual = if endpoint.scheme() == "https" { 443 } else { 80 };
    format!("{host}:{}", endpoint.port().unwrap_or(usual))
}

fn wrong<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::Config, why.into()))
}
