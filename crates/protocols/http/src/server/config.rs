//! What an endpoint says about a server.

use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, ListenerLimits, Place, Result};
use haul_tls::ServerOptions;

const OWN: &[&str] = &[
    "max_connections",
    "head_deadline",
    "idle",
    "stall",
    "max_head",
    "max_headers",
    "max_body",
    "max_streams",
];

/// How a server goes.
#[derive(Clone, Debug)]
pub(super) struct ServerConfig {
    pub(super) tls: ServerOptions,
    /// Connections at once; one more is refused with 503.
    pub(super) max_connections: usize,
    pub(super) limits: Limits,
}

/// The bounds of one connection.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// TLS and the head of the first request together; of a later one, from its first byte on.
    pub(super) head: Duration,
    /// Without a request under way.
    pub(super) idle: Duration,
    /// A request's body that does not come, a response that is not read.
    pub(super) stall: Duration,
    pub(super) max_head: usize,
    pub(super) max_headers: usize,
    pub(super) max_body: usize,
    pub(super) max_streams: u32,
}

impl ServerConfig {
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self> {
        let options = endpoint.options(Place::Query, &[OWN, &ServerOptions::KEYS].concat())?;
        let mut tls = ServerOptions::from_lookup(|key| options.text(key))?;
        tls.alpn.get_or_insert_with(|| "h2,http/1.1".to_owned());
        let max_connections = options.get("max_connections")?;
        let limits = Limits {
            head: options.duration("head_deadline")?.unwrap_or(Duration::from_secs(10)),
            idle: options.duration("idle")?.unwrap_or(Duration::from_secs(60)),
            stall: options.duration("stall")?.unwrap_or(Duration::from_secs(30)),
            max_head: options.bytes("max_head")?.unwrap_or(64 << 10),
            max_headers: options.get("max_headers")?.unwrap_or(100),
            max_body: options.bytes("max_body")?.unwrap_or(16 << 20),
            max_streams: options.get("max_streams")?.unwrap_or(128),
        };
        let wrong = |why: &str| Err(Error::new(ErrorKind::Config, format!("endpoint {endpoint}: {why}")));
        match limits {
            Limits { max_head: ..8192, .. } => wrong("max_head must be at least 8 KiB"),
            Limits { max_headers: 0, .. } => wrong("max_headers must be more than 0"),
            Limits { max_streams: 0, .. } => wrong("max_streams must be more than 0"),
            _ => Ok(Self {
                tls,
                max_connections: max_connections.unwrap_or(ListenerLimits::default().max_connections),
                limits,
            }),
        }
    }
}
