//! Further connections on one session.

use std::future::Future;
use std::pin::Pin;

use crate::{Connection, PathStats, Reliability, Result};

/// A boxed future, for traits that must be object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A session that carries many streams, each a [`Connection`].
pub trait Multiplex: Send + Sync + 'static {
    /// Opens a stream. Errors: `Unsupported` for options that the protocol does not have, `Closed`.
    fn open(&self, options: StreamOptions) -> BoxFuture<'_, Result<Connection>>;

    /// The next stream that the peer opened; `None` when the session is over.
    ///
    /// Cancel-safe: a stream is not lost when the future is dropped.
    fn accept(&self) -> BoxFuture<'_, Result<Option<Connection>>>;

    /// What the way to the peer is like; `None` where that is not measured.
    fn path(&self) -> Option<PathStats> {
        None
    }
}

/// What a stream should be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Reliable, or a channel of datagrams.
    pub reliability: Reliability,
    /// Packets arrive in the order in which they were sent.
    pub ordered: bool,
    /// Larger goes first; streams of equal priority take turns.
    pub priority: i32,
    /// The congestion controller by name, where the protocol lets one choose.
    pub congestion: Option<String>,
}

impl Default for StreamOptions {
    /// A reliable, ordered stream of priority 0.
    fn default() -> Self {
        Self { reliability: Reliability::Reliable, ordered: true, priority: 0, congestion: None }
    }
}

impl StreamOptions {
    /// A reliable stream whose packets may overtake each other.
    pub fn unordered() -> Self {
        Self { ordered: false, ..Self::default() }
    }

    /// A channel of datagrams.
    pub fn datagrams() -> Self {
        Self { reliability: Reliability::Unreliable, ordered: false, ..Self::default() }
    }
}
