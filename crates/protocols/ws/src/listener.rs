//! Listening.

use haul_core::{Endpoint, Error, Incoming, Info, Link, Listener, Result};
use haul_tls::ServerTls;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::dialer::describe;
use crate::handshake::server;
use crate::options::ListenConfig;
use crate::{link, spawn};

/// Listens on `ws://host:port/path` or `wss://...`; port 0 takes a free one, no path serves any.
///
/// Errors: `Config`, `Tls` for certificates that cannot be used, `Io` if the address is taken or not ours.
pub async fn listen(endpoint: Endpoint) -> Result<Listener> {
    let failed = |why: Error| why.while_doing(format!("listen on {endpoint}"));
    let (config, limits) = ListenConfig::new(&endpoint)?;
    let secure = endpoint.scheme() == "wss";
    let tls = secure.then(|| config.tls.build()).transpose().map_err(failed)?;
    let port = endpoint.port().unwrap_or(if secure { 443 } else { 80 });
    let socket = haul_tcp::socket::bind(endpoint.host(), port).map_err(failed)?;
    let local = endpoint.with_port(socket.local_addr()?.port())?;
    Ok(Listener::new(local, WsIncoming { socket, tls, config }, limits, spawn))
}

struct WsIncoming {
    socket: TcpListener,
    tls: Option<ServerTls>,
    config: ListenConfig,
}

impl Incoming for WsIncoming {
    type Raw = TcpStream;

    async fn accept(&self) -> Result<TcpStream> {
        Ok(self.socket.accept().await?.0)
    }

    async fn handshake(&self, mut tcp: TcpStream) -> Result<Link> {
        tcp.set_nodelay(self.config.nodelay)?;
        let mut info = Info::new("ws", "");
        info.local = tcp.local_addr()?.to_string();
        info.peer = tcp.peer_addr()?.to_string();
        let limits = self.config.limits.clone();
        match &self.tls {
            None => {
                let mut agreed = server::shake(&mut tcp, &self.config.terms).await?;
                let early = std::mem::take(&mut agreed.early);
                let role = (Role::Server, agreed.speech());
                describe(&mut info, agreed, None);
                let (read, write) = tcp.into_split();
                Ok(link::link(info, limits, role, early, read, write))
            }
            Some(tls) => {
                let mut stream = tls.accept(tcp).await?;
                let facts = stream.info();
                let mut agreed = server::shake(&mut stream, &self.config.terms).await?;
                let early = std::mem::take(&mut agreed.early);
                let role = (Role::Server, agreed.speech());
                describe(&mut info, agreed, Some(facts));
                let (read, write) = tokio::io::split(stream);
                Ok(link::link(info, limits, role, early, read, write))
            }
        }
    }

    /// 503, before the client has said a word; over TLS the socket is closed.
    async fn refuse(&self, mut raw: TcpStream) {
        if self.tls.is_none() {
            let why = "too many connections; try again later";
            server::turn_away(&mut raw, "503 Service Unavailable", "Retry-After: 1\r\n", why).await;
        }
    }
}
