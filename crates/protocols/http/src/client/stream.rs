//! A connection as hyper wants it: plain or with TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use haul_tls::TlsStream;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Peer;

pub(super) enum Stream {
    Plain { io: TokioIo<TcpStream>, forwarded: bool },
    Tls { io: Box<TokioIo<TlsStream<TcpStream>>>, h2: bool },
}

impl Stream {
    /// `forwarded`: a proxy reads the requests.
    pub(super) fn plain(socket: TcpStream, forwarded: bool) -> Self {
        Self::Plain { io: TokioIo::new(socket), forwarded }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, h2: bool) -> Self {
        Self::Tls { io: Box::new(TokioIo::new(stream)), h2 }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let (connected, socket, tls) = match self {
            Self::Plain { io, forwarded } => (Connected::new().proxy(*forwarded), io.inner(), None),
            Self::Tls { io, h2 } => {
                let connected = if *h2 { Connected::new().negotiated_h2() } else { Connected::new() };
                (connected, io.inner().get_ref(), Some(io.inner().info().into()))
            }
        };
        match (socket.peer_addr(), socket.local_addr()) {
            (Ok(address), Ok(local)) => connected.extra(Peer { address, local, tls }),
            // It is gone already, as the request will see.
            _ => connected,
        }
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { io, .. } => Pin::new(io).poll_read(cx, buf),
            Self::Tls { io, .. } => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain { io, .. } => Pin::new(io).poll_write(cx, buf),
            Self::Tls { io, .. } => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { io, .. } => Pin::new(io).poll_flush(cx),
            Self::Tls { io, .. } => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { io, .. } => Pin::new(io).poll_shutdown(cx),
            Self::Tls { io, .. } => Pin::new(io).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain { io, .. } => io.is_write_vectored(),
            Self::Tls { io, .. } => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain { io, .. } => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Tls { io, .. } => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }
}
