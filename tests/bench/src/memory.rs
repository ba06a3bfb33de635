//! Resident memory of many connections.

use bytes::Bytes;
use haul_core::{Connection, Endpoint, Listener, Packet};

use crate::peers::haul;
use crate::work::load::runtime;

/// Opens connections with one echo on each: how many failed, and the KiB of resident memory per connection, both ends.
pub(crate) fn connections(url: &str, count: usize) -> [f64; 2] {
    runtime().block_on(async {
        let listener = haul::listen(url).await;
        let endpoint = listener.local_endpoint().clone();
        let server = tokio::spawn(serve_echo(listener));
        let before = resident_kib();
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.extend(echoed(endpoint.clone()).await);
        }
        let after = resident_kib();
        server.abort();
        [(count - connections.len()) as f64, (after - before) / connections.len() as f64]
    })
}

async fn echoed(endpoint: Endpoint) -> Option<Connection> {
    let payload = Bytes::from_static(&[7; 64]);
    let mut connection = haul::try_dial(endpoint).await?;
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
