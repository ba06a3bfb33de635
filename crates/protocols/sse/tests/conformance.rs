//! The suites of the kit, plain and over TLS.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use haul_kit::{Over, connection, dialer, listener};

fn sse() -> Over {
    Over::new("sse://127.0.0.1:0/live", haul_sse::Dialer::default(), haul_sse::listen)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    connection::suite("haul-sse", sse()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_tls() {
    let over =
        Over::new("sses://127.0.0.1:0?self_signed=localhost", haul_sse::Dialer::default(), haul_sse::listen);
    let over = over.dialing("sses://127.0.0.1:{port}/#insecure=true");
    connection::Suite::new("haul-sse", over).connections(100).run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners() {
    listener::suite("haul-sse", sse()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialers() {
    // A dial that is cancelled when its session is made leaves one that its client may come back to, for so long.
    let listen = "sse://127.0.0.1:0/live?resume=1s";
    dialer::suite("haul-sse", Over::new(listen, haul_sse::Dialer::default(), haul_sse::listen)).await;
}
