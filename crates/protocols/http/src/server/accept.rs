//! The accept loop, and what all connections share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use haul_core::{Error, ListenerStats, Request, Service};
use haul_tls::ServerTls;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use super::config::{Limits, ServerConfig};
use super::{Phase, connection, refuse, until};

pub(super) struct Shared {
    pub(super) tls: Option<ServerTls>,
    pub(super) limits: Arc<Limits>,
    max_connections: usize,
    permits: Arc<Semaphore>,
    /// Refusals that are being read.
    pub(super) refusals: Arc<Semaphore>,
    accepted: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    last_failure: Mutex<Option<Error>>,
    /// Held while it listens.
    listening: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(config: ServerConfig, tls: Option<ServerTls>) -> Self {
        let max_connections = config.max_connections.min(Semaphore::MAX_PERMITS);
        Self {
            tls,
            limits: Arc::new(config.limits),
            max_connections,
            permits: Arc::new(Semaphore::new(max_connections)),
            refusals: Arc::new(Semaphore::new(refuse::AT_ONCE)),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_failure: Mutex::new(None),
            listening: Arc::new(Semaphore::new(0)),
        }
    }

    pub(super) fn stats(&self) -> ListenerStats {
        let mut stats = ListenerStats::default();
        stats.accepted = self.accepted.load(Relaxed);
        stats.refused = self.refused.load(Relaxed);
        stats.failed = self.failed.load(Relaxed);
        stats.open = self.max_connections - self.permits.available_permits();
        stats.last_failure = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stats
    }

    /// Waits until the address is free and every connection is gone. Cancel-safe.
    pub(super) async fn gone(&self) {
        // Neither is ever closed.
        let _ = self.listening.acquire().await;
        let all = u32::try_from(self.max_connections).unwrap_or(u32::MAX);
        let _ = self.permits.acquire_many(all).await;
    }

    pub(super) fn count_failure(&self, why: Error) {
        self.failed.fetch_add(1, Relaxed);
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

/// Accepts until told to finish.
pub(super) async fn run<S: Service<Request>>(
    socket: TcpListener,
    shared: Arc<Shared>,
    service: Arc<S>,
    told: watch::Receiver<Phase>,
) {
    let mut stop = told.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = until(&mut stop, |phase| *phase != Phase::Serve) => break,
            accepted = socket.accept() => accepted,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(why) => {
                // Out of file descriptors, mostly: they come back when connections end.
                shared.count_failure(Error::from(why).while_doing("accept"));
                sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        match shared.permits.clone().try_acquire_owned() {
            Ok(permit) => {
                shared.accepted.fetch_add(1, Relaxed);
                let made = connection::Raw { tcp, address, permit };
                tokio::spawn(connection::run(made, shared.clone(), service.clone(), told.clone()));
            }
            Err(_) => {
                shared.refused.fetch_add(1, Relaxed);
                refuse::refuse(tcp, &shared);
            }
        }
    }
    drop(socket);
    shared.listening.add_permits(1);
}
