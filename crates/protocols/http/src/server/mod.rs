//! The server.

mod accept;
mod activity;
mod answer;
mod bodies;
mod config;
mod connection;
mod refuse;
mod upgrade;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, ListenerStats, Request, Result, Service};
use haul_tls::TlsInfo;
use tokio::sync::watch;
use tokio::time::timeout;

pub use answer::answer;
pub use upgrade::{Upgrade, Upgraded, upgrade};

use accept::Shared;
use config::ServerConfig;

/// Who sent a request or a response, in its extensions: `request.extensions().get::<Peer>()`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// What TLS agreed on, if it is spoken.
    pub tls: Option<Arc<TlsInfo>>,
}

/// What connections are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serve,
    /// Answer what was asked, then go.
    Finish,
    /// Go at once.
    Cut,
}

/// Waits until the phase is one that `is` accepts; for ever, if nobody can tell any more. Cancel-safe.
async fn until(told: &mut watch::Receiver<Phase>, is: impl FnMut(&Phase) -> bool) {
    if told.wait_for(is).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A server that listens and answers. Dropping it stops listening; requests under way are answered.
pub struct Server {
    local: Endpoint,
    phase: watch::Sender<Phase>,
    shared: Arc<Shared>,
}

/// Listens on `http://host:port` or `https://host:port` and answers requests with `service`, HTTP/1.1 and HTTP/2 on
/// one port; port 0 takes a free one. The options stand in the query, see the crate's documentation.
///
/// `service` is any [`Service`] of requests: [`service_fn`](haul_core::service_fn) of an `async fn`, or a `Shared`. It
/// finds a [`Peer`] among the extensions of a request. Its errors become answers: the status is that of their kind,
/// or what a fact named `status` says (`error.with("status", 418)`). A panic of it ends the connection. A client that
/// goes away cancels it: what must be done all the same is done in a task of its own.
///
/// Errors: `Config`; `Tls` for certificates that cannot be used; `Io` if the address is taken or not ours.
pub async fn serve(endpoint: Endpoint, service: impl Service<Request>) -> Result<Server> {
    let failed = |why: Error| why.while_doing(format!("listen on {endpoint}"));
    let config = ServerConfig::new(&endpoint)?;
    let secure = match endpoint.scheme() {
        "http" => false,
        "https" => true,
        other => {
            let why = format!("scheme {other}: it listens on http:// and https://");
            return Err(failed(Error::new(ErrorKind::Config, why)));
        }
    };
    let tls = secure.then(|| config.tls.build()).transpose().map_err(failed)?;
    let port = endpoint.port().unwrap_or(if secure { 443 } else { 80 });
    let socket = haul_tcp::socket::bind(endpoint.host(), port).map_err(failed)?;
    let local = endpoint.with_port(socket.local_addr()?.port())?;
    let (phase, told) = watch::channel(Phase::Serve);
    let shared = Arc::new(Shared::new(config, tls));
    tokio::spawn(accept::run(socket, shared.clone(), Arc::new(service), told));
    Ok(Server { local, phase, shared })
}

impl Server {
    /// Where it listens, with the port that it was given.
    pub fn local_endpoint(&self) -> &Endpoint {
        &self.local
    }

    /// What it has seen so far; upgraded connections count as open until they are dropped.
    pub fn stats(&self) -> ListenerStats {
        self.shared.stats()
    }

    /// Stops listening at once, lets requests under way be answered, and cuts what is left at `deadline`.
    ///
    /// Errors: `Timeout` with the number of connections that did not end in time; they are cut, except those that were
    /// upgraded, which belong to others. Cancelled, it has stopped listening.
    pub async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.phase.send_replace(Phase::Finish);
        if timeout(deadline, self.shared.gone()).await.is_ok() {
            return Ok(());
        }
        let open = self.stats().open;
        self.phase.send_replace(Phase::Cut);
        Err(Error::new(
            ErrorKind::Timeout,
            format!("shut down {}: {open} connections still open after {deadline:?}", self.local),
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.phase.send_if_modified(|phase| {
            let serves = *phase == Phase::Serve;
            if serves {
                *phase = Phase::Finish;
            }
            serves
        });
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("local", &self.local).field("stats", &self.stats()).finish()
    }
}
