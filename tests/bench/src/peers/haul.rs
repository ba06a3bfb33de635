//! haul.

use bytes::Bytes;
use haul_core::{Connection, Dial, Endpoint, Listener, Packet, Shared};
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

/// A connection on which unreliable packets are sent.
pub(crate) struct Datagrams(Connection);

/// Both ends, for datagrams.
pub(crate) async fn datagrams(url: &str) -> (Datagrams, Datagrams) {
    let (client, server) = pair(url).await;
    (Datagrams(client), Datagrams(server))
}

impl End for Datagrams {
    async fn send(&mut self, payload: Bytes) -> Option<()> {
        self.0.send(Packet::binary(payload).unreliable()).await.ok()
    }

    async fn send_all(&mut self, payload: Bytes, count: usize) -> Option<()> {
        self.0.send_all((0..count).map(|_| Packet::binary(payload.clone()).unreliable())).await.ok()
    }

    async fn recv_ready(&mut self, most: usize) -> Option<usize> {
        self.0.recv_ready(most).await
    }

    async fn recv(&mut self) -> Option<usize> {
        End::recv(&mut self.0).await
    }
}

/// Listens with haul on a free port of loopback.
pub(crate) async fn listen(url: &str) -> Listener {
    let endpoint = Endpoint::parse(url).expect("the bench's url");
    let listening = match endpoint.scheme() {
        "ws" => haul_ws::listen(endpoint).await,
        "quic" => haul_quic::listen(endpoint).await,
        "wt" => haul_wt::listen(endpoint).await,
        _ => haul_tcp::listen(endpoint).await,
    };
    listening.expect("loopback has free ports")
}

/// What dials this scheme.
pub(crate) fn dialer(scheme: &str) -> Shared<Endpoint> {
    match scheme {
        "ws" => Shared::new(haul_ws::Dialer::default()),
        "quic" => Shared::new(haul_quic::Dialer::default()),
        "wt" => Shared::new(haul_wt::Dialer::default()),
        _ => Shared::new(haul_tcp::Dialer),
    }
}

/// Dials with haul; `None` when that failed.
pub(crate) async fn try_dial(endpoint: Endpoint) -> Option<Connection> {
    dialer(endpoint.scheme()).dial(endpoint).await.ok()
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
