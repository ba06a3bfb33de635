//! What an endpoint says about a QUIC connection.

use std::sync::Arc;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Limits, ListenerLimits, Options, Place, Result};
use haul_tls::{ClientOptions, ServerOptions};
use quinn::congestion::{BbrConfig, ControllerFactory, CubicConfig, NewRenoConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};

/// A peer that is not heard of for this long is gone, unless the endpoint says otherwise.
const IDLE: Duration = Duration::from_secs(30);

/// Options of either end.
const OWN: [&str; 2] = ["congestion", "streams"];

/// The keys of [`ClientOptions`] and [`ServerOptions`] but for `alpn`: what is spoken is given.
const CLIENT_TLS: [&str; 7] = ["ca", "system_roots", "pin", "cert", "key", "sni", "insecure"];
const SERVER_TLS: [&str; 5] = ["cert", "key", "client_ca", "allow_anonymous", "self_signed"];

/// The congestion controllers.
const CONTROLLERS: [&str; 3] = ["cubic", "newreno", "bbr"];

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

/// What both ends set.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) congestion: &'static str,
    pub(crate) limits: Limits,
    streams: u32,
    idle: Duration,
    keep_alive: Option<Duration>,
}

impl DialConfig {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self> {
        let known = [&OWN[..], &["timeout"], &CLIENT_TLS, Limits::OPTIONS].concat();
        let options = endpoint.options(Place::Query, &known)?;
        let mut path = Path::from_options(&options)?;
        if options.text("idle").is_none() {
            // A connection without a word on it lasts: whoever dials keeps the path open, NATs on it included.
            path.keep_alive.get_or_insert(IDLE / 3);
        }
        Ok(Self {
            timeout: options.duration("timeout")?.unwrap_or(Duration::from_secs(10)),
            tls: ClientOptions::from_lookup(|key| options.text(key))?,
            path,
        })
    }
}

impl ListenConfig {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<(Self, ListenerLimits)> {
        let known = [&OWN[..], &SERVER_TLS, Limits::OPTIONS, ListenerLimits::OPTIONS].concat();
        let options = endpoint.options(Place::Query, &known)?;
        let tls = ServerOptions::from_lookup(|key| options.text(key))?;
        Ok((Self { tls, path: Path::from_options(&options)? }, ListenerLimits::from_options(&options)?))
    }
}

impl Path {
    fn from_options(options: &Options<'_>) -> Result<Self> {
        let mut limits = Limits::from_options(options)?;
        let asked = options.text("congestion").unwrap_or(CONTROLLERS[0]);
        let congestion = CONTROLLERS.into_iter().find(|known| *known == asked).ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                format!("congestion={asked}: it is one of {}", CONTROLLERS.join(", ")),
            )
        })?;
        Ok(Self {
            congestion,
            streams: options.get("streams")?.unwrap_or(256),
            // QUIC sees to both itself, once for all streams.
            idle: limits.idle_deadline.take().unwrap_or(IDLE),
            keep_alive: limits.ping_interval.take(),
            limits,
        })
    }

    /// quinn's form of it. Errors: `Config` for an idle deadline that QUIC cannot express.
    pub(crate) fn transport(&self) -> Result<Arc<TransportConfig>> {
        let controller: Arc<dyn ControllerFactory + Send + Sync> = match self.congestion {
            "newreno" => Arc::new(NewRenoConfig::default()),
            "bbr" => Arc::new(BbrConfig::default()),
            _ => Arc::new(CubicConfig::default()),
        };
        let idle = IdleTimeout::try_from(self.idle).map_err(|_| {
            Error::new(ErrorKind::Config, format!("idle={:?} is longer than QUIC can say", self.idle))
        })?;
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(Some(idle))
            .keep_alive_interval(self.keep_alive)
            .max_concurrent_bidi_streams(VarInt::from_u32(self.streams))
            .max_concurrent_uni_streams(VarInt::from_u32(self.streams))
            .congestion_controller_factory(controller);
        Ok(Arc::new(transport))
    }
}
