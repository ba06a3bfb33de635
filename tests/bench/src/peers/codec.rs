//! tokio-util's LengthDelimitedCodec.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::{End, sockets};

type Codec = Framed<TcpStream, LengthDelimitedCodec>;

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> End for Framed<T, LengthDelimitedCodec> {
    async fn send(&mut self, payload: Bytes) -> Option<()> {
        SinkExt::send(self, payload).await.ok()
    }

    async fn send_all(&mut self, payload: Bytes, count: usize) -> Option<()> {
        for _ in 0..count {
            self.feed(payload.clone()).await.ok()?;
        }
        SinkExt::<Bytes>::flush(self).await.ok()
    }

    async fn recv(&mut self) -> Option<usize> {
        Some(self.next().await?.ok()?.len())
    }
}

/// Both ends.
pub(crate) async fn pair() -> (Codec, Codec) {
    let (client, server) = sockets().await;
    (Framed::new(client, LengthDelimitedCodec::new()), Framed::new(server, LengthDelimitedCodec::new()))
}
