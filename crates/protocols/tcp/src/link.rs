//! Links over connected sockets, after the prefaces.

use std::task::{Context, Poll};

use haul_core::wire::{Framing, SendBuf, StreamEncoder};
use haul_core::{
    CloseReason, Error, ErrorKind, Info, Link, Result, StreamRead, StreamWrite, WriteHalf, exchange_prefaces,
};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpStream, UnixStream};

use crate::options::StreamConfig;
use crate::socket;

/// Makes a link of a connected TCP socket.
pub(crate) async fn tcp(mut socket: TcpStream, config: &StreamConfig) -> Result<Link> {
    socket.set_nodelay(config.nodelay)?;
    let mut info = Info::new("tcp", config.framing.as_str());
    info.local = socket.local_addr()?.to_string();
    info.peer = socket.peer_addr()?.to_string();
    config.framing.describe(&mut info);
    if config.framing == Framing::Haul {
        exchange_prefaces(&mut socket).await?;
    }
    let (read, write) = socket.into_split();
    let read = StreamRead::new(read, config.framing, config.limits.max_packet);
    Ok(Link::new(info, read, TcpWrite(Some(StreamWrite::new(write))))
        .with_encoder(StreamEncoder::new(config.framing))
        .with_limits(config.limits.clone()))
}

/// Makes a link of a connected Unix socket; `path` is its name on either end.
pub(crate) async fn unix(mut socket: UnixStream, path: &str, config: &StreamConfig) -> Result<Link> {
    let mut info = Info::new("unix", config.framing.as_str());
    info.local = path.to_owned();
    info.peer = path.to_owned();
    if config.framing == Framing::Haul {
        exchange_prefaces(&mut socket).await?;
    }
    let (read, write) = socket.into_split();
    Ok(Link::over_stream(info, config.limits.clone(), config.framing, read, write))
}

/// The sending half of a socket, which can be cut so that the peer sees it.
struct TcpWrite(Option<StreamWrite<OwnedWriteHalf>>);

impl TcpWrite {
    fn half(&mut self) -> Result<&mut StreamWrite<OwnedWriteHalf>> {
        self.0.as_mut().ok_or_else(|| Error::new(ErrorKind::Closed, "the connection was aborted"))
    }
}

impl WriteHalf for TcpWrite {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        self.half()?.poll_write(cx, out)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.half()?.poll_flush(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.half()?.poll_finish(cx)
    }

    /// To a stranger an end would look clean.
    fn abort(&mut self, _reason: &CloseReason) {
        if let Some(half) = self.0.take() {
            let half = half.into_inner();
            socket::reset_on_drop(half.as_ref());
            // Dropped otherwise, the half would say a clean end first.
            half.forget();
        }
    }
}
