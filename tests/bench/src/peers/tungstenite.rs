//! Raw tokio-tungstenite.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::{End, sockets};

impl End for WebSocketStream<TcpStream> {
    async fn send(&mut self, payload: Bytes) -> Option<()> {
        SinkExt::send(self, Message::Binary(payload)).await.ok()
    }

    async fn send_all(&mut self, payload: Bytes, count: usize) -> Option<()> {
        for _ in 0..count {
            self.feed(Message::Binary(payload.clone())).await.ok()?;
        }
        self.flush().await.ok()
    }

    async fn recv(&mut self) -> Option<usize> {
        Some(self.next().await?.ok()?.into_data().len())
    }
}

/// Both ends, with this read buffer or the default one.
pub(crate) async fn pair(
    read_buffer: Option<usize>,
) -> (WebSocketStream<TcpStream>, WebSocketStream<TcpStream>) {
    let (client, server) = sockets().await;
    let config = read_buffer.map(|size| WebSocketConfig::default().read_buffer_size(size));
    let client = WebSocketStream::from_raw_socket(client, Role::Client, config).await;
    (client, WebSocketStream::from_raw_socket(server, Role::Server, config).await)
}
