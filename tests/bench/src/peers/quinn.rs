//! Raw quinn: one bidirectional stream, with tokio-util's LengthDelimitedCodec on it, or datagrams.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig};
use rustls::RootCertStore;
use tokio::io::{Join, join};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::End;

pub(crate) type Stream = Framed<Join<RecvStream, SendStream>, LengthDelimitedCodec>;

/// A listening endpoint, and one that dials it.
pub(crate) struct Peers {
    server: Endpoint,
    client: Endpoint,
}

impl Peers {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a plain name");
        let key = made.signing_key.serialize_der().try_into().expect("rcgen writes PKCS #8");
        let config = ServerConfig::with_single_cert(vec![made.cert.der().clone()], key).expect("its own key");
        let free = (Ipv4Addr::LOCALHOST, 0).into();
        let server = Endpoint::server(config, free).expect("a free port");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring has TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = QuicClientConfig::try_from(config).expect("TLS 1.3");
        let mut client = Endpoint::client(free).expect("a free port");
        client.set_default_client_config(ClientConfig::new(Arc::new(config)));
        Self { server, client }
    }

    /// Both ends of a connection.
    async fn connect(&self) -> (Connection, Connection) {
        let address = self.server.local_addr().expect("it is bound");
        let dialing = self.client.connect(address, "localhost").expect("a sound configuration");
        let (dialed, accepted) =
            tokio::join!(dialing, async { self.server.accept().await.expect("it listens").await });
        (dialed.expect("it listens"), accepted.expect("it dials"))
    }

    /// Both ends of a stream on a connection of its own.
    pub(crate) async fn stream(&self) -> (Stream, Stream) {
        let (dialed, accepted) = self.connect().await;
        let (mut send, recv) = dialed.open_bi().await.expect("a stream");
        // The peer sees a stream when something comes on it.
        send.write_all(&0u32.to_be_bytes()).await.expect("it is open");
        let (answer, asked) = accepted.accept_bi().await.expect("the stream");
        let mut server = framed(asked, answer);
        futures_util::StreamExt::next(&mut server).await;
        (framed(recv, send), server)
    }
}

fn framed(recv: RecvStream, send: SendStream) -> Stream {
    Framed::new(join(recv, send), LengthDelimitedCodec::new())
}

/// Both ends.
pub(crate) async fn pair() -> (Stream, Stream) {
    Peers::new().stream().await
}

/// A connection of which datagrams are used.
pub(crate) struct Datagrams(Connection);

/// Both ends, for datagrams.
pub(crate) async fn datagrams() -> (Datagrams, Datagrams) {
    let (client, server) = Peers::new().connect().await;
    (Datagrams(client), Datagrams(server))
}

impl End for Datagrams {
    async fn send(&mut self, payload: Bytes) -> Option<()> {
        self.0.send_datagram_wait(payload).await.ok()
    }

    async fn send_all(&mut self, payload: Bytes, count: usize) -> Option<()> {
        for _ in 0..count {
            self.send(payload.clone()).await?;
        }
        Some(())
    }

    async fn recv(&mut self) -> Option<usize> {
        Some(self.0.read_datagram().await.ok()?.len())
    }
}
