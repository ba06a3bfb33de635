//! The server's settings, which a client waits for before it asks for a session.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use haul_tls::ClientTls;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use tokio::net::UdpSocket;

use crate::{listen, port, soon};

/// Connects as a client that offers `protocols` too; the endpoint must live as long as it.
async fn connect(address: SocketAddr, protocols: &[&str]) -> (Endpoint, Connection) {
    let tls = ClientTls::builder().dangerously_accept_any_certificate().build().unwrap();
    let mut tls = (*tls.raw()).clone();
    tls.alpn_protocols = ["h3"].iter().chain(protocols).map(|name| name.as_bytes().to_vec()).collect();
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let connecting = endpoint.connect_with(config, address, "localhost").unwrap();
    let quic = soon("QUIC", connecting).await.unwrap();
    (endpoint, quic)
}

/// What the server says first: its control stream (RFC 9114 section 6.2.1) begins with its settings.
async fn hears_the_settings(quic: &Connection) {
    let mut control = soon("the control stream", quic.accept_uni()).await.unwrap();
    let mut begins = [0; 2];
    soon("the settings", control.read_exact(&mut begins)).await.unwrap();
    assert_eq!(begins, [0, 4]);
}

#[tokio::test]
async fn a_client_whose_hello_comes_in_pieces_gets_the_settings() {
    let listener = listen("").await;
    let (inside, outside) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = inside.local_addr().unwrap();
    outside.connect((Ipv4Addr::LOCALHOST, port(&listener))).await.unwrap();
    // The rest follows when the server has answered the first piece.
    let relay = tokio::spawn(async move {
        let (mut up, mut down) = ([0; 2048], [0; 2048]);
        let (len, client) = inside.recv_from(&mut up).await.unwrap();
        outside.send(&up[..len]).await.unwrap();
        let len = outside.recv(&mut down).await.unwrap();
        inside.send_to(&down[..len], client).await.unwrap();
        loop {
            tokio::select! {
                Ok((len, _)) = inside.recv_from(&mut up) => drop(outside.send(&up[..len]).await.unwrap()),
                Ok(len) = outside.recv(&mut down) => drop(inside.send_to(&down[..len], client).await.unwrap()),
            }
        }
    });
    let long: Vec<_> = (0..20).map(|number| format!("{number:0>200}")).collect();
    let long: Vec<_> = long.iter().map(String::as_str).collect();
    let (_endpoint, quic) = connect(address, &long).await;
    hears_the_settings(&quic).await;
    relay.abort();
}

#[tokio::test]
async fn the_settings_come_before_the_clients_last_word_of_the_handshake() {
    let listener = listen("").await;
    let (inside, outside) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = inside.local_addr().unwrap();
    outside.connect((Ipv4Addr::LOCALHOST, port(&listener))).await.unwrap();
    // Passes on the client's first datagram, its hello, and nothing else of it.
    let relay = tokio::spawn(async move {
        let mut datagram = [0; 2048];
        let (len, client) = inside.recv_from(&mut datagram).await.unwrap();
        outside.send(&datagram[..len]).await.unwrap();
        loop {
            let len = outside.recv(&mut datagram).await.unwrap();
            inside.send_to(&datagram[..len], client).await.unwrap();
        }
    });
    let (_endpoint, quic) = connect(address, &[]).await;
    hears_the_settings(&quic).await;
    relay.abort();
}
