//! haul.

use bytes::Bytes;
use haul_core::{Connection, Dial, Endpoint, Listener, Packet};
use haul_session::{Acceptor, AcceptorOptions, SessionLayer, SessionOptions};
use tower::Layer;

use super::End;

impl End for Connection {
    async fn send(&mut self, payload: Bytes) -> Option<()> {
        Connection::send(self, Packet::binary(payload)).await.ok()
    }

    async fn send_all(&mut self, payload: Bytes, count: usize) -> Option<()> {
        Connection::send_all(self, (0..count).map(|_| Packet::binary(payload.clone()))).await.ok()
    }

    async fn recv_ready(&mut self, most: usize) -> Option<usize> {
        let mut packets = Vec::with_capacity(most);
        Connection::recv_many(self, &mut packets, most).await.ok().filter(|count| *count > 0)
    }

    async fn recv(&mut self) -> Option<usize> {
        Some(Connection::recv(self).await.ok()??.len())
    }
}

/// Listens with haul on a free port of loopback.
pub(crate) async fn listen(url: &str) -> Listener {
    let endpoint = Endpoint::parse(url).expect("the bench's url");
    let listening = match endpoint.scheme() {
        "ws" => haul_ws::listen(endpoint).await,
        "quic" => haul_quic::listen(endpoint).await,
        _ => haul_tcp::listen(endpoint).await,
    };
    listening.expect("loopback has free ports")
}

/// Dials with haul; `None` when that failed.
pub(crate) async fn try_dial(endpoint: Endpoint) -> Option<Connection> {
    let dialed = match endpoint.scheme() {
        "ws" => haul_ws::Dialer::default().dial(endpoint).await,
        "quic" => haul_quic::Dialer::default().dial(endpoint).await,
        _ => haul_tcp::Dialer.dial(endpoint).await,
    };
    dialed.ok()
}

/// Both ends of a session over `url`.
pub(crate) async fn session(url: &str) -> (Connection, Connection) {
    let acceptor = Acceptor::new(AcceptorOptions::default()).expect("the defaults are sound");
    let link = listen(url).await;
    let endpoint = link.local_endpoint().clone();
    let listener = acceptor.listen(vec![link]).expect("one listener");
    let layer = SessionLayer::new(SessionOptions::default()).expect("the defaults are sound");
    let client = layer.layer(haul_ws::Dialer::default()).dial(endpoint).await.expect("it listens");
    let server = listener.accept().await.expect("it listens").expect("it listens");
    (client, server)
}

/// Both ends of a haul connection.
pub(crate) async fn pair(url: &str) -> (Connection, Connection) {
    let listener = listen(url).await;
    let client = try_dial(listener.local_endpoint().clone()).await.expect("it listens");
    let server = listener.accept().await.expect("it listens").expect("it listens");
    (client, server)
}
