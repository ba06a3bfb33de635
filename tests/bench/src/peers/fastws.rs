//! fastwebsockets.

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket};
use tokio::net::TcpStream;

use super::{End, sockets};

impl End for WebSocket<TcpStream> {
    async fn send(&mut self, payload: Bytes) -> Option<()> {
        self.write_frame(Frame::new(true, OpCode::Binary, None, Payload::Borrowed(&payload))).await.ok()
    }

    async fn send_all(&mut self, payload: Bytes, count: usize) -> Option<()> {
        for _ in 0..count {
            self.send(payload.clone()).await?;
        }
        Some(())
    }

    async fn recv(&mut self) -> Option<usize> {
        Some(self.read_frame().await.ok()?.payload.len())
    }
}

/// Both ends.
pub(crate) async fn pair() -> (WebSocket<TcpStream>, WebSocket<TcpStream>) {
    let (client, server) = sockets().await;
    (WebSocket::after_handshake(client, Role::Client), WebSocket::after_handshake(server, Role::Server))
}
