//! Every transport that carries sessions: where it listens, and how it is dialed through a relay.

use std::net::SocketAddr;
use std::time::Duration;

use haul_core::{Connection, Endpoint, Listener, Registry, Shared, service_fn};
use haul_session::{Acceptor, AcceptorOptions, Mover, Session, SessionLayer, SessionOptions};
use tower_layer::Layer as _;

use crate::soon;

/// A transport by its scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Ws,
    Sse,
    /// WebSocket and event streams inside TLS, which notices changed bytes.
    Wss,
    Sses,
    Quic,
    Wt,
}

impl Transport {
    pub(crate) const OVER_TCP: [Self; 3] = [Self::Tcp, Self::Ws, Self::Sse];
    pub(crate) const OVER_TLS: [Self; 2] = [Self::Wss, Self::Sses];
    pub(crate) const OVER_UDP: [Self; 2] = [Self::Quic, Self::Wt];

    pub(crate) async fn listen(self) -> Listener {
        let url = match self {
            Self::Tcp => "tcp://127.0.0.1:0",
            Self::Ws => "ws://127.0.0.1:0/",
            Self::Sse => "sse://127.0.0.1:0/",
            Self::Wss => "wss://127.0.0.1:0/?self_signed=localhost",
            Self::Sses => "sses://127.0.0.1:0/?self_signed=localhost",
            Self::Quic => "quic://127.0.0.1:0",
            Self::Wt => "wt://127.0.0.1:0/",
        };
        registry().listen(url.parse().unwrap()).await.unwrap()
    }

    /// How it is dialed at `place`. Where it can be told to, it takes a peer that is silent for a second for gone.
    pub(crate) fn at(self, place: SocketAddr) -> Endpoint {
        let alive = "idle=1s&ping=200ms";
        let url = match self {
            Self::Tcp => format!("tcp://{place}?{alive}"),
            Self::Ws => format!("ws://{place}/#{alive}"),
            Self::Sse => format!("sse://{place}/#{alive}"),
            Self::Wss => format!("wss://{place}/#insecure&{alive}"),
            Self::Sses => format!("sses://{place}/#insecure&{alive}"),
            Self::Quic => format!("quic://{place}?insecure&{alive}"),
            Self::Wt => format!("wt://{place}/#insecure&{alive}"),
        };
        url.parse().unwrap()
    }

    /// The same for what must outlast a busy machine: a peer may be silent for as long as it is by default.
    pub(crate) fn at_ease(self, place: SocketAddr) -> Endpoint {
        let scheme = self.at(place).scheme().to_owned();
        dialed_at(&scheme, place)
    }
}

pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    haul_tcp::register(&mut registry);
    haul_ws::register(&mut registry);
    haul_sse::register(&mut registry);
    haul_quic::register(&mut registry);
    haul_wt::register(&mut registry);
    registry
}

/// A scheme's endpoint at `place`, whatever certificate it shows.
pub(crate) fn dialed_at(scheme: &str, place: SocketAddr) -> Endpoint {
    let url = match scheme {
        "tcp" => format!("tcp://{place}"),
        "quic" => format!("quic://{place}?insecure"),
        "wt" => format!("wt://{place}/#insecure"),
        scheme => format!("{scheme}://{place}/"),
    };
    url.parse().unwrap()
}

/// Dials them all.
pub(crate) fn any() -> Shared<Endpoint> {
    let registry = std::sync::Arc::new(registry());
    Shared::new(service_fn(move |endpoint: Endpoint| {
        let registry = registry.clone();
        async move { registry.connect(endpoint).await }
    }))
}

/// Keeps little, so that what is lost must be sent again soon, and comes back soon.
pub(crate) fn sessions() -> Session {
    sessions_over(any())
}

pub(crate) fn sessions_over(dialer: Shared<Endpoint>) -> Session {
    let options = SessionOptions {
        base: Duration::from_millis(1),
        cap: Duration::from_millis(50),
        connect_timeout: Duration::from_secs(5),
        replay_bytes: 64 << 10,
        ..SessionOptions::default()
    };
    SessionLayer::new(options).unwrap().layer(dialer)
}

/// A server of sessions.
pub(crate) struct Server {
    pub(crate) listener: Listener,
    places: Vec<SocketAddr>,
}

impl Server {
    pub(crate) async fn on(transports: &[Transport]) -> Self {
        Self::keeping(AcceptorOptions { replay_bytes: 64 << 10, ..AcceptorOptions::default() }, transports)
            .await
    }

    pub(crate) async fn keeping(options: AcceptorOptions, transports: &[Transport]) -> Self {
        let mut listeners = Vec::new();
        for transport in transports {
            listeners.push(transport.listen().await);
        }
        let places = listeners.iter().map(place).collect();
        let listener = Acceptor::new(options).unwrap().listen(listeners).unwrap();
        Self { listener, places }
    }

    /// Where the transport listens that was named at this place of the list.
    pub(crate) fn place(&self, transport: usize) -> SocketAddr {
        self.places[transport]
    }

    /// A session of `dialer` at `endpoint`, both ends.
    pub(crate) async fn open(&self, dialer: &Session, endpoint: Endpoint) -> (Connection, Mover, Connection) {
        let both = async { tokio::join!(dialer.open(endpoint), self.listener.accept()) };
        let (dialed, accepted) = soon("a session", both).await;
        let (client, mover) = dialed.unwrap();
        (client, mover, accepted.unwrap().unwrap())
    }
}

/// Where a listener on loopback is.
pub(crate) fn place(listener: &Listener) -> SocketAddr {
    ([127, 0, 0, 1], listener.local_endpoint().port().unwrap()).into()
}
