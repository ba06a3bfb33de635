//! TCP sockets as every protocol on TCP wants them.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use haul_core::{Error, ErrorKind, Result};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections that the kernel holds for us before they are accepted.
const KERNEL_BACKLOG: i32 = 4096;

/// Listens on `host` (every IPv4 address if none is named) and `port` (0 takes a free one).
///
/// Errors: `Connect` if the host has no address, `Io` if the address is taken or not ours.
pub fn bind(host: Option<&str>, port: u16) -> Result<TcpListener> {
    let host = host.unwrap_or("0.0.0.0");
    let address = (host, port).to_socket_addrs().map_err(refused)?.next();
    let address = address.ok_or_else(|| Error::new(ErrorKind::Connect, format!("{host} has no address")))?;
    bind_address(address).map_err(taken)
}

fn bind_address(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(KERNEL_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connects to `host` and `port`, trying each of the host's addresses. Errors: `Connect`. Cancel-safe.
pub async fn connect(host: &str, port: u16) -> Result<TcpStream> {
    TcpStream::connect((host, port)).await.map_err(refused)
}

/// Lets the end of this socket be a reset (RFC 9293 section 3.10.5), so that the peer cannot take it for a clean end.
pub fn reset_on_drop(socket: &TcpStream) {
    // A socket that is gone already needs no reset.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// Whatever the operating system says while connecting, no connection could be made.
pub(crate) fn refused(why: io::Error) -> Error {
    Error::new(ErrorKind::Connect, why.to_string())
}

/// Why an address cannot be listened on, and what to do.
pub(crate) fn taken(why: io::Error) -> Error {
    let hint = match why.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program listens there: choose another address, or port 0 for a free one"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 and foreign folders need more rights",
        _ => "",
    };
    Error::new(ErrorKind::Io, format!("{why}{hint}"))
}
