//! Names, and listening on them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use haul_core::{
    Connection, Dial, Endpoint, Error, ErrorKind, Incoming, Limits, Link, Listener, ListenerLimits, Place,
    Result, Status,
};
use tokio::sync::{mpsc, oneshot};

use crate::session::{DEFAULT_QUEUE, End, connect};
use crate::{Dialer, SCHEMES};

/// Dials that wait for the listener's accept loop; then they wait in `dial`.
const WAITING: usize = 128;

/// A namespace: who listens on which name. Clones share it; the default is the process-wide one.
#[derive(Clone)]
pub struct Mem(Arc<Names>);

type Names = Mutex<HashMap<String, mpsc::Sender<Request>>>;

static PROCESS: LazyLock<Mem> = LazyLock::new(Mem::new);

impl Default for Mem {
    fn default() -> Self {
        PROCESS.clone()
    }
}

impl Mem {
    /// A namespace of its own.
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// A dialer of these names.
    pub fn dialer(&self) -> Dialer {
        Dialer::new(self.clone())
    }

    /// Connects to `endpoint`. Errors and cancellation: as [`Dialer`].
    pub async fn dial(&self, endpoint: Endpoint) -> Result<Connection> {
        self.dialer().dial(endpoint).await
    }

    /// Listens on the name in `endpoint`, on tasks of the tokio runtime that it is called in.
    ///
    /// Errors: `Config` for what is wrong with the endpoint, `Connect` (transient) if the name is taken.
    pub fn listen(&self, endpoint: Endpoint) -> Result<Listener> {
        let incoming =
            self.bind(&endpoint).map_err(|why| why.while_doing(format_args!("listen on {endpoint}")))?;
        let (incoming, limits) = incoming;
        Ok(Listener::new(endpoint, incoming, limits, crate::spawn))
    }

    fn bind(&self, endpoint: &Endpoint) -> Result<(Door, ListenerLimits)> {
        let name = name_of(endpoint)?;
        let known = [Limits::OPTIONS, ListenerLimits::OPTIONS, &["queue"]].concat();
        let options = endpoint.options(Place::Query, &known)?;
        let limits = Limits::from_options(&options)?;
        let queue = options.bytes("queue")?.unwrap_or(DEFAULT_QUEUE);
        let listener_limits = ListenerLimits::from_options(&options)?;
        let (dials, waiting) = mpsc::channel(WAITING);
        let mut names = self.names();
        if names.get(name).is_some_and(|door| !door.is_closed()) {
            let taken = Error::new(
                ErrorKind::Connect,
                format!("the name {name} is taken: another listener of this process has it"),
            );
            return Err(taken.with_status(Status::Transient));
        }
        names.insert(name.to_owned(), dials.clone());
        let door = Door {
            mem: self.clone(),
            name: name.to_owned(),
            ours: dials,
            waiting: waiting.into(),
            limits,
            queue,
            count: AtomicU64::new(0),
        };
        Ok((door, listener_limits))
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Request>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn door(&self, name: &str) -> Option<mpsc::Sender<Request>> {
        self.names().get(name).cloned()
    }
}

impl fmt::Debug for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names().keys()).finish()
    }
}

/// Listens on a name of the whole process. Errors: as [`Mem::listen`].
pub fn listen(endpoint: Endpoint) -> Result<Listener> {
    Mem::default().listen(endpoint)
}

/// The name that `endpoint` means.
pub(crate) fn name_of(endpoint: &Endpoint) -> Result<&str> {
    let wrong =
        |what: &str| Error::new(ErrorKind::Config, format!("{what}; an endpoint looks like mem://name"));
    if !SCHEMES.contains(&endpoint.scheme()) {
        return Err(wrong(&format!("the scheme is {}", endpoint.scheme())));
    }
    if endpoint.port().is_some() || !matches!(endpoint.path(), "" | "/") || endpoint.user().is_some() {
        return Err(wrong("a name has no port, path or user"));
    }
    endpoint.host().ok_or_else(|| wrong("it has no name"))
}

/// A dial on its way to the listener.
pub(crate) struct Request {
    pub(crate) limits: Limits,
    pub(crate) queue: usize,
    pub(crate) answer: oneshot::Sender<Result<Link>>,
}

/// A name that is listened on.
struct Door {
    mem: Mem,
    name: String,
    ours: mpsc::Sender<Request>,
    waiting: tokio::sync::Mutex<mpsc::Receiver<Request>>,
    limits: Limits,
    queue: usize,
    count: AtomicU64,
}

impl Incoming for Door {
    type Raw = Request;

    async fn accept(&self) -> Result<Request> {
        let dial = self.waiting.lock().await.recv().await;
        dial.ok_or_else(|| Error::new(ErrorKind::Closed, "the name is no longer listened on"))
    }

    async fn handshake(&self, dial: Request) -> Result<Link> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let dialer = End::new(format!("{}/dialer-{number}", self.name), dial.limits, dial.queue);
        let listener = End::new(self.name.clone(), self.limits.clone(), self.queue);
        let (theirs, ours) = connect(dialer, listener);
        dial.answer
            .send(Ok(theirs))
            .map_err(|_| Error::new(ErrorKind::Closed, format!("the dialer of {} gave up", self.name)))?;
        Ok(ours)
    }

    async fn refuse(&self, dial: Request) {
        let full = Error::new(ErrorKind::Overloaded, format!("{} has its most connections", self.name));
        // A dialer that gave up needs no answer.
        let _ = dial.answer.send(Err(full));
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let mut names = self.mem.names();
        if names.get(&self.name).is_some_and(|door| door.same_channel(&self.ours)) {
            names.remove(&self.name);
        }
    }
}
