//! What an endpoint says about the path: congestion control, streams, keep-alive.

use std::sync::Arc;
use std::time::Duration;

use haul_core::{Error, ErrorKind, Limits, Options, Result};
use quinn::congestion::{BbrConfig, ControllerFactory, CubicConfig, NewRenoConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};

/// A peer that is not heard of for this long is gone, unless the endpoint says otherwise.
const IDLE: Duration = Duration::from_secs(30);

/// Streams that the peer may have open at once. quinn keeps a place for each of them from the beginning: 256 cost 40 KiB
/// more for a connection.
const STREAMS: u32 = 100;

/// Bytes of datagrams that wait in quinn until they are sent. Its own default, 1 MiB, does not stay in a processor's cache.
const DATAGRAMS: usize = 128 << 10;

/// The congestion controllers.
const CONTROLLERS: [&str; 3] = ["cubic", "newreno", "bbr"];

/// What both ends set.
#[derive(Clone, Debug)]
pub struct Path {
    /// The congestion controller.
    pub congestion: &'static str,
    /// The bounds of every stream.
    pub limits: Limits,
    streams: u32,
    idle: Duration,
    idle_given: bool,
    keep_alive: Option<Duration>,
}

impl Path {
    /// The options that both ends read, beside those of `Limits`.
    pub const OPTIONS: [&'static str; 2] = ["congestion", "streams"];

    /// What `options` say, the rest as by default. Errors: `Config`.
    pub fn from_options(options: &Options<'_>) -> Result<Self> {
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
            streams: options.get("streams")?.unwrap_or(STREAMS),
            // QUIC sees to both itself, once for all streams.
            idle_given: limits.idle_deadline.is_some(),
            idle: limits.idle_deadline.take().unwrap_or(IDLE),
            keep_alive: limits.ping_interval.take(),
            limits,
        })
    }

    /// As whoever dials wants it: a connection without a word on it lasts, NATs on the way included, unless an idle
    /// deadline was asked for.
    #[must_use]
    pub fn kept_alive(mut self) -> Self {
        if !self.idle_given {
            self.keep_alive.get_or_insert(IDLE / 3);
        }
        self
    }

    /// quinn's form of it, with room for `own` streams of the protocol. Errors: `Config` for an idle deadline that QUIC cannot express.
    pub fn transport(&self, own: u32) -> Result<Arc<TransportConfig>> {
        let streams = VarInt::from_u32(self.streams.saturating_add(own));
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
            .max_concurrent_bidi_streams(streams)
            .max_concurrent_uni_streams(streams)
            .datagram_send_buffer_size(DATAGRAMS)
            .congestion_controller_factory(controller);
        Ok(Arc::new(transport))
    }
}
