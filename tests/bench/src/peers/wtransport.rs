//! Raw wtransport: one bidirectional stream, with tokio-util's LengthDelimitedCodec on it, or datagrams.

use std::net::Ipv4Addr;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{Join, join};
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use wtransport::endpoint::endpoint_side::{Client, Server};
use wtransport::{ClientConfig, Connection, Endpoint, Identity, RecvStream, SendStream, ServerConfig};

use super::End;

type Framing = Framed<Join<RecvStream, SendStream>, LengthDelimitedCodec>;

/// A stream, and the session that it ends with.
pub(crate) struct Stream {
    framing: Framing,
    _session: Connection,
}

/// A listening endpoint, and one that dials it.
pub(crate) struct Peers {
    server: Endpoint<Server>,
    client: Endpoint<Client>,
}

impl Peers {
    pub(crate) fn new() -> Self {
        let own = Identity::self_signed(["localhost", "127.0.0.1"]).expect("plain names");
        let hash = own.certificate_chain().as_slice()[0].hash();
        let free = (Ipv4Addr::LOCALHOST, 0).into();
        let config = ServerConfig::builder().with_bind_address(free).with_identity(own).build();
        let server = Endpoint::server(config).expect("a free port");
        let config =
            ClientConfig::builder().with_bind_address(free).with_server_certificate_hashes([hash]).build();
        Self { server, client: Endpoint::client(config).expect("a free port") }
    }

    /// Both ends of a session.
    async fn connect(&self) -> (Connection, Connection) {
        let url = format!("https://{}", self.server.local_addr().expect("it is bound"));
        let (dialed, accepted) = tokio::join!(self.client.connect(url), async {
            self.server.accept().await.await.expect("it dials").accept().await
        });
        (dialed.expect("it listens"), accepted.expect("it dials"))
    }

    /// Both ends of a stream on a session of its own.
    pub(crate) async fn stream(&self) -> (Stream, Stream) {
        let (dialed, accepted) = self.connect().await;
        let (mut send, recv) = dialed.open_bi().await.expect("it stands").await.expect("a stream");
        // The peer sees a stream when something comes on it.
        send.write_all(&0u32.to_be_bytes()).await.expect("it is open");
        let (answer, asked) = accepted.accept_bi().await.expect("the stream");
        let client = Stream { framing: framed(recv, send), _session: dialed };
        let mut server = Stream { framing: framed(asked, answer), _session: accepted };
        server.framing.next().await;
        (client, server)
    }
}

fn framed(recv: RecvStream, send: SendStream) -> Framing {
    Framed::new(join(recv, send), LengthDelimitedCodec::new())
}

/// Both ends.
pub(crate) async fn pair() -> (Stream, Stream) {
    Peers::new().stream().await
}

impl End for Stream {
    async fn send(&mut self, payload: Bytes) -> Option<()> {
        End::send(&mut self.framing, payload).await
    }

    async fn send_all(&mut self, payload: Bytes, count: usize) -> Option<()> {
        End::send_all(&mut self.framing, payload, count).await
    }

    async fn recv(&mut self) -> Option<usize> {
        End::recv(&mut self.framing).await
    }
}

/// A session of which datagrams are used.
pub(crate) struct Datagrams(Connection);

/// Both ends, for datagrams.
pub(crate) async fn datagrams() -> (Datagrams, Datagrams) {
    let (client, server) = Peers::new().connect().await;
    (Datagrams(client), Datagrams(server))
}

impl End for Datagrams {
    /// It has no form that waits for room: whoever sends in a loop must give way now and then.
    async fn send(&mut self, payload: Bytes) -> Option<()> {
        self.0.send_datagram(payload).ok()?;
        tokio::task::consume_budget().await;
        Some(())
    }

    async fn send_all(&mut self, payload: Bytes, count: usize) -> Option<()> {
        for _ in 0..count {
            self.send(payload.clone()).await?;
        }
        Some(())
    }

    async fn recv(&mut self) -> Option<usize> {
        Some(self.0.receive_datagram().await.ok()?.payload().len())
    }
}
