//! A connection on which no session comes to be does not stay.

use std::net::Ipv4Addr;
use std::sync::Arc;

use haul_core::ErrorKind;
use haul_quic::raw::tls;
use haul_tls::{ClientTls, ServerTls};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, ServerConfig};

use crate::{dial, listen, port, soon};

#[tokio::test]
async fn a_client_that_asks_for_nothing_is_cut_when_its_time_is_up() {
    let listener = listen("?handshake=2s").await;
    let tls = ClientTls::builder().dangerously_accept_any_certificate().alpn(["h3"]).build().unwrap();
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls.raw()).unwrap()));
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = (Ipv4Addr::LOCALHOST, port(&listener)).into();
    let quic = soon("QUIC", endpoint.connect_with(config, address, "localhost").unwrap()).await.unwrap();
    let end = soon("the cut", quic.closed()).await;
    assert!(matches!(end, ConnectionError::ApplicationClosed(_)), "{end}");
}

#[tokio::test]
async fn a_dial_that_is_given_up_closes_its_connection() {
    let own = ServerTls::self_signed(["localhost"]).unwrap();
    let config = ServerConfig::with_crypto(tls::server(&own, "h3").unwrap());
    let silent = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let url = format!("wt://{}/#insecure=true&timeout=2s", silent.local_addr().unwrap());
    let dialing = tokio::spawn(async move { dial(&url).await });
    let client = soon("the client", silent.accept()).await.unwrap();
    let quic = soon("QUIC", client.accept().unwrap()).await.unwrap();
    assert_eq!(dialing.await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    let end = soon("the close", quic.closed()).await;
    assert!(matches!(end, ConnectionError::ApplicationClosed(_)), "{end}");
}
