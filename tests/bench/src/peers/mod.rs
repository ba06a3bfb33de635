//! The two sides that are compared: haul and what its users would take instead.

pub(crate) mod codec;
pub(crate) mod fastws;
pub(crate) mod haul;
pub(crate) mod quinn;
pub(crate) mod sse;
pub(crate) mod tungstenite;
pub(crate) mod wtransport;

use std::future::Future;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

/// One end of a connection, as an application of that library would use it.
pub(crate) trait End: Send + Sized + 'static {
    /// Sends one message and sees to it that it leaves; `None` when the other end is gone.
    fn send(&mut self, payload: Bytes) -> impl Future<Output = Option<()>> + Send;

    /// Sends many messages with one flush.
    fn send_all(&mut self, payload: Bytes, count: usize) -> impl Future<Output = Option<()>> + Send;

    /// Receives one message and answers its length.
    fn recv(&mut self) -> impl Future<Output = Option<usize>> + Send;

    /// Receives what is there without waiting, at most `most`, after waiting for the first.
    fn recv_ready(&mut self, most: usize) -> impl Future<Output = Option<usize>> + Send {
        async move {
            self.recv().await?;
            let mut count = 1;
            while count < most && futures_util::FutureExt::now_or_never(self.recv()).flatten().is_some() {
                count += 1;
            }
            Some(count)
        }
    }
}

/// Two connected sockets on loopback, without Nagle's delay.
pub(crate) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (client, (server, _)) = (client.expect("it listens"), server.expect("it listens"));
    client.set_nodelay(true).expect("a connected socket");
    server.set_nodelay(true).expect("a connected socket");
    (client, server)
}
