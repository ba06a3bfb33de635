//! QUIC as what a session stands on.

use bytes::Bytes;
use haul_core::{CloseReason, Result};
use quinn::VarInt;

use crate::raw::{Transport, failure};

/// A QUIC connection whose handshake is done. It holds its own socket where it was dialed.
pub(crate) struct Quic {
    pub(crate) connection: quinn::Connection,
    /// Kept so that the connection can move to another socket.
    pub(crate) _endpoint: Option<std::sync::Arc<quinn::Endpoint>>,
}

impl Transport for Quic {
    type Send = quinn::SendStream;
    type Recv = quinn::RecvStream;

    fn quic(&self) -> &quinn::Connection {
        &self.connection
    }

    async fn open_bi(&self) -> Result<(Self::Send, Self::Recv)> {
        self.connection.open_bi().await.map_err(|why| failure::lost(&why))
    }

    async fn open_uni(&self) -> Result<Self::Send> {
        self.connection.open_uni().await.map_err(|why| failure::lost(&why))
    }

    async fn accept_bi(&self) -> Result<(Self::Send, Self::Recv)> {
        self.connection.accept_bi().await.map_err(|why| failure::lost(&why))
    }

    async fn accept_uni(&self) -> Result<Self::Recv> {
        self.connection.accept_uni().await.map_err(|why| failure::lost(&why))
    }

    async fn read_datagram(&self) -> Result<Bytes> {
        self.connection.read_datagram().await.map_err(|why| failure::lost(&why))
    }

    fn datagram_prefix(&self) -> &[u8] {
        &[]
    }

    fn close(&self, reason: &CloseReason) {
        self.connection.close(self.code(reason.code), reason.message.as_bytes());
    }

    fn code(&self, code: u16) -> VarInt {
        code.into()
    }
}
