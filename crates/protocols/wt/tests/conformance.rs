//! The suites of the kit.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use haul_core::{Dial, Endpoint};
use haul_kit::{Over, connection, dialer, listener, multiplex};
use tokio::net::UdpSocket;

fn wt() -> Over {
    Over::new("wt://127.0.0.1:0", haul_wt::Dialer::default(), haul_wt::listen)
        .dialing("wt://127.0.0.1:{port}/kit#insecure=true")
}

#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    connection::suite("haul-wt", wt()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners() {
    listener::Suite::new("haul-wt", wt()).half_open(half_open).run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialers() {
    dialer::suite("haul-wt", wt()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams() {
    multiplex::suite("haul-wt", wt()).await;
}

/// The first packet of a handshake, of which the client hears nothing back.
async fn half_open(endpoint: Endpoint) -> haul_kit::Raw {
    let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wt://{}#insecure=true", deaf.local_addr().unwrap());
    let dialing = tokio::spawn(async move { haul_wt::Dialer::default().dial(url.parse().unwrap()).await });
    let mut packet = [0; 2048];
    let len = loop {
        let (len, _) = deaf.recv_from(&mut packet).await.unwrap();
        // Others ask whether anybody is there.
        if len >= 1200 {
            break len;
        }
    };
    dialing.abort();
    deaf.send_to(&packet[..len], ("127.0.0.1", endpoint.port().unwrap())).await.unwrap();
    Box::new(deaf)
}
