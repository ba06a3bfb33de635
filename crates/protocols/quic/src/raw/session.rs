//! A session: the streams that two ends share.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use haul_core::wire::PREFACE;
use haul_core::{
    BoxFuture, CloseReason, Connection, Error, ErrorKind, Limits, Link, Metadata, Multiplex, PathStats,
    Reliability, Result, StreamOptions,
};
use quinn::ConnectionError;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::lane::{AT_ONCE, Lane, Part};
use super::late::Late;
use super::link::{Kind, Rx, Tx};
use super::transport::{RecvStream, SendStream, Transport};
use super::{Path, failure, tls, varint};

/// The number of a session's first stream, whatever it has on the wire.
pub(crate) const FIRST: u64 = 0;

/// Streams that wait to be accepted; further ones wait with what they carry.
const WAITING: usize = 256;

/// Streams of which something came before they did.
const EARLY: usize = 64;

/// What a session knows of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The protocol, as `Info` has it.
    pub protocol: &'static str,
    /// The local address.
    pub local: String,
    /// The peer's address.
    pub peer: String,
    /// Further facts of every stream.
    pub facts: Metadata,
    /// The bounds of every stream.
    pub limits: Limits,
    /// The congestion controller.
    pub congestion: &'static str,
    /// How long a stream may take to say what it is.
    pub preface: Duration,
}

impl Facts {
    /// What is known of a connection whose handshake is done, at a socket bound to `local`.
    pub fn new(
        protocol: &'static str,
        quic: &quinn::Connection,
        local: SocketAddr,
        path: &Path,
        preface: Duration,
    ) -> Self {
        // A socket bound to every address learns from its packets which of them is its own.
        let local = quic.local_ip().map_or(local, |ip| (ip, local.port()).into());
        Self {
            protocol,
            local: local.to_string(),
            peer: quic.remote_address().to_string(),
            facts: tls::facts(quic),
            limits: path.limits.clone(),
            congestion: path.congestion,
            preface,
        }
    }
}

/// Streams on one QUIC connection. It lasts as long as this end has one that is open.
pub struct Session<T: Transport> {
    pub(crate) transport: T,
    pub(crate) facts: Facts,
    state: Mutex<State<T>>,
    ready: tokio::sync::Mutex<mpsc::Receiver<Box<Arrived<T>>>>,
}

struct State<T: Transport> {
    open: usize,
    reason: Option<CloseReason>,
    lanes: HashMap<u64, Arc<Lane<T::Recv>>>,
    /// The lanes whose stream has yet to come.
    early: VecDeque<u64>,
}

/// A stream that the peer opened, before it is accepted. Boxed, as a channel has room for 32 from the beginning.
struct Arrived<T: Transport> {
    kind: Kind,
    send: T::Send,
    recv: T::Recv,
}

impl<T: Transport> Session<T> {
    fn new(transport: T, facts: Facts) -> (Arc<Self>, mpsc::Sender<Box<Arrived<T>>>) {
        let (ready_in, ready) = mpsc::channel(WAITING);
        let state = State { open: 0, reason: None, lanes: HashMap::new(), early: VecDeque::new() };
        (Arc::new(Self { transport, facts, state: Mutex::new(state), ready: ready.into() }), ready_in)
    }

    /// The link of the end that dialed: it opens the first stream and says its preface at once.
    ///
    /// Errors: `Closed` and whatever else ended the connection. Cancelled, the session is closed.
    pub async fn dialed(transport: T, facts: Facts) -> Result<Link> {
        let (session, ready) = Self::new(transport, facts);
        let hold = Hold::take(&session, None);
        tokio::spawn(session.clone().drive(ready, None));
        let (send, recv) = session.open_stream(Kind::Ordered, 0).await?;
        let link = session.link(Kind::Ordered, FIRST, Tx::Ready(send), Rx::Ready(recv), true);
        drop(hold);
        Ok(link)
    }

    /// As [`dialed`](Self::dialed), with a first stream on which the preface and `said` bytes of the link were sent already.
    pub fn dialed_early(transport: T, facts: Facts, (send, recv): (T::Send, T::Recv), said: u64) -> Link {
        let (session, ready) = Self::new(transport, facts);
        let link = session.link(Kind::Ordered, FIRST, Tx::Early(send, said), Rx::Ready(recv), true);
        tokio::spawn(session.drive(ready, None));
        link
    }

    /// The link of the end that was dialed: it stands at once, and its stream comes when the peer opens it.
    pub fn accepted(transport: T, facts: Facts) -> Link {
        let (session, ready) = Self::new(transport, facts);
        let late = Arc::new(Late::new());
        let link = session.link(Kind::Ordered, FIRST, Tx::Late(late.clone()), Rx::Late(late.clone()), false);
        tokio::spawn(session.drive(ready, Some(late)));
        link
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session will be closed with this reason.
    pub(crate) fn note(&self, reason: CloseReason) {
        self.state().reason = Some(reason);
    }

    /// The lane of a stream that is there.
    pub(crate) fn claim(&self, id: u64) -> Arc<Lane<T::Recv>> {
        let mut state = self.state();
        state.early.retain(|early| *early != id);
        let lane = state.lanes.entry(id).or_insert_with(|| Arc::new(Lane::early())).clone();
        lane.claim();
        lane
    }

    /// The lane of a stream that may have yet to come; of those, the oldest makes room.
    fn lane(&self, id: u64) -> Arc<Lane<T::Recv>> {
        let mut state = self.state();
        if let Some(lane) = state.lanes.get(&id) {
            return lane.clone();
        }
        if state.early.len() >= EARLY
            && let Some(oldest) = state.early.pop_front()
        {
            state.lanes.remove(&oldest);
        }
        state.early.push_back(id);
        let lane = Arc::new(Lane::early());
        state.lanes.insert(id, lane.clone());
        lane
    }

    /// Takes in what the peer opens and sends, until the connection ends.
    async fn drive(
        self: Arc<Self>,
        ready: mpsc::Sender<Box<Arrived<T>>>,
        first: Option<Arc<Late<T::Send, T::Recv>>>,
    ) {
        let late = first.clone();
        let streams = async {
            let mut first = first;
            while let Ok((send, recv)) = self.transport.accept_bi().await {
                tokio::spawn(self.clone().welcome(send, recv, first.take(), ready.clone()));
            }
        };
        let parts = async {
            while let Ok(stream) = self.transport.accept_uni().await {
                tokio::spawn(self.clone().sort(stream));
            }
        };
        let datagrams = async {
            let mut came = Vec::new();
            while let Ok(datagram) = self.transport.read_datagram().await {
                came.push(datagram);
                let mut now = Context::from_waker(Waker::noop());
                while came.len() < AT_ONCE
                    && let Poll::Ready(Ok(datagram)) = pin!(self.transport.read_datagram()).poll(&mut now)
                {
                    came.push(datagram);
                }
                self.deal(&mut came);
            }
        };
        tokio::join!(streams, parts, datagrams);
        if let Some(late) = late {
            late.set(Err(self.end()));
        }
    }

    /// Puts datagrams into the lanes of their streams.
    fn deal(&self, came: &mut Vec<Bytes>) {
        let mut came = came.drain(..).filter_map(|mut datagram| {
            let (id, head) = varint::get(&datagram)?;
            datagram.advance(head);
            Some((id, datagram))
        });
        let mut next = came.next();
        while let Some((id, first)) = next.take() {
            let others = std::iter::from_fn(|| match came.next()? {
                (other, datagram) if other == id => Some(datagram),
                other => {
                    next = Some(other);
                    None
                }
            });
            self.lane(id).push_datagrams(std::iter::once(first).chain(others));
        }
    }

    /// Reads what a stream is, answers, and hands it over.
    async fn welcome(
        self: Arc<Self>,
        mut send: T::Send,
        mut recv: T::Recv,
        first: Option<Arc<Late<T::Send, T::Recv>>>,
        ready: mpsc::Sender<Box<Arrived<T>>>,
    ) {
        let preface = async {
            let mut theirs = [0; PREFACE.len()];
            recv.quic().read_exact(&mut theirs).await.map_err(|why| match why {
                quinn::ReadExactError::ReadError(why) => failure::read(&self.transport, why),
                why @ quinn::ReadExactError::FinishedEarly(_) => {
                    Error::new(ErrorKind::Closed, format!("the peer ended the stream: {why}"))
                }
            })?;
            let kind = Kind::of(&theirs).filter(|kind| first.is_none() || *kind == Kind::Ordered);
            let kind = kind.ok_or_else(|| super::link::stranger(&theirs))?;
            send.quic().write_all(PREFACE).await.map_err(|why| failure::write(&self.transport, why))?;
            Ok(kind)
        };
        let preface = timeout(self.facts.preface, preface).await.unwrap_or_else(|_| {
            let deadline = self.facts.preface;
            Err(Error::new(ErrorKind::Timeout, format!("a stream without its preface within {deadline:?}")))
        });
        match (preface, first) {
            (Ok(_), Some(first)) => first.set(Ok((send, recv))),
            (Ok(kind), None) => {
                // It waits for room as long as the session stands.
                tokio::select! {
                    _ = ready.send(Box::new(Arrived { kind, send, recv })) => {}
                    _ = self.transport.quic().closed() => {}
                }
            }
            (Err(why), first) => {
                let code = self.transport.code(CloseReason::PROTOCOL.code);
                // A stream that is gone needs no reset.
                let _ = (send.quic().reset(code), recv.quic().stop(code));
                if let Some(first) = first {
                    self.note(CloseReason::new(CloseReason::PROTOCOL.code, why.message().to_owned()));
                    first.set(Err(why));
                }
            }
        }
    }

    /// Reads whose a unidirectional stream is, and hands it over.
    async fn sort(self: Arc<Self>, mut stream: T::Recv) {
        let head = async {
            let id = read_varint(&mut stream).await?;
            Some((id, read_varint(&mut stream).await?))
        };
        match timeout(self.facts.preface, head).await {
            Ok(Some((id, number))) => self.lane(id).push_part(Part { number, stream }),
            _ => {
                // A stream that is gone cannot be stopped.
                let _ = stream.quic().stop(self.transport.code(CloseReason::PROTOCOL.code));
            }
        }
    }

    /// How the connection ended, or is about to.
    fn end(&self) -> Error {
        match self.transport.quic().close_reason() {
            Some(why) => self.transport.lost(&why),
            None => Error::new(ErrorKind::Closed, "the session is over"),
        }
    }

    /// Opens a stream and says what it is.
    async fn open_stream(&self, kind: Kind, priority: i32) -> Result<(T::Send, T::Recv)> {
        let (mut send, recv) = self.transport.open_bi().await?;
        if priority != 0 {
            // A stream that is gone already says so at its first write.
            let _ = send.quic().set_priority(priority);
        }
        send.quic().write_all(kind.preface()).await.map_err(|why| failure::write(&self.transport, why))?;
        Ok((send, recv))
    }

    fn kind(&self, options: &StreamOptions) -> Result<Kind> {
        let unsupported = |what: String| Err(Error::new(ErrorKind::Unsupported, what));
        if let Some(name) = &options.congestion
            && name != self.facts.congestion
        {
            return unsupported(format!(
                "congestion control {name}: the whole session has {}; choose it with `congestion=` when dialing",
                self.facts.congestion
            ));
        }
        match (options.reliability, options.ordered) {
            (Reliability::Reliable, true) => Ok(Kind::Ordered),
            (Reliability::Reliable, false) => Ok(Kind::Unordered),
            (Reliability::Unreliable, false) if self.room(u64::MAX).is_some() => Ok(Kind::Datagrams),
            (Reliability::Unreliable, false) => unsupported("the peer takes no datagrams".to_owned()),
            (Reliability::Unreliable, true) => unsupported("datagrams have no order".to_owned()),
        }
    }
}

async fn read_varint(stream: &mut impl RecvStream) -> Option<u64> {
    let mut bytes = [0; 8];
    stream.quic().read_exact(&mut bytes[..1]).await.ok()?;
    let len = 1 << (bytes[0] >> 6);
    stream.quic().read_exact(&mut bytes[1..len]).await.ok()?;
    varint::get(&bytes[..len]).map(|(value, _)| value)
}

impl<T: Transport> fmt::Debug for Session<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Held by both halves of a stream: with the last one of this end the session is over.
pub(crate) struct Hold<T: Transport> {
    session: Arc<Session<T>>,
    lane: Option<u64>,
}

impl<T: Transport> Hold<T> {
    pub(crate) fn take(session: &Arc<Session<T>>, lane: Option<u64>) -> Self {
        session.state().open += 1;
        Self { session: session.clone(), lane }
    }
}

impl<T: Transport> Drop for Hold<T> {
    fn drop(&mut self) {
        let reason = {
            let mut state = self.session.state();
            state.open -= 1;
            if let Some(lane) = self.lane {
                state.lanes.remove(&lane);
            }
            if state.open > 0 {
                return;
            }
            state.lanes.clear();
            state.reason.take().unwrap_or(CloseReason::NORMAL)
        };
        self.session.transport.close(&reason);
    }
}

/// The session as each of its connections has it.
pub(crate) struct Streams<T: Transport>(pub(crate) Arc<Session<T>>);

impl<T: Transport> Multiplex for Streams<T> {
    fn open(&self, options: StreamOptions) -> BoxFuture<'_, Result<Connection>> {
        let session = &self.0;
        Box::pin(async move {
            let opened = async {
                let kind = session.kind(&options)?;
                let (send, recv) = session.open_stream(kind, options.priority).await?;
                Ok((kind, send, recv))
            };
            let (kind, mut send, recv) = opened
                .await
                .map_err(|why: Error| why.while_doing(format!("open a stream to {}", session.facts.peer)))?;
            let id = number(&mut send);
            Ok(Connection::new(session.link(kind, id, Tx::Ready(send), Rx::Ready(recv), true), crate::spawn))
        })
    }

    fn accept(&self) -> BoxFuture<'_, Result<Option<Connection>>> {
        let session = &self.0;
        Box::pin(async move {
            let arrived = session.ready.lock().await.recv().await;
            let Some(arrived) = arrived else {
                return match session.transport.quic().close_reason() {
                    None | Some(ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed) => {
                        Ok(None)
                    }
                    Some(why) => Err(session
                        .transport
                        .lost(&why)
                        .while_doing(format!("accept a stream from {}", session.facts.peer))),
                };
            };
            let Arrived { kind, mut send, recv } = *arrived;
            let id = number(&mut send);
            let link = session.link(kind, id, Tx::Ready(send), Rx::Ready(recv), false);
            Ok(Some(Connection::new(link, crate::spawn)))
        })
    }

    fn path(&self) -> Option<PathStats> {
        let known = self.0.transport.quic().stats().path;
        let mut path = PathStats::new(known.rtt);
        path.congestion_window = known.cwnd;
        path.packets_sent = known.sent_packets;
        path.packets_lost = known.lost_packets;
        path.bytes_lost = known.lost_bytes;
        Some(path)
    }
}

/// A stream's number on the wire.
fn number(send: &mut impl SendStream) -> u64 {
    quinn::VarInt::from(send.quic().id()).into_inner()
}
