//! Accepting connections: one accept loop for every protocol, with its bounds.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::{Connection, Endpoint, Error, ErrorKind, Link, Options, Result, Spawn};

/// What a protocol supplies to be listened on.
pub trait Incoming: Send + Sync + 'static {
    /// A connection before its handshake.
    type Raw: Send + 'static;

    /// The next one. An error is counted and, after a short pause, accepting goes on. Cancel-safe.
    fn accept(&self) -> impl Future<Output = Result<Self::Raw>> + Send;

    /// Makes a link of it. The listener sees to the deadline.
    fn handshake(&self, raw: Self::Raw) -> impl Future<Output = Result<Link>> + Send;

    /// Turns it away in the protocol's own words, because too many are there. The listener sees to the deadline.
    fn refuse(&self, raw: Self::Raw) -> impl Future<Output = ()> + Send;
}

/// The bounds of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Connections at once, those in their handshake included; one more is refused in the protocol's own words.
    /// Default 65,536.
    pub max_connections: usize,
    /// A handshake that takes longer is cut. Default 10 s.
    pub handshake_deadline: Duration,
    /// Connections that wait to be accepted; further ones wait with their handshake done, each with its place among
    /// `max_connections`. Default 1024.
    pub backlog: usize,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self { max_connections: 65_536, handshake_deadline: Duration::from_secs(10), backlog: 1024 }
    }
}

impl ListenerLimits {
    /// The options that every listener reads from its endpoint.
    pub const OPTIONS: &[&'static str] = &["max_connections", "handshake", "backlog"];

    /// The bounds that `options` set, the others as by default. Errors: `Config`.
    pub fn from_options(options: &Options<'_>) -> Result<Self> {
        let default = Self::default();
        Ok(Self {
            max_connections: options.get("max_connections")?.unwrap_or(default.max_connections),
            handshake_deadline: options.duration("handshake")?.unwrap_or(default.handshake_deadline),
            backlog: options.get("backlog")?.unwrap_or(default.backlog),
        })
    }
}

/// What a listener has seen so far.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Connections that finished their handshake.
    pub accepted: u64,
    /// Connections refused because too many were there.
    pub refused: u64,
    /// Handshakes that failed or took too long, and accepts that the operating system failed.
    pub failed: u64,
    /// Connections open now, handshakes included.
    pub open: usize,
    /// The last failure.
    pub last_failure: Option<Error>,
}

/// Accepts connections on one endpoint. Dropping it stops listening; connections go on.
pub struct Listener {
    local: Endpoint,
    ready: tokio::sync::Mutex<mpsc::Receiver<Connection>>,
    stop: watch::Sender<bool>,
    shared: Arc<Shared>,
}

struct Shared {
    limits: ListenerLimits,
    permits: Arc<Semaphore>,
    accepted: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    last_failure: Mutex<Option<Error>>,
}

impl Listener {
    /// Listens with `incoming`, bound to `local`, on tasks started by `spawn`.
    pub fn new(local: Endpoint, incoming: impl Incoming, limits: ListenerLimits, spawn: Spawn) -> Self {
        let (ready_in, ready) = mpsc::channel(limits.backlog.max(1));
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            permits: Arc::new(Semaphore::new(limits.max_connections)),
            limits,
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_failure: Mutex::new(None),
        });
        let driver = drive(Arc::new(incoming), shared.clone(), ready_in, stopped.clone(), spawn);
        spawn(Box::pin(async move {
            let _: Option<()> = until(stopped, driver).await;
        }));
        Self { local, ready: ready.into(), stop, shared }
    }

    /// The next connection, its handshake done; `None` after [`shutdown`](Self::shutdown). Cancel-safe.
    pub async fn accept(&self) -> Result<Option<Connection>> {
        Ok(self.ready.lock().await.recv().await)
    }

    /// Where it listens, with the port that it was given.
    pub fn local_endpoint(&self) -> &Endpoint {
        &self.local
    }

    /// What it has seen so far.
    pub fn stats(&self) -> ListenerStats {
        let shared = &self.shared;
        ListenerStats {
            accepted: shared.accepted.load(Relaxed),
            refused: shared.refused.load(Relaxed),
            failed: shared.failed.load(Relaxed),
            open: shared.limits.max_connections - shared.permits.available_permits(),
            last_failure: shared.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Stops listening at once, cuts handshakes, and waits until every connection is gone or `deadline` has passed.
    ///
    /// Errors: `Timeout` with the number of connections still open; they go on. Cancelled, it has stopped listening.
    pub async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.stop.send_replace(true);
        {
            let mut ready = self.ready.lock().await;
            ready.close();
            while ready.try_recv().is_ok() {}
        }
        let all = u32::try_from(self.shared.limits.max_connections).unwrap_or(u32::MAX);
        let gone = async {
            // The address is free again, and no handshake is under way.
            self.stop.closed().await;
            self.shared.permits.acquire_many(all).await.map(drop)
        };
        match timeout(deadline, gone).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "shut down {}: {} connections still open after {deadline:?}",
                    self.local,
                    self.stats().open
                ),
            )),
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("local", &self.local).field("stats", &self.stats()).finish()
    }
}

impl Shared {
    fn count_failure(&self, why: Error) {
        self.failed.fetch_add(1, Relaxed);
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

async fn drive<I: Incoming>(
    incoming: Arc<I>,
    shared: Arc<Shared>,
    ready: mpsc::Sender<Connection>,
    stopped: watch::Receiver<bool>,
    spawn: Spawn,
) {
    loop {
        let raw = match incoming.accept().await {
            Ok(raw) => raw,
            Err(why) => {
                // Out of file descriptors, mostly: they come back when connections end.
                shared.count_failure(why);
                sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (incoming, shared, stopped) = (incoming.clone(), shared.clone(), stopped.clone());
        match shared.permits.clone().try_acquire_owned() {
            Ok(permit) => {
                let welcome = welcome(incoming, raw, shared, permit, ready.clone(), spawn);
                spawn(Box::pin(async move {
                    let _: Option<()> = until(stopped, welcome).await;
                }));
            }
            Err(_) => {
                shared.refused.fetch_add(1, Relaxed);
                spawn(Box::pin(async move {
                    let _: Option<_> =
                        until(stopped, timeout(shared.limits.handshake_deadline, incoming.refuse(raw))).await;
                }));
            }
        }
    }
}

async fn welcome<I: Incoming>(
    incoming: Arc<I>,
    raw: I::Raw,
    shared: Arc<Shared>,
    permit: OwnedSemaphorePermit,
    ready: mpsc::Sender<Connection>,
    spawn: Spawn,
) {
    let deadline = shared.limits.handshake_deadline;
    match timeout(deadline, incoming.handshake(raw)).await {
        Ok(Ok(link)) => {
            shared.accepted.fetch_add(1, Relaxed);
            // A listener that is gone takes no more: the connection is dropped and closes.
            let _ = ready.send(Connection::new(link.with_guard(permit), spawn)).await;
        }
        Ok(Err(why)) => shared.count_failure(why),
        Err(_) => {
            shared.count_failure(Error::new(ErrorKind::Timeout, format!("no handshake within {deadline:?}")));
        }
    }
}

/// Runs `work` until it is done, or until told to stop or nobody can tell any more: `None`.
async fn until<T>(mut stopped: watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    // Dropped after `work`: who sees the last receiver of the word gone knows that all work is gone.
    let mut stop = pin!(async move { stopped.wait_for(|stop| *stop).await.is_ok() });
    let mut work = pin!(work);
    poll_fn(|cx| {
        if stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}
