//! Listening.

use std::io;
use std::path::PathBuf;

use haul_core::{Endpoint, Error, Incoming, Link, Listener, Result};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::options::StreamConfig;
use crate::socket::{self, taken};
use crate::{link, spawn};

/// Listens on `tcp://host:port` (port 0 takes a free one) or `unix:///path` (a socket that nobody listens on any more
/// is replaced).
///
/// Errors: `Config`, `Io` if the address is taken or not ours.
pub async fn listen(endpoint: Endpoint) -> Result<Listener> {
    let failed = |why: Error| why.while_doing(format!("listen on {endpoint}"));
    let (config, limits) = StreamConfig::listen(&endpoint)?;
    if endpoint.scheme() == "unix" {
        let path = PathBuf::from(endpoint.path());
        let socket = bind_unix(&path).await.map_err(|why| failed(taken(why)))?;
        let incoming = UnixIncoming { socket, path, config };
        return Ok(Listener::new(endpoint, incoming, limits, spawn));
    }
    let socket = socket::bind(endpoint.host(), endpoint.require_port()?).map_err(failed)?;
    let local = endpoint.with_port(socket.local_addr()?.port())?;
    Ok(Listener::new(local, TcpIncoming { socket, config }, limits, spawn))
}

async fn bind_unix(path: &PathBuf) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(why) if why.kind() == io::ErrorKind::AddrInUse => match UnixStream::connect(path).await {
            Err(dead) if dead.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            _ => Err(why),
        },
        bound => bound,
    }
}

struct TcpIncoming {
    socket: TcpListener,
    config: StreamConfig,
}

impl Incoming for TcpIncoming {
    type Raw = TcpStream;

    async fn accept(&self) -> Result<TcpStream> {
        Ok(self.socket.accept().await?.0)
    }

    async fn handshake(&self, raw: TcpStream) -> Result<Link> {
        link::tcp(raw, &self.config).await
    }

    /// TCP has no word for it: the connection is reset.
    async fn refuse(&self, raw: TcpStream) {
        socket::reset_on_drop(&raw);
    }
}

struct UnixIncoming {
    socket: UnixListener,
    path: PathBuf,
    config: StreamConfig,
}

impl Incoming for UnixIncoming {
    type Raw = UnixStream;

    async fn accept(&self) -> Result<UnixStream> {
        Ok(self.socket.accept().await?.0)
    }

    async fn handshake(&self, raw: UnixStream) -> Result<Link> {
        link::unix(raw, &self.path.to_string_lossy(), &self.config).await
    }

    /// A Unix socket has no word for it: it is closed.
    async fn refuse(&self, raw: UnixStream) {
        drop(raw);
    }
}

impl Drop for UnixIncoming {
    fn drop(&mut self) {
        // Nobody listens there any more; if it cannot be removed, the next listener replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}
