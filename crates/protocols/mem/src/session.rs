//! Sessions: the streams that two ends share.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haul_core::{
    BoxFuture, Connection, Error, ErrorKind, Info, Limits, Link, Multiplex, Reliability, Result,
    StreamOptions,
};
use tokio::sync::Notify;

use crate::link::{MemRead, MemWrite};
use crate::pipe::Pipe;

/// Largest unreliable packet in bytes: what every path of the internet carries (RFC 9000 section 14), so that what
/// works here works over datagrams elsewhere.
pub const MAX_DATAGRAM: usize = 1200;

/// Bytes that wait for one end of a stream to receive them, unless the endpoint says otherwise.
pub(crate) const DEFAULT_QUEUE: usize = 64 << 10;

/// Streams that wait to be accepted; then `open` waits.
const WAITING_STREAMS: usize = 256;

/// Two connected ends with default bounds, driven on the tokio runtime that it is called in.
pub fn pair() -> (Connection, Connection) {
    pair_with(Limits::default())
}

/// Two connected ends with these bounds.
pub fn pair_with(limits: Limits) -> (Connection, Connection) {
    let end = |name: &str| End::new(name.to_owned(), limits.clone(), DEFAULT_QUEUE);
    let (a, b) = connect(end("pair/a"), end("pair/b"));
    (Connection::new(a, crate::spawn), Connection::new(b, crate::spawn))
}

/// What one end wants: its name and its bounds.
#[derive(Clone, Debug)]
pub(crate) struct End {
    name: String,
    limits: Limits,
    queue: usize,
}

impl End {
    pub(crate) fn new(name: String, limits: Limits, queue: usize) -> Self {
        Self { name, limits, queue }
    }
}

/// A session between two ends, and the default stream of each.
pub(crate) fn connect(dialer: End, listener: End) -> (Link, Link) {
    let session = Arc::new(Session { ends: [dialer, listener], sides: [Side::default(), Side::default()] });
    let (a, b) = session.stream(0, 0, &StreamOptions::default());
    (Seat::take(&session, 0).link(a), Seat::take(&session, 1).link(b))
}

struct Session {
    ends: [End; 2],
    sides: [Side; 2],
}

#[derive(Default)]
struct Side {
    state: Mutex<SideState>,
    /// Streams were opened, accepted, or the session is over.
    changed: Notify,
    opened: AtomicU64,
}

#[derive(Default)]
struct SideState {
    /// Opened by the peer and not yet accepted.
    waiting: VecDeque<Link>,
    /// Streams of this side that are open.
    open: usize,
    over: bool,
}

impl Side {
    fn state(&self) -> MutexGuard<'_, SideState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Both ends of a new stream; the first belongs to `side`.
    fn stream(&self, side: usize, id: u64, options: &StreamOptions) -> (Link, Link) {
        let [near, far] = [&self.ends[side], &self.ends[1 - side]];
        let out = Pipe::new(far.queue);
        let back = Pipe::new(near.queue);
        let link = |ours: &End, theirs: &End, read: &Pipe, write: &Pipe| {
            let read = MemRead { pipe: read.clone(), max_packet: ours.limits.max_packet };
            let info = info(ours, theirs, id, options);
            Link::new(info, read, MemWrite(write.clone())).with_limits(ours.limits.clone())
        };
        (link(near, far, &back, &out), link(far, near, &out, &back))
    }
}

fn info(ours: &End, theirs: &End, id: u64, options: &StreamOptions) -> Info {
    let datagrams = options.reliability == Reliability::Unreliable;
    let mut info = Info::new("mem", "packets");
    info.local.clone_from(&ours.name);
    info.peer.clone_from(&theirs.name);
    // A datagram that was dropped is never answered.
    info.receipts = !datagrams;
    info.metadata = true;
    info.kinds = true;
    info.half_close = true;
    info.pings = true;
    info.max_datagram = Some(MAX_DATAGRAM);
    info.datagrams_only = datagrams;
    info.stream_id = Some(id);
    info
}

/// One side's hold on the session.
struct Seat {
    session: Arc<Session>,
    side: usize,
}

impl Seat {
    fn take(session: &Arc<Session>, side: usize) -> Self {
        Self { session: session.clone(), side }
    }

    /// `link` as a stream of this side, counted while it is open.
    fn link(self, link: Link) -> Link {
        self.session.sides[self.side].state().open += 1;
        let guard = Open(Self::take(&self.session, self.side));
        link.with_multiplex(Arc::new(self)).with_guard(guard)
    }

    fn ours(&self) -> &Side {
        &self.session.sides[self.side]
    }

    fn theirs(&self) -> &Side {
        &self.session.sides[1 - self.side]
    }

    /// The stream's number: even where the dialer opened it, odd where the listener did.
    fn next_id(&self) -> u64 {
        let count = self.ours().opened.fetch_add(1, Ordering::Relaxed);
        if self.side == 0 { 2 * count + 2 } else { 2 * count + 1 }
    }

    async fn open_stream(&self, options: StreamOptions) -> Result<Connection> {
        if let Some(name) = options.congestion {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("congestion control {name}: in-process streams have none"),
            ));
        }
        let (near, far) = self.session.stream(self.side, self.next_id(), &options);
        loop {
            let changed = self.theirs().changed.notified();
            if self.ours().state().over {
                return Err(over());
            }
            {
                let mut theirs = self.theirs().state();
                if theirs.over {
                    return Err(over());
                }
                if theirs.waiting.len() < WAITING_STREAMS {
                    theirs.waiting.push_back(far);
                    break;
                }
            }
            changed.await;
        }
        self.theirs().changed.notify_waiters();
        Ok(Connection::new(Self::take(&self.session, self.side).link(near), crate::spawn))
    }

    async fn accept_stream(&self) -> Result<Option<Connection>> {
        loop {
            let changed = self.ours().changed.notified();
            let next = {
                let mut ours = self.ours().state();
                (ours.waiting.pop_front(), ours.over)
            };
            match next {
                (Some(link), _) => {
                    self.ours().changed.notify_waiters();
                    let link = Self::take(&self.session, self.side).link(link);
                    return Ok(Some(Connection::new(link, crate::spawn)));
                }
                (None, true) => return Ok(None),
                (None, false) if self.theirs().state().over => return Ok(None),
                (None, false) => {}
            }
            changed.await;
        }
    }
}

fn over() -> Error {
    Error::new(ErrorKind::Closed, "open a stream: the session is over")
}

impl Multiplex for Seat {
    fn open(&self, options: StreamOptions) -> BoxFuture<'_, Result<Connection>> {
        Box::pin(self.open_stream(options))
    }

    fn accept(&self) -> BoxFuture<'_, Result<Option<Connection>>> {
        Box::pin(self.accept_stream())
    }
}

/// Held by a stream while it is open: with the last one of a side the session is over.
struct Open(Seat);

impl Drop for Open {
    fn drop(&mut self) {
        let waiting = {
            let mut ours = self.0.ours().state();
            ours.open -= 1;
            if ours.open > 0 {
                return;
            }
            ours.over = true;
            std::mem::take(&mut ours.waiting)
        };
        // Streams that nobody will accept are cut.
        drop(waiting);
        self.0.ours().changed.notify_waiters();
        self.0.theirs().changed.notify_waiters();
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("end", &self.session.ends[self.side]).finish()
    }
}
