//! What is known of a connection, and what it has carried.

use std::time::{Duration, SystemTime};

use crate::Metadata;

/// What a connection is and can do; fixed when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The protocol: `tcp`, `ws`.
    pub protocol: &'static str,
    /// How packets stand on the wire: `haul.v1`, `lines`, a WebSocket's own messages.
    pub framing: &'static str,
    /// The local address, as the protocol writes it.
    pub local: String,
    /// The peer's address, as the protocol writes it.
    pub peer: String,
    /// The peer answers deliveries with receipts.
    pub receipts: bool,
    /// Packets may carry metadata and ids.
    pub metadata: bool,
    /// Text and binary packets are told apart.
    pub kinds: bool,
    /// One end can finish while the other goes on.
    pub half_close: bool,
    /// A close is said, with its reason, and answered; otherwise the end of the stream is all the peer sees.
    pub close_frames: bool,
    /// The peer answers pings.
    pub pings: bool,
    /// Largest unreliable packet in bytes; `None` where there are no datagrams and such a packet is simply sent.
    pub max_datagram: Option<usize>,
    /// Carries datagrams only: a reliable packet is `Unsupported`.
    pub datagrams_only: bool,
    /// The stream's number on its session, where the protocol multiplexes.
    pub stream_id: Option<u64>,
    /// When it was opened.
    pub opened_at: SystemTime,
    /// Further facts by name: `path`, `query`, `subprotocol`, `tls`, `identity`.
    pub facts: Metadata,
}

impl Info {
    /// The least that is known: a protocol and its framing, and no ability.
    pub fn new(protocol: &'static str, framing: &'static str) -> Self {
        Self {
            protocol,
            framing,
            local: String::new(),
            peer: String::new(),
            receipts: false,
            metadata: false,
            kinds: false,
            half_close: false,
            close_frames: true,
            pings: false,
            max_datagram: None,
            datagrams_only: false,
            stream_id: None,
            opened_at: SystemTime::now(),
            facts: Metadata::new(),
        }
    }
}

/// What a connection has carried so far. Payload bytes are counted, not framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Packets accepted by `send`.
    pub packets_queued: u64,
    /// Packets handed to the operating system (or the layer beneath).
    pub packets_sent: u64,
    /// Payload bytes of all packets accepted by `send`.
    pub bytes_queued: u64,
    /// Packets received, whether read by the application or not.
    pub packets_received: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Packets received that nobody could read any more.
    pub packets_discarded: u64,
    /// The round trip of the last ping, or without one that of the path.
    pub rtt: Option<Duration>,
    /// What the way to the peer is like, where the protocol measures it; all streams of a session share it.
    pub path: Option<PathStats>,
}

/// What a protocol that sees to loss and congestion itself knows of the way to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathStats {
    /// The round trip, smoothed (RFC 9002 section 5).
    pub rtt: Duration,
    /// Bytes that may be under way at once.
    pub congestion_window: u64,
    /// Packets of the protocol that were sent.
    pub packets_sent: u64,
    /// Those of them that were lost. What they carried was sent again, but for datagrams.
    pub packets_lost: u64,
    /// Bytes of the lost packets.
    pub bytes_lost: u64,
}

impl PathStats {
    /// A way of which only the round trip is known.
    pub fn new(rtt: Duration) -> Self {
        Self { rtt, congestion_window: 0, packets_sent: 0, packets_lost: 0, bytes_lost: 0 }
    }
}
