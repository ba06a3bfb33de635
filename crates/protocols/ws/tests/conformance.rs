//! The suites of the kit, with and without the subprotocol, plain and over TLS.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use haul_kit::{Over, connection, dialer, listener};
use tokio::net::TcpStream;

fn ws(options: &str) -> Over {
    Over::new("ws://127.0.0.1:0", haul_ws::Dialer::default(), haul_ws::listen)
        .dialing(format!("ws://127.0.0.1:{{port}}/{options}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    connection::suite("haul-ws", ws("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_the_subprotocol() {
    connection::suite("haul-ws/plain", ws("#subprotocol=")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_tls() {
    let over =
        Over::new("wss://127.0.0.1:0?self_signed=localhost", haul_ws::Dialer::default(), haul_ws::listen);
    let over = over.dialing("wss://127.0.0.1:{port}/#insecure=true");
    connection::Suite::new("haul-ws", over).connections(100).run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners() {
    let half_open = |endpoint: haul_core::Endpoint| async move {
        let raw = TcpStream::connect(("127.0.0.1", endpoint.port().unwrap())).await.unwrap();
        Box::new(raw) as haul_kit::Raw
    };
    listener::Suite::new("haul-ws", ws("")).half_open(half_open).run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialers() {
    dialer::suite("haul-ws", ws("")).await;
}
