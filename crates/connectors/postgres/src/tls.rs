//! haul's TLS below the client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use haul_core::{BoxFuture, Error, Result};
use haul_tls::{ClientTls, TlsStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};

/// Shakes hands as `ClientTls` says.
#[derive(Clone)]
pub(crate) struct Tls(pub(crate) ClientTls);

/// The handshake with one host.
pub(crate) struct Handshake {
    tls: ClientTls,
    host: String,
}

/// An encrypted stream. It tells of no channel binding: passwords are proved by SCRAM without it.
pub(crate) struct Stream(TlsStream<Socket>);

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Stream;
    type TlsConnect = Handshake;
    type Error = Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake> {
        Ok(Handshake { tls: self.0.clone(), host: host.to_owned() })
    }
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Stream;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Stream>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move { self.tls.connect(stream, &self.host).await.map(Stream) })
    }
}

impl tokio_postgres::tls::TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
