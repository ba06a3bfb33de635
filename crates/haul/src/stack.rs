//! Connecting by URL, through the layers that make a dialer survive the network.

use std::fmt;
use std::future::IntoFuture;

#[cfg(feature = "adaptive")]
use haul_adaptive::AdaptiveOptions;
use haul_core::{AnySink, BoxFuture, Connection, Dial, Endpoint, Registry, Result, Shared};
#[cfg(feature = "heartbeat")]
use haul_heartbeat::HeartbeatOptions;
#[cfg(feature = "reconnect")]
use haul_reconnect::ReconnectOptions;
#[cfg(feature = "session")]
use haul_session::SessionOptions;
#[cfg(any(feature = "heartbeat", feature = "reconnect", feature = "session"))]
use tower_layer::Layer as _;

use crate::open;

/// Connects to `url`: `ws://host/path`, `tcp://host:9000`. Awaited, it dials; before, layers can be put around.
///
/// Errors: `Config` for a URL that is wrong, `Unsupported` for a scheme that is not compiled in, and the protocol's
/// own. Cancelled, it has not connected.
pub fn connect(url: &str) -> Connect {
    Connect { url: url.to_owned(), stack: Stack::default() }
}

/// A connection to be, made by [`connect`]: awaited it dials and answers a [`Connection`].
#[derive(Clone)]
#[must_use = "nothing is dialed until it is awaited"]
pub struct Connect {
    url: String,
    stack: Stack,
}

impl Connect {
    /// With all the layers of `stack`, in place of those given before.
    pub fn through(mut self, stack: Stack) -> Self {
        self.stack = stack;
        self
    }

    /// Another URL of the same server. They race: each starts a head start after the one before it.
    #[cfg(feature = "adaptive")]
    pub fn or(mut self, url: &str) -> Self {
        self.stack.or.push(url.to_owned());
        self
    }

    /// Races WebTransport, WebSocket and SSE at the URL, which is `wss://` or `ws://`; or, where [`or`](Self::or) names
    /// further ones, those URLs by these options.
    #[cfg(feature = "adaptive")]
    pub fn adaptive(mut self, options: AdaptiveOptions) -> Self {
        self.stack.adaptive = Some(options);
        self
    }

    /// Asks a silent peer whether it is there, and fails the link if not: for the layers around to dial again.
    #[cfg(feature = "heartbeat")]
    pub fn heartbeat(mut self, options: HeartbeatOptions) -> Self {
        self.stack.heartbeat = Some(options);
        self
    }

    /// Dials again after each cut, to any server, and says what may be missing.
    #[cfg(feature = "reconnect")]
    pub fn reconnect(mut self, options: ReconnectOptions) -> Self {
        self.stack.reconnect = Some(options);
        self
    }

    /// Opens a session: it survives cuts and changes of transport without losing or repeating a packet. The server must
    /// speak sessions, and all URLs must lead to the same one.
    #[cfg(feature = "session")]
    pub fn session(mut self, options: SessionOptions) -> Self {
        self.stack.session = Some(options);
        self
    }

    /// A sink that delivers to it: as [`deliver`](crate::deliver), through the layers.
    ///
    /// Errors: `Config` also where the URL is no connection's.
    pub async fn sink(self) -> Result<AnySink> {
        open::sink(&open::ALL, Endpoint::parse(&self.url)?, &self.stack).await
    }
}

impl IntoFuture for Connect {
    type Output = Result<Connection>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let endpoint = Endpoint::parse(&self.url)?;
            self.stack.dialer(&open::ALL, &endpoint)?.dial(endpoint).await
        })
    }
}

impl fmt::Debug for Connect {
    /// Shows the URL without its password, and none of the others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = Endpoint::parse(&self.url).map_or_else(|_| "(no URL)".to_owned(), |url| url.to_string());
        f.debug_struct("Connect").field("url", &url).finish_non_exhaustive()
    }
}

/// The layers between an application and what dials for it, in their one order: `session` or `reconnect` outside, then
/// `heartbeat`, then the race of URLs and transports. Only those that are compiled in are there.
///
/// In TOML: `connect = { session = {}, heartbeat = { interval = "5s" }, adaptive = {}, or = ["quic://host:9000"] }`.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "config", derive(serde::Deserialize), serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Stack {
    /// Further URLs of the same server: see [`Connect::or`]. At most 15.
    #[cfg(feature = "adaptive")]
    pub or: Vec<String>,
    /// See [`Connect::adaptive`].
    #[cfg(feature = "adaptive")]
    pub adaptive: Option<AdaptiveOptions>,
    /// See [`Connect::heartbeat`].
    #[cfg(feature = "heartbeat")]
    pub heartbeat: Option<HeartbeatOptions>,
    /// See [`Connect::reconnect`].
    #[cfg(feature = "reconnect")]
    pub reconnect: Option<ReconnectOptions>,
    /// See [`Connect::session`].
    #[cfg(feature = "session")]
    pub session: Option<SessionOptions>,
}

impl Stack {
    /// What dials `endpoint` by the protocols of `registry`, through these layers. What `adaptive` learns of the hosts is
    /// known to this dialer and its clones.
    ///
    /// Errors: `Config` for an option out of its range, a URL that is wrong, and for `reconnect` together with `session`;
    /// `Unsupported` for a scheme that the registry does not dial.
    pub fn dialer(&self, registry: &Registry, endpoint: &Endpoint) -> Result<Shared<Endpoint>> {
        #[cfg(all(feature = "reconnect", feature = "session"))]
        if self.reconnect.is_some() && self.session.is_some() {
            let message =
                format!("connect to {endpoint}: a session dials again by itself; leave out reconnect");
            return Err(haul_core::Error::new(haul_core::ErrorKind::Config, message));
        }
        let dialer = self.innermost(registry, endpoint)?;
        #[cfg(feature = "heartbeat")]
        let dialer = match &self.heartbeat {
            Some(options) => Shared::new(haul_heartbeat::HeartbeatLayer::new(options.clone())?.layer(dialer)),
            None => dialer,
        };
        #[cfg(feature = "reconnect")]
        let dialer = match &self.reconnect {
            Some(options) => Shared::new(haul_reconnect::ReconnectLayer::new(options.clone())?.layer(dialer)),
            None => dialer,
        };
        #[cfg(feature = "session")]
        let dialer = match &self.session {
            Some(options) => Shared::new(haul_session::SessionLayer::new(options.clone())?.layer(dialer)),
            None => dialer,
        };
        Ok(dialer)
    }

    /// The protocol, or the race of several.
    fn innermost(&self, registry: &Registry, endpoint: &Endpoint) -> Result<Shared<Endpoint>> {
        #[cfg(feature = "adaptive")]
        if self.adaptive.is_some() || !self.or.is_empty() {
            let options = self.adaptive.clone().unwrap_or_default();
            let race = match self.or.is_empty() {
                true => crate::realtime::at(registry, endpoint, options),
                false => crate::realtime::either(registry, endpoint, &self.or, options),
            };
            return race.map(Shared::new);
        }
        registry.dialer_of(endpoint)
    }
}
