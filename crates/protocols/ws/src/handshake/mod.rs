//! The opening handshake (RFC 6455 section 4), on any stream.

pub(crate) mod client;
pub(crate) mod head;
pub(crate) mod server;

use bytes::BytesMut;
use haul_core::wire::PROTOCOL;

use crate::frame::Speech;

/// A handshake that succeeded.
pub(crate) struct Agreed {
    /// The subprotocol, if one was agreed.
    pub(crate) subprotocol: Option<String>,
    /// What the peer sent after its handshake.
    pub(crate) early: BytesMut,
    /// Path and query, as a server saw them.
    pub(crate) target: String,
    /// Headers that the application may want to know of.
    pub(crate) facts: Vec<(&'static str, String)>,
}

impl Agreed {
    pub(crate) fn speech(&self) -> Speech {
        if self.subprotocol.as_deref() == Some(PROTOCOL) { Speech::Haul } else { Speech::Plain }
    }
}
