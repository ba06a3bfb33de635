//! `haul-heartbeat` over sockets whose peer stands still.

use std::time::Duration;

use haul_core::wire::PREFACE;
use haul_core::{Dial, Endpoint, ErrorKind, Packet, Status};
use haul_heartbeat::{HeartbeatLayer, HeartbeatOptions};
use haul_reconnect::{ReconnectLayer, ReconnectOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower_layer::Layer;

async fn soon<T>(what: &str, doing: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, doing).await.unwrap_or_else(|_| panic!("waited {limit:?} for {what}"))
}

/// Asks soon and waits a moment.
fn heartbeat() -> HeartbeatLayer {
    let (interval, timeout) = (Duration::from_millis(50), Duration::from_millis(100));
    HeartbeatLayer::new(HeartbeatOptions { interval, timeout, ..HeartbeatOptions::default() }).unwrap()
}

/// Shakes hands as haul does.
async fn greet(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().await.unwrap();
    socket.write_all(PREFACE).await.unwrap();
    socket.read_exact(&mut [0; 8]).await.unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stands_still_fails_the_connection_and_is_asked_on_the_wire() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&format!("tcp://{}", listener.local_addr().unwrap())).unwrap();
    let dialer = heartbeat().layer(haul_tcp::Dialer);
    let (mut socket, dialed) = tokio::join!(greet(&listener), soon("a dial", dialer.dial(endpoint)));
    let error = soon("the silence to end it", dialed.unwrap().recv()).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Timeout, Status::Transient), "{error}");
    let mut wire = Vec::new();
    soon("the end of the socket", socket.read_to_end(&mut wire)).await.unwrap();
    let asked = wire.windows(4).filter(|bytes| bytes == b"beat").count();
    assert_eq!(asked, 3, "{wire:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnect_above_dials_again_when_the_peer_stands_still() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&format!("tcp://{}", listener.local_addr().unwrap())).unwrap();
    let options = ReconnectOptions { base: Duration::from_millis(10), ..ReconnectOptions::default() };
    let layer = ReconnectLayer::new(options).unwrap();
    let dialer = layer.layer(heartbeat().layer(haul_tcp::Dialer));
    let (still, dialed) = tokio::join!(greet(&listener), soon("a dial", dialer.dial(endpoint)));
    let mut connection = dialed.unwrap();
    let again = tokio::spawn(async move {
        let mut socket = greet(&listener).await;
        // A packet of haul.v1: its length, no flags, three bytes.
        socket.write_all(&[0, 0, 0, 4, 0, b'n', b'e', b'w']).await.unwrap();
        (socket, listener)
    });
    assert_eq!(soon("the gap", connection.recv()).await.unwrap_err().kind(), ErrorKind::Gap);
    let packet = soon("a packet of the new link", connection.recv()).await.unwrap().unwrap();
    assert_eq!(packet, Packet::binary("new"));
    again.await.unwrap();
    drop(still);
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_haul_answer_over_tcp_and_websocket() {
    let tcp = haul_tcp::listen("tcp://127.0.0.1:0".parse().unwrap()).await.unwrap();
    let ws = haul_ws::listen("ws://127.0.0.1:0/".parse().unwrap()).await.unwrap();
    for (listener, dialer) in [
        (tcp, haul_core::Shared::new(haul_tcp::Dialer)),
        (ws, haul_core::Shared::new(haul_ws::Dialer::default())),
    ] {
        let (tell, monitors) = std::sync::mpsc::sync_channel(1);
        let layer = HeartbeatLayer::new(HeartbeatOptions {
            interval: Duration::from_millis(2),
            timeout: Duration::from_secs(20),
            ..HeartbeatOptions::default()
        });
        let layer = layer.unwrap().on_link(move |_, monitor| tell.send(monitor.clone()).unwrap());
        let dialer = layer.layer(dialer);
        let dial = dialer.dial(listener.local_endpoint().clone());
        let (dialed, accepted) = tokio::join!(soon("a dial", dial), listener.accept());
        let (connection, mut peer) = (dialed.unwrap(), accepted.unwrap().unwrap());
        let monitor = monitors.recv().unwrap();
        let answers = async {
            while monitor.stats().answered < 20 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        soon("twenty answers", answers).await;
        let stats = monitor.stats();
        assert!(stats.missed == 0 && stats.p50.is_some() && stats.p50 <= stats.p99, "{stats:?}");
        connection.send(Packet::text("between pings")).await.unwrap();
        let packet = soon("a packet", peer.recv()).await.unwrap().unwrap();
        assert_eq!(packet.as_text(), Some("between pings"));
    }
}
