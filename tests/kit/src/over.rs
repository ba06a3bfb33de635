//! Where connections come from: pairs, and protocols with a dialer and a listener.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use haul_core::{
    BoxFuture, Connection, Dial, Endpoint, Limits, Listener, ListenerLimits, Result, Service, Shared,
};

use crate::soon;

/// Makes connected pairs with given bounds; the second is the accepted end.
#[derive(Clone)]
pub struct Pairs(Arc<dyn Fn(Limits) -> BoxFuture<'static, (Connection, Connection)> + Send + Sync>);

impl Pairs {
    /// Pairs that `make` makes; both ends must have the bounds that it is given.
    pub fn new<F, Fut>(make: F) -> Self
    where
        F: Fn(Limits) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = (Connection, Connection)> + Send + 'static,
    {
        Self(Arc::new(move |limits| Box::pin(make(limits))))
    }

    pub(crate) async fn make(&self, limits: Limits) -> (Connection, Connection) {
        soon("a connected pair", (self.0)(limits)).await
    }
}

impl From<Over> for Pairs {
    fn from(over: Over) -> Self {
        Self::new(move |limits| {
            let over = over.clone();
            async move {
                let (listener, endpoint) = over.listening(&limits, &ListenerLimits::default()).await;
                let (dialed, accepted) = tokio::join!(over.dial(endpoint), listener.accept());
                let accepted = accepted.expect("the listener accepts");
                (dialed.expect("the dialer dials"), accepted.expect("the listener is not shut down"))
            }
        })
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pairs")
    }
}

type Listen = Arc<dyn Fn(Endpoint) -> BoxFuture<'static, Result<Listener>> + Send + Sync>;

/// What a half-open hook answers, held while the listener must cut it.
pub type Raw = Box<dyn Any + Send>;

/// A protocol: what it listens on, who dials and who listens.
#[derive(Clone)]
pub struct Over {
    listen_on: String,
    dial_to: Option<String>,
    dialer: Shared<Endpoint>,
    listen: Listen,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

impl Over {
    /// `endpoint` is listened on, each time with another number for `{n}`, and dialed with the port that was given.
    pub fn new<F, Fut>(endpoint: impl Into<String>, dialer: impl Service<Endpoint>, listen: F) -> Self
    where
        F: Fn(Endpoint) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Listener>> + Send + 'static,
    {
        Self {
            listen_on: endpoint.into(),
            dial_to: None,
            dialer: Shared::new(dialer),
            listen: Arc::new(move |endpoint| Box::pin(listen(endpoint))),
        }
    }

    /// Dials `endpoint` instead, with the listener's port for `{port}`.
    #[must_use]
    pub fn dialing(mut self, endpoint: impl Into<String>) -> Self {
        self.dial_to = Some(endpoint.into());
        self
    }

    /// An endpoint to listen on, not used before, with these bounds as options.
    pub(crate) fn fresh(&self, limits: &Limits, listener: &ListenerLimits) -> Endpoint {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let endpoint = parse(&self.listen_on.replace("{n}", &number.to_string()));
        with_listener_limits(with_limits(endpoint, limits), listener)
    }

    /// Listens, and answers what to dial.
    pub(crate) async fn listening(&self, limits: &Limits, listener: &ListenerLimits) -> (Listener, Endpoint) {
        let endpoint = self.fresh(limits, listener);
        let plain = parse(endpoint.as_str());
        let listener = soon("the listener", self.listen(endpoint)).await.expect("it listens");
        let dial = self.dialed(plain, listener.local_endpoint().port());
        (listener, with_limits(dial, limits))
    }

    /// What is dialed where `endpoint` is listened on and was given this port.
    pub(crate) fn dialed(&self, endpoint: Endpoint, port: Option<u16>) -> Endpoint {
        match (&self.dial_to, port) {
            (Some(to), port) => parse(&to.replace("{port}", &port.unwrap_or(0).to_string())),
            (None, Some(port)) => endpoint.with_port(port).expect("a port fits the endpoint"),
            (None, None) => endpoint,
        }
    }

    pub(crate) async fn listen(&self, endpoint: Endpoint) -> Result<Listener> {
        (self.listen)(endpoint).await
    }

    pub(crate) async fn dial(&self, endpoint: Endpoint) -> Result<Connection> {
        self.dialer.dial(endpoint).await
    }
}

impl fmt::Debug for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Over").field(&self.listen_on).finish()
    }
}

fn parse(text: &str) -> Endpoint {
    text.parse().expect("the suite was given an endpoint")
}

/// Sets as options what differs from the default.
fn with_limits(mut endpoint: Endpoint, limits: &Limits) -> Endpoint {
    let default = Limits::default();
    let sizes = [
        ("max_packet", limits.max_packet, default.max_packet),
        ("send_buffer", limits.send_buffer, default.send_buffer),
        ("send_packets", limits.send_packets, default.send_packets),
        ("read_ahead", limits.read_ahead, default.read_ahead),
    ];
    for (name, size, usual) in sizes {
        if size != usual {
            endpoint = endpoint.with_option(name, size);
        }
    }
    let times = [
        ("close_deadline", Some(limits.close_deadline), Some(default.close_deadline)),
        ("idle", limits.idle_deadline, default.idle_deadline),
        ("ping", limits.ping_interval, default.ping_interval),
    ];
    for (name, time, usual) in times {
        if let Some(time) = time.filter(|_| time != usual) {
            endpoint = endpoint.with_option(name, format_args!("{}us", time.as_micros()));
        }
    }
    endpoint
}

fn with_listener_limits(mut endpoint: Endpoint, limits: &ListenerLimits) -> Endpoint {
    let default = ListenerLimits::default();
    if limits.max_connections != default.max_connections {
        endpoint = endpoint.with_option("max_connections", limits.max_connections);
    }
    if limits.handshake_deadline != default.handshake_deadline {
        let time = limits.handshake_deadline.as_micros();
        endpoint = endpoint.with_option("handshake", format_args!("{time}us"));
    }
    if limits.backlog != default.backlog {
        endpoint = endpoint.with_option("backlog", limits.backlog);
    }
    endpoint
}
