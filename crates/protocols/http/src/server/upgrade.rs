//! Connections that become something else than HTTP (RFC 9110 section 7.8).

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use haul_core::{Error, ErrorKind, Request, Result};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;

/// A connection that its client wants to use for another protocol.
pub struct Upgrade {
    on: OnUpgrade,
    activity: Arc<Activity>,
}

/// Takes the right to the connection out of `request`; `None` if the client does not ask to use it for anything else.
///
/// The handler answers 101 with the headers that the other protocol wants, and a task awaits
/// [`Upgrade::stream`] meanwhile:
///
/// ```
/// use haul_core::{Body, Request, Response, Result};
///
/// async fn handle(mut request: Request) -> Result<Response> {
///     let Some(upgrade) = haul_http::upgrade(&mut request) else {
///         return Ok(http::Response::builder().status(426).body(Body::empty()).expect("a plain answer"));
///     };
///     tokio::spawn(async move {
///         if let Ok(stream) = upgrade.stream().await {
///             // Speak the other protocol on `stream`.
///             drop(stream);
///         }
///     });
///     let answer = http::Response::builder().status(101).header("connection", "upgrade");
///     Ok(answer.header("upgrade", "my-protocol").body(Body::empty()).expect("a plain answer"))
/// }
/// ```
pub fn upgrade(request: &mut Request) -> Option<Upgrade> {
    let on = request.extensions_mut().remove::<OnUpgrade>()?;
    let activity = request.extensions_mut().remove::<Arc<Activity>>()?;
    Some(Upgrade { on, activity })
}

impl Upgrade {
    /// The stream, once the 101 has been written: from here on the server sets it no deadline, and counts it as a
    /// connection until it is dropped.
    ///
    /// Errors: `Closed` if the answer was another, or the connection ended first.
    pub async fn stream(self) -> Result<Upgraded> {
        let failed = |why: hyper::Error| Error::new(ErrorKind::Closed, format!("no upgrade: {why}"));
        let stream = self.on.await.map_err(failed)?;
        self.activity.release();
        Ok(Upgraded(TokioIo::new(stream)))
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgrade")
    }
}

/// A connection that was HTTP; what its client already sent is read first.
#[derive(Debug)]
pub struct Upgraded(TokioIo<hyper::upgrade::Upgraded>);

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
