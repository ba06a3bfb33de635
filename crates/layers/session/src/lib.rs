#![doc = include_str!("../README.md")]
//!
//! # How it works
//!
//! It composes links: one queue, one driver and one state, those of the connection that it answers. What `send` accepts
//! is numbered, kept, and encoded for the link that stands at once; a link that comes later is given again what the peer
//! lacks. The numbers do not travel: a link carries its items in order, and a resume says how many came before.
//! `docs/wire/session.md` describes every byte.

mod acceptor;
mod alive;
mod budget;
mod client;
mod greeting;
mod handshake;
#[cfg(test)]
mod history_tests;
mod inbound;
mod link;
mod options;
mod outgoing;
mod plain;
mod reader;
mod settling;
mod shared;
mod table;
mod token;
mod wakers;
mod wire;
mod writer;

use std::fmt;
use std::sync::{Arc, Weak};

use haul_core::{Backoff, Connection, Endpoint, Error, ErrorKind, Result, Service, State, StateCell, Task};
use tower_layer::Layer;

pub use acceptor::Acceptor;
use client::{Client, Course};
pub use options::{AcceptorOptions, SessionOptions};

/// Puts [`Session`] around dialers.
#[derive(Clone, Debug)]
pub struct SessionLayer {
    options: SessionOptions,
    backoff: Backoff,
}

impl SessionLayer {
    /// A layer with these options. Errors: `Config` for a value out of its range.
    pub fn new(options: SessionOptions) -> Result<Self> {
        Ok(Self { backoff: options.check()?, options })
    }
}

impl<S: Service<Endpoint>> Layer<S> for SessionLayer {
    type Service = Session;

    fn layer(&self, inner: S) -> Session {
        Session { dialer: haul_core::Shared::new(inner), layer: self.clone() }
    }
}

/// A dialer whose connections are sessions. See the crate's documentation.
#[derive(Clone)]
pub struct Session {
    dialer: haul_core::Shared<Endpoint>,
    layer: SessionLayer,
}

impl Session {
    /// Opens a session with `endpoint`, and answers its connection with the handle that moves it.
    ///
    /// Errors: the dialer's; `Timeout` after `connect_timeout`; `Unsupported` if the peer does not speak sessions, or the
    /// link cannot carry them; the server's refusal. Cancelled, nothing is left.
    pub async fn open(&self, endpoint: Endpoint) -> Result<(Connection, Mover)> {
        let SessionLayer { options, backoff } = self.layer.clone();
        let window = options.window();
        let course = Arc::new(Course::new(self.dialer.clone(), endpoint, options, backoff));
        let granted = course.open_first().await?;
        let (mut info, mut limits) = (granted.link().info.clone(), granted.link().limits.clone());
        info.stream_id = None;
        (limits.ping_interval, limits.idle_deadline) = (None, None);
        let keeper = Box::new(Client(course.clone()));
        let state = StateCell::new(State::Connecting);
        let shared = shared::Shared::new(keeper, state, window, limits.max_packet, None);
        let mover = Mover { course: course.clone(), shared: Arc::downgrade(&shared) };
        let above = link::link(&shared, info, limits);
        course.begin(&shared, granted, None)?;
        Ok((Connection::new(above, spawn), mover))
    }
}

impl Service<Endpoint> for Session {
    /// As [`open`](Session::open), for a connection that is not moved by hand.
    async fn call(&self, endpoint: Endpoint) -> Result<Connection> {
        Ok(self.open(endpoint).await?.0)
    }
}

/// Moves one session to other transports.
#[derive(Clone)]
pub struct Mover {
    course: Arc<Course>,
    shared: Weak<shared::Shared>,
}

impl Mover {
    /// Moves the session to `endpoint`, which one of the same [`Acceptor`]'s listeners serves. The link that stands is
    /// used until the other one is connected; no packet is lost or repeated. Later dials go to `endpoint`.
    ///
    /// Errors: the dialer's, `Timeout`, the server's refusal, and `Closed` if the session is over or has no link just
    /// now. Unless the session is over it goes on as it was. Cancelled, it may have moved or not.
    pub async fn move_to(&self, endpoint: Endpoint) -> Result<()> {
        let gone = || Error::new(ErrorKind::Closed, format!("move a session to {endpoint}: it is over"));
        let shared = self.shared.upgrade().ok_or_else(gone)?;
        self.course.move_to(&shared, endpoint).await
    }

    /// Where the session is dialed.
    pub fn endpoint(&self) -> Endpoint {
        self.course.endpoint()
    }
}

fn spawn(task: Task) {
    tokio::spawn(task);
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.layer.options).finish()
    }
}

impl fmt::Debug for Mover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mover").field(&self.endpoint()).finish()
    }
}
