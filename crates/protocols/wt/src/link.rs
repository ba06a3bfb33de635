//! A WebTransport session as what streams stand on.

use bytes::Bytes;
use haul_core::{CloseReason, Error, Result};
use haul_quic::raw::{RecvStream, SendStream, Transport, failure as quic, varint};
use quinn::VarInt;
use wtransport::error::ConnectionError;

use crate::failure;

/// A session that was agreed on.
pub(crate) struct Wt {
    session: wtransport::Connection,
    /// What stands before each of its datagrams: its quarter stream id (RFC 9297 section 2.1).
    prefix: Vec<u8>,
}

impl Wt {
    pub(crate) fn new(session: wtransport::Connection) -> Self {
        let mut prefix = Vec::new();
        varint::put(session.session_id().into_u64() / 4, &mut prefix);
        Self { session, prefix }
    }

    fn ended(&self, why: &ConnectionError) -> Error {
        match (why, self.quic().close_reason()) {
            (ConnectionError::ApplicationClosed(close), _) => failure::closed(close),
            (_, Some(known)) => quic::lost(&known),
            (why, None) => failure::lost(why),
        }
    }
}

pub(crate) struct Send(wtransport::SendStream);

pub(crate) struct Recv(wtransport::RecvStream);

impl SendStream for Send {
    fn quic(&mut self) -> &mut quinn::SendStream {
        self.0.quic_stream_mut()
    }
}

impl RecvStream for Recv {
    fn quic(&mut self) -> &mut quinn::RecvStream {
        self.0.quic_stream_mut()
    }
}

impl Transport for Wt {
    type Send = Send;
    type Recv = Recv;

    fn quic(&self) -> &quinn::Connection {
        self.session.quic_connection()
    }

    async fn open_bi(&self) -> Result<(Send, Recv)> {
        let opening = self.session.open_bi().await.map_err(|why| self.ended(&why))?;
        let (send, recv) = opening.await.map_err(failure::opening)?;
        Ok((Send(send), Recv(recv)))
    }

    async fn open_uni(&self) -> Result<Send> {
        let opening = self.session.open_uni().await.map_err(|why| self.ended(&why))?;
        Ok(Send(opening.await.map_err(failure::opening)?))
    }

    async fn accept_bi(&self) -> Result<(Send, Recv)> {
        let (send, recv) = self.session.accept_bi().await.map_err(|why| self.ended(&why))?;
        Ok((Send(send), Recv(recv)))
    }

    async fn accept_uni(&self) -> Result<Recv> {
        Ok(Recv(self.session.accept_uni().await.map_err(|why| self.ended(&why))?))
    }

    /// wtransport reads datagrams too, one at a time through a channel of one: whatever it has taken comes from there, the
    /// rest straight from QUIC.
    async fn read_datagram(&self) -> Result<Bytes> {
        loop {
            tokio::select! {
                biased;
                datagram = self.quic().read_datagram() => {
                    let datagram = datagram.map_err(|why| quic::lost(&why))?;
                    if datagram.starts_with(&self.prefix) {
                        return Ok(datagram.slice(self.prefix.len()..));
                    }
                }
                datagram = self.session.receive_datagram() => {
                    return Ok(datagram.map_err(|why| self.ended(&why))?.payload());
                }
            }
        }
    }

    fn datagram_prefix(&self) -> &[u8] {
        &self.prefix
    }

    fn close(&self, reason: &CloseReason) {
        self.quic().close(self.code(reason.code), reason.message.as_bytes());
    }

    fn code(&self, code: u16) -> VarInt {
        quic::webtransport(code)
    }
}
