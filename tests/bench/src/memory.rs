//! Resident memory of many connections.

use bytes::Bytes;
use haul_core::{Connection, Dial, Endpoint, Listener, Packet, Shared};

use crate::peers::{End, haul, quinn, wtransport};
use crate::work::load::runtime;

/// Opens connections with one echo on each: how many failed, and the KiB of resident memory per connection, both ends.
/// With haul for a URL, otherwise with the peer of that name.
pub(crate) fn connections(of: &str, count: usize) -> [f64; 2] {
    runtime().block_on(async {
        match of {
            "quinn" => {
                let peers = quinn::Peers::new();
                raw(count, async || peers.stream().await).await
            }
            "wtransport" => {
                let peers = wtransport::Peers::new();
                raw(count, async || peers.stream().await).await
            }
            url => ours(url, count).await,
        }
    })
}

async fn ours(url: &str, count: usize) -> [f64; 2] {
    let listener = haul::listen(url).await;
    let endpoint = listener.local_endpoint().clone();
    let server = tokio::spawn(serve_echo(listener));
    let dialer = haul::dialer(endpoint.scheme());
    let before = resident_kib();
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.extend(echoed(&dialer, endpoint.clone()).await);
    }
    let after = resident_kib();
    server.abort();
    [(count - connections.len()) as f64, (after - before) / connections.len() as f64]
}

async fn raw<E: End>(count: usize, pair: impl AsyncFn() -> (E, E)) -> [f64; 2] {
    let payload = Bytes::from_static(&[7; 64]);
    let before = resident_kib();
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let (mut client, mut server) = pair().await;
        let payload = payload.clone();
        client.send(payload.clone()).await;
        tokio::spawn(async move {
            while server.recv().await.is_some() && server.send(payload.clone()).await.is_some() {}
        });
        client.recv().await.expect("the echo");
        connections.push(client);
    }
    [0.0, (resident_kib() - before) / count as f64]
}

async fn echoed(dialer: &Shared<Endpoint>, endpoint: Endpoint) -> Option<Connection> {
    let payload = Bytes::from_static(&[7; 64]);
    let mut connection = dialer.dial(endpoint).await.ok()?;
    connection.send(Packet::binary(payload.clone())).await.ok()?;
    let packet = connection.recv().await.ok()??;
    (packet.payload() == &payload).then_some(connection)
}

/// Sends back what comes, on every connection.
pub(crate) async fn serve_echo(listener: Listener) {
    while let Ok(Some(mut connection)) = listener.accept().await {
        tokio::spawn(async move {
            while let Ok(Some(packet)) = connection.recv().await
                && connection.send(packet).await.is_ok()
            {}
        });
    }
}

/// Resident memory of this process.
pub(crate) fn resident_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel says so");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of kB")
}
