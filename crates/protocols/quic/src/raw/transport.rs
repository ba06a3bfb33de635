//! What a session stands on: QUIC itself, or a WebTransport session on it.

use std::future::Future;

use bytes::Bytes;
use haul_core::{CloseReason, Error, Result};
use quinn::VarInt;

use super::failure;

/// Streams and datagrams of one session. Errors are the session's end.
pub trait Transport: Send + Sync + 'static {
    /// The sending direction of a stream.
    type Send: SendStream;
    /// The receiving direction of a stream.
    type Recv: RecvStream;

    /// The connection beneath.
    fn quic(&self) -> &quinn::Connection;
    /// Opens a bidirectional stream; waits while the peer allows no more.
    fn open_bi(&self) -> impl Future<Output = Result<(Self::Send, Self::Recv)>> + Send;
    /// Opens a unidirectional stream; waits while the peer allows no more.
    fn open_uni(&self) -> impl Future<Output = Result<Self::Send>> + Send;
    /// The next bidirectional stream that the peer opened. Cancel-safe.
    fn accept_bi(&self) -> impl Future<Output = Result<(Self::Send, Self::Recv)>> + Send;
    /// The next unidirectional stream that the peer opened. Cancel-safe.
    fn accept_uni(&self) -> impl Future<Output = Result<Self::Recv>> + Send;
    /// The next datagram of this session, without its prefix. Cancel-safe.
    fn read_datagram(&self) -> impl Future<Output = Result<Bytes>> + Send;
    /// What stands before each datagram of this session.
    fn datagram_prefix(&self) -> &[u8];
    /// Ends the session at once.
    fn close(&self, reason: &CloseReason);
    /// Why the connection beneath ended, as far as the session knows more of it.
    fn lost(&self, why: &quinn::ConnectionError) -> Error {
        failure::lost(why)
    }
    /// A close code as the code of a stream that is reset.
    fn code(&self, code: u16) -> VarInt;
}

/// The sending direction of a stream.
pub trait SendStream: Send + Unpin + 'static {
    /// quinn's stream.
    fn quic(&mut self) -> &mut quinn::SendStream;
}

/// The receiving direction of a stream.
pub trait RecvStream: Send + Unpin + 'static {
    /// quinn's stream.
    fn quic(&mut self) -> &mut quinn::RecvStream;
}

impl SendStream for quinn::SendStream {
    fn quic(&mut self) -> &mut quinn::SendStream {
        self
    }
}

impl RecvStream for quinn::RecvStream {
    fn quic(&mut self) -> &mut quinn::RecvStream {
        self
    }
}
