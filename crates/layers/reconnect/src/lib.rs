#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! What the peer may have is sent again only if it has an id; what it cannot have is sent in order. Order: it is the
//! outermost layer of a dialer; a retry or timeout inside it bounds each dial. Cancel: a dial that is dropped leaves
//! nothing; dropping the connection drains for at most the close deadline, dialing on meanwhile, and then stops.
//!
//! # How it works
//!
//! It composes links: one queue, one driver and one state, those of the connection that it answers. A task of its own
//! does not exist; dialing goes on inside the polls of the two halves, whichever is polled. `send` encodes for the link
//! that stands (`intake`), whose writing half takes those bytes as they are; frames are kept until they are flushed or
//! answered, and encoded once more for a link that comes later (`feed`). The halves share one lock, taken per batch of
//! writes, per receipt, and while no link stands; reading packets takes none.

mod alive;
mod course;
mod feed;
mod halves;
mod intake;
mod life;
mod options;
mod shared;
mod unanswered;
mod up;

use std::fmt;
use std::sync::Arc;

use haul_core::{
    Backoff, BoxFuture, Connection, Endpoint, Info, Limits, Link, Result, Service, State, StateCell, Task,
};
use tower_layer::Layer;

use alive::Alive;
use course::Course;
use halves::{Reader, Streams, Writer};
use intake::Intake;
pub use options::ReconnectOptions;
use shared::Shared;

type Hook = Arc<dyn for<'a> Fn(&'a Connection) -> BoxFuture<'a, Result<()>> + Send + Sync>;

/// Puts [`Reconnect`] around dialers.
#[derive(Clone)]
pub struct ReconnectLayer {
    options: ReconnectOptions,
    backoff: Backoff,
    hook: Option<Hook>,
    random: fn() -> u64,
}

impl ReconnectLayer {
    /// A layer with these options. Errors: `Config` for a value out of its range.
    pub fn new(options: ReconnectOptions) -> Result<Self> {
        Ok(Self { backoff: options.check()?, options, hook: None, random: Backoff::random })
    }

    /// Calls `resubscribe` with each new connection after the first, before anything else is sent on it: to send its
    /// subscriptions again.
    ///
    /// What it sends is flushed first. What the peer answers goes to the application; it receives nothing itself. If it
    /// fails, so does that dial, and the next one follows after its wait.
    #[must_use]
    pub fn on_reconnect(
        mut self,
        resubscribe: impl for<'a> Fn(&'a Connection) -> BoxFuture<'a, Result<()>> + Send + Sync + 'static,
    ) -> Self {
        self.hook = Some(Arc::new(resubscribe));
        self
    }
}

impl<S: Service<Endpoint>> Layer<S> for ReconnectLayer {
    type Service = Reconnect;

    fn layer(&self, inner: S) -> Reconnect {
        Reconnect { dialer: haul_core::Shared::new(inner), layer: self.clone() }
    }
}

/// A dialer whose connections survive cuts. See the crate's documentation.
#[derive(Clone)]
pub struct Reconnect {
    dialer: haul_core::Shared<Endpoint>,
    layer: ReconnectLayer,
}

impl Service<Endpoint> for Reconnect {
    /// Dials once, and answers a connection that dials again by itself whenever it is cut.
    ///
    /// Errors: the dialer's, and `Timeout` after `connect_timeout`. Cancelled, nothing is left.
    async fn call(&self, endpoint: Endpoint) -> Result<Connection> {
        let course = self.course(endpoint);
        course.state.set(State::Connecting)?;
        let link = course.dial(false).await?;
        let (info, limits) = (link.info.clone(), link.limits.clone());
        let multiplexes = link.multiplex.is_some();
        let composed = compose(course, info, limits, multiplexes, Some(link));
        Ok(Connection::new(composed, spawn))
    }
}

impl Reconnect {
    /// A connection that is `Disconnected` and begins to dial at once by itself, again and again as after a cut, so that
    /// every state can be watched. What is sent before it stands waits in its send buffer.
    ///
    /// What the peer can do is not known yet, so deliveries are answered when they are flushed, with level `Sent`, and
    /// metadata is refused until the first link stands; [`connect_lazy_as`](Self::connect_lazy_as) promises more.
    ///
    /// Must be called within a tokio runtime.
    pub fn connect_lazy(&self, endpoint: Endpoint) -> Connection {
        let info = Info::new("reconnect", "unknown");
        self.connect_lazy_as(endpoint, info)
    }

    /// As [`connect_lazy`](Self::connect_lazy), for a peer known to be as `info` says. A peer that can do less fails the
    /// connection with `Unsupported`.
    pub fn connect_lazy_as(&self, endpoint: Endpoint, mut info: Info) -> Connection {
        if info.peer.is_empty() {
            info.peer = endpoint.to_string();
        }
        let link = compose(self.course(endpoint), info, Limits::default(), false, None);
        Connection::new(link, spawn)
    }

    fn course(&self, endpoint: Endpoint) -> Course {
        Course {
            dialer: self.dialer.clone(),
            endpoint,
            options: self.layer.options.clone(),
            backoff: self.layer.backoff,
            hook: self.layer.hook.clone(),
            state: StateCell::new(State::Disconnected { reason: None }),
            random: self.layer.random,
        }
    }
}

/// The link that survives links, beginning with `first` if there is one.
fn compose(course: Course, info: Info, mut limits: Limits, multiplexes: bool, first: Option<Link>) -> Link {
    let state = course.state.clone();
    let after_clean_close = course.options.after_clean_close;
    let alive = Alive::take_from(&mut limits);
    let intake = Intake::new(&info);
    let shared = Shared::new(Arc::new(course), info.clone(), limits.max_unanswered, intake.clone());
    let shared = Arc::new(shared);
    if let Some(link) = first {
        shared.lock().begin(link);
    }
    let reader = Reader::new(shared.clone(), alive, after_clean_close);
    let link = Link::new(info, reader, Writer::new(shared.clone()))
        .with_encoder(intake)
        .with_limits(limits)
        .with_state(state);
    match multiplexes {
        true => link.with_multiplex(Arc::new(Streams(shared))),
        false => link,
    }
}

fn spawn(task: Task) {
    tokio::spawn(task);
}

impl fmt::Debug for ReconnectLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReconnectLayer")
            .field("options", &self.options)
            .field("resubscribes", &self.hook.is_some())
            .finish()
    }
}

impl fmt::Debug for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reconnect").field(&self.layer.options).finish()
    }
}

#[cfg(test)]
mod tests;
