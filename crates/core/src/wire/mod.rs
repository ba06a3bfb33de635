//! How packets stand on the wire: the `haul.v1` frame, its preface, and the framings for strangers.
//!
//! `docs/wire/frame.md` describes every byte.

mod buf;
mod codec;
mod control;
mod framing;

use bytes::Bytes;

pub use buf::{SendBuf, WriteBuf};
pub use codec::{decode, encode, encode_head, encode_prefixed};
pub use framing::{Framing, StreamDecoder, StreamEncoder};

use crate::{CloseReason, Packet, PacketId, Receipt, Result};

/// The name of the frame format: WebSocket subprotocol, value of `framing`.
pub const PROTOCOL: &str = "haul.v1";

/// What both ends of a byte stream send first.
pub const PREFACE: &[u8; 8] = b"haul.v1\n";

/// Largest payload of a ping or pong in bytes, as in WebSocket (RFC 6455 section 5.5).
pub const MAX_PING: usize = 125;

/// Largest note in bytes.
pub const MAX_NOTE: usize = 1024;

/// Largest head of a frame (flags, id, metadata) in bytes: what `max_packet` leaves out.
pub const MAX_HEAD: usize = 64 << 10;

/// What links carry.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A packet, and whether its sender wants a receipt.
    Packet {
        /// The packet.
        packet: Packet,
        /// Its sender waits for a receipt; it has an id then.
        receipt: bool,
    },
    /// The answer to a packet that wanted one.
    Receipt {
        /// The packet's id.
        id: PacketId,
        /// How far it came, or why it was refused.
        outcome: Result<Receipt>,
    },
    /// A layer's word to the same layer at the peer, of at most [`MAX_NOTE`] bytes; where there is no such layer, it is
    /// ignored.
    Note(String),
    /// Asks for a pong with the same bytes, at most [`MAX_PING`].
    Ping(Bytes),
    /// Answers a ping.
    Pong(Bytes),
    /// No more packets from here.
    Finish,
    /// No more frames from here; the peer answers with its own.
    Close(CloseReason),
}

impl Frame {
    /// A packet without a receipt.
    pub fn packet(packet: Packet) -> Self {
        Self::Packet { packet, receipt: false }
    }

    /// Bytes that it counts for in a bounded buffer.
    #[inline]
    pub fn weight(&self) -> usize {
        match self {
            Self::Packet { packet, .. } => packet.weight(),
            _ => 64,
        }
    }
}
