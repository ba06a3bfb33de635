//! Accepting on one listener, and the connections that came over it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use haul_core::{CloseReason, Connection, Error, ErrorKind, Registry, Result};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

use crate::connection;
use crate::gateway::Shared;
use crate::listen::ListenUrl;
use crate::socket::Socket;

/// A listener that is accepted on. Dropped, its connections are cut.
pub(crate) struct Accepting {
    url: Arc<ListenUrl>,
    socket: Arc<Socket>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Accepting {
    /// Listens on `url` and serves what connects.
    pub(crate) async fn start(url: ListenUrl, registry: &Registry, shared: &Arc<Shared>) -> Result<Self> {
        let socket = Socket::open(&url, registry, &shared.acceptor, Arc::downgrade(shared)).await?;
        let socket = Arc::new(socket);
        shared.listening.lock().unwrap_or_else(PoisonError::into_inner).push(socket.clone());
        let url = Arc::new(url);
        let (terms, shared) = (url.clone(), shared.clone());
        Ok(Self::with(url, socket, move |connection, stop| {
            connection::serve(connection, terms.clone(), shared.clone(), stop)
        }))
    }

    /// As [`start`](Self::start), trying for a while: the address may just be given up by another listener.
    pub(crate) async fn start_soon(
        url: ListenUrl,
        registry: &Registry,
        shared: &Arc<Shared>,
    ) -> Result<Self> {
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            match Self::start(url.clone(), registry, shared).await {
                Err(why) if Instant::now() < deadline && why.kind() != ErrorKind::Config => {
                    sleep(Duration::from_millis(20)).await;
                }
                done => return done,
            }
        }
    }

    /// Serves what `socket` accepts with `serve`, until told to stop.
    pub(crate) fn with<F, Fut>(url: Arc<ListenUrl>, socket: Arc<Socket>, serve: F) -> Self
    where
        F: Fn(Connection, watch::Receiver<bool>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(socket.clone(), stopped, serve));
        Self { url, socket, stop, task: Some(task) }
    }

    pub(crate) fn url(&self) -> &ListenUrl {
        &self.url
    }

    pub(crate) fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Takes it out of the status.
    pub(crate) fn forget(&self, shared: &Shared) {
        let mut listening = shared.listening.lock().unwrap_or_else(PoisonError::into_inner);
        listening.retain(|socket| !Arc::ptr_eq(socket, &self.socket));
    }

    /// Stops listening at once and tells the connections to go.
    pub(crate) fn stop(mut self) -> Stopping {
        self.stop.send_replace(true);
        Stopping { socket: self.socket.clone(), task: self.task.take() }
    }
}

/// A listener that was told to stop, with connections that still end. Dropped, they are cut.
pub(crate) struct Stopping {
    socket: Arc<Socket>,
    task: Option<JoinHandle<()>>,
}

impl Stopping {
    /// Waits until its connections are gone, or cuts them at the deadline and answers how many.
    pub(crate) async fn end(mut self, deadline: Instant) -> usize {
        let Some(task) = &mut self.task else { return 0 };
        match timeout_at(deadline, task).await {
            Ok(_) => 0,
            Err(_) => {
                let open = self.socket.stats().open;
                self.socket.cut().await;
                open
            }
        }
    }

    /// Whether its connections are gone.
    pub(crate) fn is_over(&self) -> bool {
        self.task.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Accepts until told to stop, then waits for the connections.
async fn accept<F, Fut>(socket: Arc<Socket>, stopped: watch::Receiver<bool>, serve: F)
where
    F: Fn(Connection, watch::Receiver<bool>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut stop = stopped.clone();
    let note = |ended: std::result::Result<(), tokio::task::JoinError>| {
        if let Err(why) = ended {
            tracing::error!("serving a connection panicked: {why}");
        }
    };
    loop {
        tokio::select! {
            biased;
            // Whoever could tell it to stop is gone: so is the gateway.
            () = told(&mut stop) => break,
            Some(ended) = connections.join_next() => note(ended),
            accepted = socket.listener.accept() => match accepted {
                Ok(Some(connection)) => match socket.place(connection.info()) {
                    Some(place) => {
                        let serving = serve(connection, stopped.clone());
                        connections.spawn(async move {
                            serving.await;
                            drop(place);
                        });
                    }
                    None => drop(connections.spawn(turn_away(connection))),
                },
                Ok(None) => break,
                Err(why) => refused(&socket, &why).await,
            },
        }
    }
    let ending = async {
        while let Some(ended) = connections.join_next().await {
            note(ended);
        }
    };
    socket.finish(ending).await;
}

/// Its protocol bounds how many there are of these.
async fn turn_away(connection: Connection) {
    let reason = CloseReason::new(CloseReason::TRY_AGAIN_LATER.code, "too many connections here");
    // Who does not wait to hear it knows less, and is gone all the same.
    let _ = connection.close(reason).await;
}

/// Waits until told to stop, or until nobody can tell any more. Cancel-safe.
pub(crate) async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn refused(socket: &Socket, why: &Error) {
    tracing::warn!("accept on {}: {why}", socket.local_endpoint());
    sleep(Duration::from_millis(20)).await;
}
