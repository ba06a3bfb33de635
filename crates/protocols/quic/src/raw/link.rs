//! Links over the streams of a session.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use haul_core::wire::{Framing, PREFACE};
use haul_core::{CloseReason, Error, ErrorKind, Info, Link, Result};

use super::encoder::{LinkEncoder, Marks};
use super::late::Late;
use super::ordered::{OrderedRead, OrderedWrite, Reader};
use super::session::{Hold, Session, Streams};
use super::transport::{SendStream, Transport};
use super::unordered::{UnorderedRead, UnorderedWrite};
use super::varint;

/// Largest payload of an unreliable packet: what fits every path of the internet (RFC 9000 section 14) with the head
/// of any packet.
pub(crate) const MAX_DATAGRAM: usize = 1120;

/// What a datagram has room for on a path of 1,200 bytes, with connection ids of 20.
const LEAST_ROOM: usize = 1150;

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ordered,
    Unordered,
    Datagrams,
}

impl Kind {
    /// What whoever opens it says first.
    pub(crate) fn preface(self) -> &'static [u8; 8] {
        match self {
            Self::Ordered => PREFACE,
            Self::Unordered => b"haul.v1u",
            Self::Datagrams => b"haul.v1d",
        }
    }

    pub(crate) fn of(preface: &[u8; 8]) -> Option<Self> {
        [Self::Ordered, Self::Unordered, Self::Datagrams].into_iter().find(|kind| kind.preface() == preface)
    }
}

/// Whoever begins like this is no haul.
pub(crate) fn stranger(preface: &[u8]) -> Error {
    let shown = String::from_utf8_lossy(preface);
    Error::new(ErrorKind::Protocol, format!("the peer does not speak haul.v1: a stream began with {shown:?}"))
}

/// The sending direction of a stream, there or yet to come.
pub(crate) enum Tx<T: Transport> {
    Late(Arc<Late<T::Send, T::Recv>>),
    /// So many bytes of the link were sent on it already.
    Early(T::Send, u64),
    Ready(T::Send),
    Gone,
}

impl<T: Transport> Tx<T> {
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<&mut quinn::SendStream>> {
        if let Self::Late(late) = self {
            *self = Self::Ready(ready!(late.poll_send(cx))?);
        }
        Poll::Ready(match self {
            Self::Ready(stream) | Self::Early(stream, _) => Ok(stream.quic()),
            _ => Err(Error::new(ErrorKind::Closed, "the stream was cut")),
        })
    }

    /// Cuts it, unless it is finished.
    pub(crate) fn cut(&mut self, session: &Session<T>, reason: &CloseReason) {
        if let Self::Ready(mut stream) | Self::Early(mut stream, _) = std::mem::replace(self, Self::Gone) {
            // What is gone already needs no reset.
            let _ = stream.quic().reset(session.transport.code(reason.code));
        }
    }
}

/// The receiving direction of a stream, there or yet to come.
pub(crate) enum Rx<T: Transport> {
    Late(Arc<Late<T::Send, T::Recv>>),
    Ready(T::Recv),
}

impl<T: Transport> Session<T> {
    /// Largest frame in a datagram of stream `id`; `None` if the peer takes no datagrams.
    pub(crate) fn room(&self, id: u64) -> Option<usize> {
        let mut head = Vec::with_capacity(8);
        varint::put(id & (u64::MAX >> 2), &mut head);
        let most = self.transport.quic().max_datagram_size()?.min(LEAST_ROOM);
        most.checked_sub(self.transport.datagram_prefix().len() + head.len())
    }

    pub(crate) fn link(
        self: &Arc<Self>,
        kind: Kind,
        id: u64,
        send: Tx<T>,
        recv: Rx<T>,
        opened: bool,
    ) -> Link {
        let hold = Arc::new(Hold::take(self, Some(id)));
        let facts = &self.facts;
        let mut info = Info::new(facts.protocol, "");
        Framing::Haul.describe(&mut info);
        info.local.clone_from(&facts.local);
        info.peer.clone_from(&facts.peer);
        info.facts.clone_from(&facts.facts);
        info.stream_id = Some(id);
        let room = if kind == Kind::Unordered { None } else { self.room(id) };
        // A flag goes with every payload.
        info.max_datagram = room.map(|room| MAX_DATAGRAM.min(room.saturating_sub(1)));
        info.datagrams_only = kind == Kind::Datagrams;
        // A datagram that was dropped is never answered.
        info.receipts = kind != Kind::Datagrams;
        let (lane, marks) = (self.claim(id), Arc::new(Marks::default()));
        let reader = Reader::new(self.clone(), recv, opened);
        let encoder = LinkEncoder::new(self.clone(), marks.clone(), room);
        let max_packet = facts.limits.max_packet;
        let link = match kind {
            Kind::Unordered => Link::new(
                info,
                UnorderedRead::new(reader, lane, max_packet, hold.clone()),
                UnorderedWrite::new(self.clone(), id, send, hold),
            ),
            Kind::Ordered | Kind::Datagrams => Link::new(
                info,
                OrderedRead::new(reader, lane, max_packet, hold.clone()),
                OrderedWrite::new(self.clone(), id, send, marks, hold),
            ),
        };
        link.with_encoder(encoder)
            .with_limits(facts.limits.clone())
            .with_multiplex(Arc::new(Streams(self.clone())))
    }
}
