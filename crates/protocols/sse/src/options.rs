//! What an endpoint says about an event stream.

use std::time::Duration;

use haul_core::wire::PROTOCOL;
use haul_core::{Endpoint, Error, ErrorKind, Limits, ListenerLimits, Options, Place, Result};
use haul_http::ClientConfig;
use haul_tls::{ClientOptions, ServerOptions};

use crate::event::{Bounds, check};

const DIAL: &[&str] =
    &["subprotocol", "event", "last_event_id", "reconnect", "timeout", "max_line", "max_event"];
const MOUNT: &[&str] = &["subprotocol", "heartbeat", "replay", "resume", "retry", "max_post"];
/// Those of the server that a listener has of its own, beside those of TLS.
const SERVER: &[&str] = &["stall"];

/// Those of haul-http's client that make sense here.
const CLIENT: &[&str] = &[
    "headers",
    "bearer",
    "version",
    "proxy",
    "connect_timeout",
    "dns_cache",
    "redirects",
    "max_head",
    "title_case",
];

/// Longer than any event stream: the silence of a peer is judged by `idle`.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

/// Bytes of frames in an event, before base64.
pub(crate) const CHUNK: usize = 48 << 10;

/// Bytes of frames in a POST.
pub(crate) const POST: usize = 256 << 10;

/// Around a payload: names, ids, line beginnings.
const SLACK: usize = 64 << 10;

/// How a dial goes.
#[derive(Clone, Debug)]
pub(crate) struct DialConfig {
    pub(crate) client: ClientConfig,
    /// Path and query.
    pub(crate) target: String,
    /// Whether haul's frames are asked for.
    pub(crate) haul: bool,
    /// The names of the events that are wanted; empty wants all.
    pub(crate) events: Vec<String>,
    pub(crate) last_event_id: String,
    /// How long a stream that was cut is asked for again.
    pub(crate) reconnect: Option<Duration>,
    pub(crate) timeout: Duration,
    pub(crate) bounds: Bounds,
    pub(crate) limits: Limits,
}

impl DialConfig {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self> {
        let known = [DIAL, CLIENT, &ClientOptions::KEYS, Limits::OPTIONS].concat();
        let options = endpoint.options(Place::Fragment, &known)?;
        let limits = Limits::from_options(&options)?;
        let last_event_id = options.text("last_event_id").unwrap_or_default();
        check("last_event_id", last_event_id)?;
        let client = ClientConfig {
            base_url: Some(base_url(endpoint)?),
            timeout: None,
            idle_timeout: FOREVER,
            max_requests: usize::MAX >> 4,
            max_requests_per_host: usize::MAX >> 4,
            decompress: false,
            // One stream would hold up the others of a connection that they share.
            version: options.get("version")?.unwrap_or(haul_http::Version::Http1),
            ..ClientConfig::from_options(&options)?
        };
        let max_event = options.bytes("max_event")?.unwrap_or(limits.max_packet.saturating_add(SLACK));
        Ok(Self {
            client,
            target: endpoint.path_and_query(),
            haul: options
                .text("subprotocol")
                .is_none_or(|names| names.split(',').any(|name| name == PROTOCOL)),
            events: names(options.text("event").unwrap_or_default()),
            last_event_id: last_event_id.to_owned(),
            reconnect: options.duration("reconnect")?,
            timeout: options.duration("timeout")?.unwrap_or(Duration::from_secs(10)),
            bounds: Bounds { line: options.bytes("max_line")?.unwrap_or(max_event), event: max_event },
            limits,
        })
    }
}

/// Scheme, user and host as haul-http wants them. Errors: `Config` if there is no host.
fn base_url(endpoint: &Endpoint) -> Result<String> {
    endpoint.require_host()?;
    let text = endpoint.as_str();
    let rest = &text[text.find("://").map_or(0, |at| at + 3)..];
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    Ok(format!("{}://{authority}", http_scheme(endpoint)?))
}

/// Errors: `Config` for another scheme than `sse` and `sses`.
fn http_scheme(endpoint: &Endpoint) -> Result<&'static str> {
    match endpoint.scheme() {
        "sse" => Ok("http"),
        "sses" => Ok("https"),
        other => {
            let why = format!("endpoint {endpoint}: scheme {other} is neither sse nor sses");
            Err(Error::new(ErrorKind::Config, why))
        }
    }
}

/// The names of a list separated by commas.
pub(crate) fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// How a listener goes.
#[derive(Clone, Debug)]
pub(crate) struct ListenConfig {
    /// The only path served; `None` serves any.
    pub(crate) path: Option<String>,
    /// Whether haul peers are given frames.
    pub(crate) haul: bool,
    /// A comment goes out after this long without an event.
    pub(crate) heartbeat: Duration,
    /// Bytes of events kept for clients that come back.
    pub(crate) replay: usize,
    /// How long a client may be away.
    pub(crate) resume: Duration,
    /// After how long clients are told to come back.
    pub(crate) retry: Duration,
    /// Bytes of a POST's body.
    pub(crate) max_post: usize,
    pub(crate) limits: Limits,
}

impl ListenConfig {
    /// What `endpoint` says for a server of the caller's, and the bounds of the listener.
    pub(crate) fn mounted(endpoint: &Endpoint) -> Result<(Self, ListenerLimits)> {
        http_scheme(endpoint)?;
        let known = [MOUNT, Limits::OPTIONS, ListenerLimits::OPTIONS].concat();
        let options = endpoint.options(Place::Query, &known)?;
        Ok((Self::from_options(endpoint, &options)?, ListenerLimits::from_options(&options)?))
    }

    /// What `endpoint` says, the bounds of the listener, and the endpoint that haul-http listens on.
    pub(crate) fn listening(endpoint: &Endpoint) -> Result<(Self, ListenerLimits, Endpoint)> {
        let known = [MOUNT, SERVER, &ServerOptions::KEYS, Limits::OPTIONS, ListenerLimits::OPTIONS].concat();
        let options = endpoint.options(Place::Query, &known)?;
        let (config, listener) =
            (Self::from_options(endpoint, &options)?, ListenerLimits::from_options(&options)?);
        let stall = options.duration("stall")?.unwrap_or(Duration::from_secs(300));
        let host = endpoint.host().unwrap_or_default();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let port = endpoint.port().map_or(String::new(), |port| format!(":{port}"));
        let mut under = Endpoint::parse(&format!("{}://{host}{port}", http_scheme(endpoint)?))?
            // A session has a socket for its events, one for its POSTs, and new ones while old ones end.
            .with_option("max_connections", listener.max_connections.saturating_mul(4).saturating_add(64))
            .with_option("head_deadline", micros(listener.handshake_deadline))
            .with_option("stall", micros(stall))
            .with_option("max_body", config.max_post);
        for key in ServerOptions::KEYS {
            if let Some(value) = options.text(key) {
                under = under.with_option(key, value);
            }
        }
        Ok((config, listener, under))
    }

    fn from_options(endpoint: &Endpoint, options: &Options<'_>) -> Result<Self> {
        let limits = Limits::from_options(options)?;
        let config = Self {
            path: Some(endpoint.path()).filter(|path| !matches!(*path, "" | "/")).map(str::to_owned),
            haul: options
                .text("subprotocol")
                .is_none_or(|names| names.split(',').any(|name| name == PROTOCOL)),
            heartbeat: options.duration("heartbeat")?.unwrap_or(Duration::from_secs(15)),
            replay: options.bytes("replay")?.unwrap_or(256 << 10),
            resume: options.duration("resume")?.unwrap_or(Duration::from_secs(30)),
            retry: options.duration("retry")?.unwrap_or(Duration::from_secs(1)),
            max_post: options.bytes("max_post")?.unwrap_or(limits.max_packet).max(POST),
            limits,
        };
        if config.heartbeat.is_zero() {
            return Err(Error::new(
                ErrorKind::Config,
                format!("endpoint {endpoint}: heartbeat must be more than 0"),
            ));
        }
        Ok(config)
    }
}

fn micros(time: Duration) -> String {
    format!("{}us", time.as_micros())
}
