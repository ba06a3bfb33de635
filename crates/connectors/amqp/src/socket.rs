//! The socket beneath the client: opened here, with haul's TLS, and cut where the client would wait on.

use std::io;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_core::Stream;
use haul_core::{Error, ErrorKind, Result};
use haul_tls::ClientTls;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

/// Bytes in both directions, plain or through TLS.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A socket as the client reads and writes it.
pub(crate) type Wire = Compat<Box<dyn Duplex>>;

/// Ends the connection of its socket at once; what was not written then, never will be.
pub(crate) struct Cut(Socket);

impl Cut {
    pub(crate) fn now(&self) {
        // A socket that is not connected any more is cut already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Connects, and shakes hands with `tls`. Errors: `Connect`, `Tls`; nothing was sent.
pub(crate) async fn open(host: &str, port: u16, tls: Option<&ClientTls>) -> Result<(Wire, Cut)> {
    let failed = |why: io::Error| Error::new(ErrorKind::Connect, why.to_string());
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let cut = Cut(SockRef::from(&stream).try_clone().map_err(failed)?);
    let stream: Box<dyn Duplex> = match tls {
        Some(tls) => Box::new(tls.connect(stream, host).await?),
        None => Box::new(stream),
    };
    Ok((stream.compat(), cut))
}

/// The runtime of the client: tokio's, with our sockets.
pub(crate) fn runtime() -> Runtime<RuntimeParts<Tokio, Sockets>> {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(tokio.clone(), Sockets(tokio)))
}

/// Tokio's clock and [`Wire`]s.
#[derive(Clone, Debug)]
pub(crate) struct Sockets(Tokio);

impl Reactor for Sockets {
    type TcpStream = Wire;
    type Sleep = tokio::time::Sleep;

    /// The client has no other sockets than those of [`open`].
    #[expect(refining_impl_trait, reason = "nobody asks for it")]
    fn register<H: Read + Write + Send + 'static>(&self, _socket: H) -> io::Result<Wire> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    #[expect(clippy::manual_async_fn, reason = "it outlives the borrow of self")]
    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Wire>> + Send + 'static {
        async move {
            let stream: Box<dyn Duplex> = Box::new(TcpStream::connect(address).await?);
            Ok(stream.compat())
        }
    }
}
