//! What a protocol supplies: two poll-based halves and the facts. Core makes a [`Connection`](crate::Connection) of it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::wire::{Frame, SendBuf, WriteBuf};
use crate::{CloseReason, Info, Limits, Multiplex, Packet, Result, StateCell};

/// The receiving half of a link. It shares no lock with the writing half.
pub trait ReadHalf: Send {
    /// The next frame. `None` when the peer has finished: nothing more will come. After an error of kind `Gap`
    /// reading goes on; any other error is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>>;

    /// Appends packets that have arrived whole already, in order and at most `most`, without reading: the cheap way for
    /// many small ones. It stops before all else (a packet that wants a receipt, other frames, errors), which the next
    /// [`poll_read`](Self::poll_read) gives. The default appends none.
    fn take_arrived(&mut self, _packets: &mut Vec<Packet>, _most: usize) {}

    /// Packets that arrived so far and were dropped for want of room, where a protocol may do so (datagrams). They are
    /// part of [`Stats::packets_discarded`](crate::Stats::packets_discarded).
    fn discarded(&self) -> u64 {
        0
    }
}

/// The sending half of a link.
///
/// An error of kind `Gap` says that the link goes on and has given up packets that it was to write or flush: those who
/// wait for them are told. Any other error is the end.
pub trait WriteHalf: Send {
    /// Takes from `out` until it is empty; `Pending` while the link takes no more.
    ///
    /// With an [`Encoder`] `out` holds bytes, without one frames.
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>>;

    /// Hands everything taken to the operating system.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Ends the sending direction, after everything was flushed. Asked once more when a connection whose protocol has close
    /// frames is over: by then the peer's has come.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Cuts the link at once, with the protocol's own code if it has one. The default lets the drop of the halves cut.
    fn abort(&mut self, _reason: &CloseReason) {}
}

/// Turns frames into bytes at the moment they are sent: for protocols on byte streams.
pub trait Encoder: Send {
    /// Appends `frame` to `out`. On an error nothing was appended. Errors: `Unsupported` for what the protocol cannot
    /// carry (metadata, receipts, pings), `Codec` for what it cannot express.
    fn encode(&mut self, frame: &Frame, out: &mut WriteBuf) -> Result<()>;
}

/// Told how many more packets the application has settled, of those that the reading half gave, in their order: `recv`
/// settles what it answers, a [`Delivery`](crate::Delivery) is settled by its answer; what was only read ahead is not
/// settled. Called where packets are received or answered, at times with a lock of core held, so that it must neither wait
/// nor use the connection.
pub type OnSettled = Arc<dyn Fn(u64) + Send + Sync>;

/// A protocol's connection before core drives it: halves, facts, bounds.
///
/// Layers that survive the network compose links, not connections, so that a stack has one queue, one driver and one
/// state.
pub struct Link {
    /// What it is and can do.
    pub info: Info,
    /// Its bounds.
    pub limits: Limits,
    /// The receiving half.
    pub read: Box<dyn ReadHalf>,
    /// The sending half.
    pub write: Box<dyn WriteHalf>,
    /// Encodes at send; `None` for links that take frames.
    pub encoder: Option<Box<dyn Encoder>>,
    /// Opens further streams on the same session.
    pub multiplex: Option<Arc<dyn Multiplex>>,
    /// The state, where the link itself moves it (a link that reconnects); core moves it otherwise.
    pub state: Option<StateCell>,
    /// Told how many packets the application has settled, where the link wants to know.
    pub on_settled: Option<OnSettled>,
    /// Dropped when the connection is gone: a listener's permit, a session's handle.
    pub guard: Option<Box<dyn Any + Send>>,
}

impl Link {
    /// A link of two halves, with default bounds.
    pub fn new(info: Info, read: impl ReadHalf + 'static, write: impl WriteHalf + 'static) -> Self {
        Self {
            info,
            limits: Limits::default(),
            read: Box::new(read),
            write: Box::new(write),
            encoder: None,
            multiplex: None,
            state: None,
            on_settled: None,
            guard: None,
        }
    }

    /// The link with these bounds.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The link with an encoder: it takes bytes.
    #[must_use]
    pub fn with_encoder(mut self, encoder: impl Encoder + 'static) -> Self {
        self.encoder = Some(Box::new(encoder));
        self
    }

    /// The link with further streams.
    #[must_use]
    pub fn with_multiplex(mut self, multiplex: Arc<dyn Multiplex>) -> Self {
        self.multiplex = Some(multiplex);
        self
    }

    /// The link that moves this state itself.
    #[must_use]
    pub fn with_state(mut self, state: StateCell) -> Self {
        self.state = Some(state);
        self
    }

    /// The link that is told how many packets the application has settled.
    #[must_use]
    pub fn with_on_settled(mut self, told: impl Fn(u64) + Send + Sync + 'static) -> Self {
        self.on_settled = Some(Arc::new(told));
        self
    }

    /// The link that holds `guard` as long as the connection lives, beside what it holds already.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Any + Send) -> Self {
        self.guard = match self.guard.take() {
            None => Some(Box::new(guard)),
            Some(other) => Some(Box::new((other, guard))),
        };
        self
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("info", &self.info).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A task that a connection or listener needs: its driver.
pub type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// How tasks are started: core has no runtime of its own, so protocols pass `|task| drop(tokio::spawn(task))`.
pub type Spawn = fn(Task);
