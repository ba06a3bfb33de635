//! UDP sockets as every protocol on QUIC wants them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use haul_core::{Error, ErrorKind, Result, Status};
use quinn::{ClientConfig, EndpointConfig, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::raw::failure;

/// Bytes that the kernel is asked to hold in either direction; it gives what its own limits allow.
const KERNEL_BUFFER: usize = 2 << 20;

/// How long one address of a host is tried alone (RFC 8305 section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// When a dialer asks again whether anybody is there.
const KNOCKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// Binds `host` (every IPv4 address if none is named) and `port` (0 takes a free one).
///
/// Errors: `Connect` if the host has no address, `Io` if the address is taken or not ours.
pub fn bind(host: Option<&str>, port: u16) -> Result<UdpSocket> {
    let host = host.unwrap_or("0.0.0.0");
    let unknown = |why: io::Error| Error::new(ErrorKind::Connect, why.to_string());
    let address = (host, port).to_socket_addrs().map_err(unknown)?.next();
    let address = address.ok_or_else(|| Error::new(ErrorKind::Connect, format!("{host} has no address")))?;
    open(address).map_err(|why| {
        let hint = match why.kind() {
            io::ErrorKind::AddrInUse => {
                "; another program listens there: choose another address, or port 0 for a free one"
            }
            io::ErrorKind::PermissionDenied => "; ports below 1024 need more rights",
            _ => "",
        };
        Error::new(ErrorKind::Io, format!("{why}{hint}"))
    })
}

/// A socket to dial `peer` from.
fn towards(peer: SocketAddr) -> io::Result<UdpSocket> {
    open(match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    })
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Smaller buffers lose more under load; that is all.
    let _ = (socket.set_recv_buffer_size(KERNEL_BUFFER), socket.set_send_buffer_size(KERNEL_BUFFER));
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Answers when the machine of `peer` says that nobody listens there (ICMP port unreachable), and otherwise never.
///
/// QUIC's own socket does not hear it: only a connected one does (RFC 1122 section 4.1.3.3). An empty datagram is no QUIC
/// packet, and is dropped by whoever does listen. Errors: `Connect`, transient. Cancel-safe.
async fn nobody(peer: SocketAddr) -> Error {
    match knock(peer).await {
        Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => {
            Error::new(ErrorKind::Connect, format!("nobody listens on {peer}")).with_status(Status::Transient)
        }
        // Not to know is no reason to give up.
        _ => std::future::pending().await,
    }
}

async fn knock(peer: SocketAddr) -> io::Result<()> {
    let socket = tokio::net::UdpSocket::from_std(towards(peer)?)?;
    socket.connect(peer).await?;
    let mut answer = [0; 1];
    for wait in KNOCKS {
        tokio::select! {
            heard = socket.recv(&mut answer) => drop(heard?),
            () = tokio::time::sleep(wait) => {}
        }
        socket.send(&[]).await?;
    }
    loop {
        socket.recv(&mut answer).await?;
    }
}

impl Sockets {
    /// Connects to `host`, whose certificate is to be for `name`; the socket must be kept as long as the connection.
    ///
    /// Errors: `Connect` if nobody listens or the peer takes no more connections, `Tls`, `Config` for a name that cannot be
    /// one. It has no deadline of its own. Cancelled, the handshake is given up.
    pub async fn dial(
        &self,
        host: &str,
        port: u16,
        name: &str,
        client: &ClientConfig,
    ) -> Result<(Arc<quinn::Endpoint>, quinn::Connection)> {
        let shake = async |connecting: quinn::Connecting| connecting.await.map_err(|why| failure::lost(&why));
        self.dial_by(host, port, name, client, shake).await
    }

    /// As [`dial`](Self::dial), with a handshake that `shake` leads to its end.
    pub(crate) async fn dial_by<T, F>(
        &self,
        host: &str,
        port: u16,
        name: &str,
        client: &ClientConfig,
        shake: impl Fn(quinn::Connecting) -> F + Clone + Send + 'static,
    ) -> Result<(Arc<quinn::Endpoint>, T)>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        first(host, port, |address| {
            let (sockets, client) = (self.clone(), client.clone());
            attempt(sockets, client, address, name.to_owned(), shake.clone())
        })
        .await
    }
}

async fn attempt<T, F: Future<Output = Result<T>>>(
    sockets: Sockets,
    client: ClientConfig,
    address: SocketAddr,
    name: String,
    shake: impl FnOnce(quinn::Connecting) -> F,
) -> Result<(Arc<quinn::Endpoint>, T)> {
    let endpoint = sockets.to(address)?;
    let connecting = endpoint.connect_with(client, address, &name);
    let connecting = connecting.map_err(|why| Error::new(ErrorKind::Config, why.to_string()))?;
    tokio::select! {
        connected = shake(connecting) => Ok((endpoint, connected?)),
        why = nobody(address) => Err(why),
    }
}

/// The first address of `host` that answers; each has a head start before the next is tried too.
///
/// Errors: `Connect` if the host has no address, and the last attempt's.
async fn first<T, Fut>(host: &str, port: u16, attempt: impl Fn(SocketAddr) -> Fut) -> Result<T>
where
    T: Send + 'static,
    Fut: Future<Output = Result<T>> + Send + 'static,
{
    let addresses = lookup_host((host, port)).await;
    let mut addresses = addresses.map_err(|why| Error::new(ErrorKind::Connect, why.to_string()))?;
    let mut attempts = JoinSet::new();
    let mut failed = None;
    loop {
        let next = addresses.next();
        let more = next.is_some();
        if let Some(address) = next {
            attempts.spawn(attempt(address));
        }
        let ended = match more {
            true => timeout(HEAD_START, attempts.join_next()).await.ok(),
            false => Some(attempts.join_next().await),
        };
        match ended {
            Some(Some(Ok(Ok(connected)))) => return Ok(connected),
            Some(Some(Ok(Err(why)))) => failed = Some(why),
            Some(Some(Err(why))) => failed = Some(Error::new(ErrorKind::Internal, why.to_string())),
            Some(None) => {
                return Err(
                    failed.unwrap_or_else(|| Error::new(ErrorKind::Connect, "the host has no address"))
                );
            }
            None => {}
        }
    }
}

/// The sockets of a dialer: one for IPv4 and one for IPv6, each as long as a connection needs it.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Arc<Mutex<[Weak<quinn::Endpoint>; 2]>>);

impl Sockets {
    /// The one to dial `peer` from. Errors: `Io`.
    fn to(&self, peer: SocketAddr) -> Result<Arc<quinn::Endpoint>> {
        let mut open = self.open();
        let known = &mut open[usize::from(peer.is_ipv6())];
        if let Some(endpoint) = known.upgrade() {
            return Ok(endpoint);
        }
        let socket = towards(peer)?;
        let endpoint = quinn::Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
        let endpoint = Arc::new(endpoint);
        *known = Arc::downgrade(&endpoint);
        Ok(endpoint)
    }

    /// Moves all connections to new sockets, and answers how many. Errors: `Io` if there is no socket to move to; the others
    /// have moved.
    pub fn migrate(&self) -> Result<usize> {
        let open: Vec<_> = self.open().iter().filter_map(Weak::upgrade).collect();
        let mut outcome = Ok(open.iter().map(|endpoint| endpoint.open_connections()).sum());
        for endpoint in open {
            let moved = endpoint.local_addr().and_then(towards).and_then(|to| endpoint.rebind(to));
            if let Err(why) = moved {
                outcome = Err(Error::from(why).while_doing("move to another socket"));
            }
        }
        outcome
    }

    fn open(&self) -> MutexGuard<'_, [Weak<quinn::Endpoint>; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Turns away whoever comes, while `quic` has connections: they go on although nobody listens any more.
pub fn refuse_others(quic: quinn::Endpoint) {
    let refuse = async move {
        let refused = async {
            while let Some(raw) = quic.accept().await {
                raw.refuse();
            }
        };
        tokio::select! {
            () = refused => {}
            () = quic.wait_idle() => {}
        }
    };
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(refuse);
    }
}
