//! The encrypted stream and what was agreed for it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::CertificateInfo;
use crate::failure::{self, Side};

/// A TLS session over any byte stream.
///
/// Writes are encrypted into a buffer of at most 64 KiB and leave at the latest with `poll_flush`: flush what must
/// go out. `poll_shutdown` says goodbye (close_notify). A peer that vanishes without it is an `UnexpectedEof` error of the read, never a
/// clean end: what was read may be cut short. A TLS failure is an [`io::Error`] around a [`haul_core::Error`].
#[derive(Debug)]
pub struct TlsStream<S> {
    inner: tokio_rustls::TlsStream<S>,
}

/// What a handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct TlsInfo {
    /// `TLSv1.3` or `TLSv1.2`.
    pub protocol_version: String,
    /// The cipher suite in rustls' words, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The ALPN protocol; `None` if the ends did not agree on one.
    pub alpn: Option<String>,
    /// On the server: the name that the client asked for.
    pub server_name: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The peer's certificate, then its issuers as it sent them. Empty on a server whose client showed none.
    pub peer_certificates: Vec<CertificateInfo>,
    /// How many certificates of the peer's could not be read, and so are not among `peer_certificates`.
    pub unreadable_certificates: usize,
}

impl<S> TlsStream<S> {
    pub(crate) fn new(inner: tokio_rustls::TlsStream<S>) -> Self {
        Self { inner }
    }

    /// What the handshake agreed on.
    pub fn info(&self) -> TlsInfo {
        let (_, session) = self.inner.get_ref();
        let sent = session.peer_certificates().unwrap_or_default();
        let peer_certificates: Vec<_> =
            sent.iter().filter_map(|der| CertificateInfo::from_der(der).ok()).collect();
        TlsInfo {
            protocol_version: match session.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
                other => format!("{other:?}"),
            },
            cipher: session
                .negotiated_cipher_suite()
                .map(|suite| format!("{:?}", suite.suite()))
                .unwrap_or_default(),
            alpn: session.alpn_protocol().map(|alpn| String::from_utf8_lossy(alpn).into_owned()),
            server_name: match &self.inner {
                tokio_rustls::TlsStream::Server(server) => {
                    server.get_ref().1.server_name().map(str::to_owned)
                }
                tokio_rustls::TlsStream::Client(_) => None,
            },
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            unreadable_certificates: sent.len() - peer_certificates.len(),
            peer_certificates,
        }
    }

    /// The stream beneath. Reading or writing it breaks the session; its addresses and options are what it is for.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref().0
    }

    fn side(&self) -> Side {
        match self.inner {
            tokio_rustls::TlsStream::Client(_) => Side::Client,
            tokio_rustls::TlsStream::Server(_) => Side::Server,
        }
    }

    fn told<T>(&self, outcome: io::Result<T>) -> Poll<io::Result<T>> {
        Poll::Ready(outcome.map_err(|why| failure::established(why, self.side())))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        self.told(outcome)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.inner).poll_write(context, bytes));
        self.told(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, parts));
        self.told(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.inner).poll_flush(context));
        self.told(outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.inner).poll_shutdown(context));
        self.told(outcome)
    }
}
