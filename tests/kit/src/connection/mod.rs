//! What every connection promises.

mod adapters;
mod cancel;
mod carry;
mod ending;
mod pressure;
mod receipts;
mod shape;

use std::time::Duration;

use haul_core::{Connection, Limits, Packet};

use crate::expect::{self, Section};
use crate::packets::{Receives, joined, next, number_at, same_bytes};
use crate::run::{Check, Plan, checks, runs};
use crate::{Pairs, soon};

/// Largest packet in most checks: small enough to be quick, and no round number.
pub(crate) const MAX_PACKET: usize = 200_003;

/// Runs the suite. Panics with the promises that were broken.
pub async fn suite(name: &str, pairs: impl Into<Pairs>) {
    Suite::new(name, pairs).run().await;
}

/// The suite, with settings.
#[derive(Clone, Debug)]
pub struct Suite {
    pub(crate) plan: Plan,
    cx: Cx,
}

#[derive(Clone)]
pub(crate) struct Cx {
    pub(crate) expect: expect::Connection,
    pairs: Pairs,
    many: usize,
}

impl std::fmt::Debug for Cx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cx({})", self.expect.protocol)
    }
}

impl Suite {
    /// The suite for the section `name` of `capabilities.toml`.
    pub fn new(name: &str, pairs: impl Into<Pairs>) -> Self {
        Self {
            plan: Plan::new(name),
            cx: Cx { expect: Section::connection(name), pairs: pairs.into(), many: 1000 },
        }
    }

    /// How many connections are open at once in the check `many`; 1,000 otherwise.
    #[must_use]
    pub fn connections(mut self, count: usize) -> Self {
        self.cx.many = count;
        self
    }
}

runs!(Suite, CHECKS);

const CHECKS: &[Check<Suite>] = checks![Suite;
    shape::capabilities => "a connection can do what is expected of it and says so",
    shape::states => "states follow one another without a skip and end with the reason",
    shape::statistics => "statistics equal what happened",
    shape::discards => "what nobody could read is counted",
    shape::pings => "a ping measures a round trip even if nobody receives, or is Unsupported",
    shape::single_stream => "streams are Unsupported where the protocol has none",
    carry::order => "packets arrive once, whole and in the order in which they were sent",
    carry::sizes => "packets of 0 bytes up to the limit arrive byte for byte",
    carry::too_large => "a packet above the limit is TooLarge and the connection lives on",
    carry::oversize_received => "a receiver with a smaller limit refuses a larger packet and says so",
    carry::kinds => "text and binary packets are told apart, where the protocol can",
    carry::metadata => "metadata and id arrive, or the packet is refused as Unsupported",
    carry::batch => "send_all accepts all in order, up to the first that cannot be sent",
    carry::flush => "what was flushed arrives although the sender does nothing more",
    carry::both_ways => "both directions flow at once",
    carry::many_senders => "clones of a sender keep the order of each",
    carry::many => "many connections live at once, each with its own packets",
    carry::unreliable => "an unreliable packet is carried, or TooLarge above the datagram limit",
    ending::half_close => "finish ends one direction; the other goes on where the protocol has half-close",
    ending::close_drains => "close returns when all is flushed, and all of it arrives",
    ending::close_reason => "the peer sees why it was closed",
    ending::both_close => "both ends may close at once",
    ending::after_close => "after the end every call answers Closed at once",
    ending::abort => "an abort is an error at the peer, not an end",
    ending::drop_drains => "dropping a connection drains it",
    ending::split_halves => "a connection closes when both halves are dropped, not before",
    ending::idle => "a peer that is silent beyond the idle deadline is cut, and why is told",
    ending::lost_is_told => "what was lost is told by send, flush, recv and close, with the number",
    pressure::slow_reader => "a reader that stalls stops the sender; nothing grows, and all arrives in the end",
    pressure::never_reads => "close gives up within its deadline and counts what was not flushed",
    pressure::blocked_send_ends => "a send that waits for room ends when the connection does",
    cancel::sends => "a cancelled send queued the whole packet or none of it",
    cancel::receives => "a cancelled recv loses nothing",
    cancel::flushes => "a cancelled flush loses nothing",
    cancel::closes => "a close that was begun goes on when it is cancelled",
    cancel::delivers => "a cancelled delivery happened once or not at all, and disturbs no other",
    receipts::levels => "a delivery answers what the receiver said, and no more than is known",
    receipts::wait => "a delivery waits for the receiver's answer",
    receipts::refusals => "a refusal comes back with kind, status and wait",
    receipts::batches => "deliver_all answers one outcome per packet, in order",
    receipts::cut => "a delivery without an answer fails when the connection does",
    adapters::into_link => "a link taken back loses nothing that was read ahead",
    adapters::stream_and_sink => "the stream and sink adapters carry all packets and end",
];

impl Suite {
    fn limits(&self) -> Limits {
        Limits { max_packet: MAX_PACKET, ..Limits::default() }
    }

    async fn pair(&self) -> (Connection, Connection) {
        self.pair_with(self.limits()).await
    }

    /// A pair whose close waits for ever: a close that hangs is seen to hang.
    async fn patient_pair(&self) -> (Connection, Connection) {
        let limits = Limits { close_deadline: Duration::from_secs(3600), ..self.limits() };
        self.pair_with(limits).await
    }

    /// `end` has seen its peer's close: where a close is not said, all it saw is the other's finish, and it closes too.
    async fn is_over(&self, end: &Connection) {
        if !self.cx.expect.close_frames {
            soon("the close of the peer", end.close(haul_core::CloseReason::NORMAL)).await.expect("a close");
        }
        assert!(soon("the peer's end", end.watch().over()).await.is_over());
    }

    async fn pair_with(&self, limits: Limits) -> (Connection, Connection) {
        self.cx.pairs.make(limits).await
    }

    fn payload(&self, seed: u64, len: usize) -> bytes::Bytes {
        crate::packets::payload(self.cx.expect.payload, seed, len)
    }

    fn numbered(&self, number: u64, len: usize) -> Packet {
        crate::packets::numbered(self.cx.expect.payload, number, len)
    }

    /// Receives as much as was sent, and checks that it is the same.
    async fn receives(&self, end: &mut impl Receives, sent: &[Packet]) {
        if !self.cx.expect.boundaries {
            let want = joined(sent);
            let have = self.gathers(end, want.len()).await;
            return same_bytes("the stream", &want, &joined(&have));
        }
        for (at, sent) in sent.iter().enumerate() {
            let what = format!("the packet at {at}");
            let received = next(&what, end).await;
            self.same(&what, sent, &received);
        }
    }

    /// Receives until so many bytes are there.
    async fn gathers(&self, end: &mut impl Receives, bytes: usize) -> Vec<Packet> {
        let (mut all, mut len) = (Vec::new(), 0);
        while len < bytes {
            let packet = next(&format!("byte {len} of {bytes}"), end).await;
            len += packet.len();
            all.push(packet);
        }
        all
    }

    /// Receives until the clean end.
    async fn gathers_all(&self, end: &mut impl Receives) -> Vec<Packet> {
        let mut all = Vec::new();
        while let Some(packet) = soon("a packet or the end", end.receive()).await.expect("no error") {
            all.push(packet);
        }
        all
    }

    /// The numbers of numbered packets that arrived, each whole and of its `size`; where packets have no boundaries,
    /// those in the stream that they make.
    fn numbers(&self, received: &[Packet], size: impl Fn(u64) -> usize) -> Vec<u64> {
        let whole = |bytes: &[u8]| {
            let number = number_at(bytes).expect("a packet begins with its number");
            let want = self.numbered(number, size(number));
            let len = if self.cx.expect.boundaries { bytes.len() } else { want.len().min(bytes.len()) };
            same_bytes(&format!("packet {number}"), want.payload(), &bytes[..len]);
            (number, len)
        };
        if self.cx.expect.boundaries {
            return received.iter().map(|packet| whole(packet.payload()).0).collect();
        }
        let stream = joined(received);
        let (mut numbers, mut rest) = (Vec::new(), &stream[..]);
        while !rest.is_empty() {
            let (number, len) = whole(rest);
            numbers.push(number);
            rest = &rest[len..];
        }
        numbers
    }

    fn same(&self, what: &str, sent: &Packet, received: &Packet) {
        same_bytes(what, sent.payload(), received.payload());
        if self.cx.expect.kinds {
            assert_eq!(sent.kind(), received.kind(), "{what} is of another kind");
        }
        if self.cx.expect.metadata {
            assert_eq!(sent.metadata(), received.metadata(), "{what} has other metadata");
            if sent.id().is_some() {
                assert_eq!(sent.id(), received.id(), "{what} has another id");
            }
        }
    }
}

/// Sends, which must succeed.
async fn send(connection: &Connection, packet: &Packet) {
    soon("room for a packet", connection.send(packet.clone()))
        .await
        .unwrap_or_else(|why| panic!("a send failed: {why}"));
}

/// The value of a fact in an error.
fn fact<'a>(error: &'a haul_core::Error, name: &str) -> Option<&'a str> {
    error.context().find(|(known, _)| *known == name).map(|(_, value)| value)
}
