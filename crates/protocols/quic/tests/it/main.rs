//! QUIC against strangers, bad input and bad luck.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod aioquic;
mod bad;
mod bounds;
mod early;
mod moves;
mod relay;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use haul_core::{Connection, Dial, Endpoint, Listener, Result};
use haul_tls::ClientTls;
use quinn::crypto::rustls::QuicClientConfig;
use tokio::time::timeout;

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), work).await.unwrap_or_else(|_| panic!("waited 60 s for {what}"))
}

async fn listen(options: &str) -> Listener {
    haul_quic::listen(Endpoint::parse(&format!("quic://127.0.0.1:0{options}")).unwrap()).await.unwrap()
}

fn port(listener: &Listener) -> u16 {
    listener.local_endpoint().port().unwrap()
}

async fn dial(url: &str) -> Result<Connection> {
    soon("the dial", haul_quic::Dialer::default().dial(Endpoint::parse(url).unwrap())).await
}

/// A dialed connection and its other end.
async fn pair(options: &str) -> (Connection, Connection) {
    let listener = listen(options).await;
    let client = dial(listener.local_endpoint().as_str()).await.unwrap();
    (client, soon("the client", listener.accept()).await.unwrap().unwrap())
}

/// A client that knows QUIC and nothing of haul; the endpoint must live as long as it.
async fn stranger(
    port: u16,
    alpn: &str,
) -> Result<(quinn::Endpoint, quinn::Connection), quinn::ConnectionError> {
    let tls = ClientTls::builder().dangerously_accept_any_certificate().alpn([alpn]).build().unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls.raw()).unwrap()));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(config, ([127, 0, 0, 1], port).into(), "localhost").unwrap();
    Ok((endpoint, soon("the stranger", connecting).await?))
}
