//! Raw quinn: one bidirectional stream, with tokio-util's LengthDelimitedCodec on it.

use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, RecvStream, SendStream, ServerConfig};
use rustls::RootCertStore;
use tokio::io::{Join, join};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

type Stream = Framed<Join<RecvStream, SendStream>, LengthDelimitedCodec>;

/// Both ends.
pub(crate) async fn pair() -> (Stream, Stream) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a plain name");
    let key = made.signing_key.serialize_der().try_into().expect("rcgen writes PKCS #8");
    let config = ServerConfig::with_single_cert(vec![made.cert.der().clone()], key).expect("its own key");
    let server = Endpoint::server(config, "127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = QuicClientConfig::try_from(config).expect("TLS 1.3");
    let client = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = server.local_addr().expect("it is bound");
    let dialing = client.connect_with(ClientConfig::new(Arc::new(config)), address, "localhost");
    let (dialed, accepted) = tokio::join!(dialing.expect("a sound configuration"), async {
        server.accept().await.expect("it listens").await
    });
    let (dialed, accepted) = (dialed.expect("it listens"), accepted.expect("it dials"));
    let (mut send, recv) = dialed.open_bi().await.expect("a stream");
    // The peer sees a stream when something comes on it.
    send.write_all(&0u32.to_be_bytes()).await.expect("it is open");
    let (answer, asked) = accepted.accept_bi().await.expect("the stream");
    let mut server = framed(asked, answer);
    futures_util::StreamExt::next(&mut server).await;
    (framed(recv, send), server)
}

fn framed(recv: RecvStream, send: SendStream) -> Stream {
    Framed::new(join(recv, send), LengthDelimitedCodec::new())
}
