//! QUIC as what a session stands on.

use bytes::Bytes;
use haul_core::{CloseReason, Result};
use quinn::VarInt;

use crate::options::Path;
use crate::raw::{Facts, Transport, failure};
use crate::tls;

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

/// What is known of a connection whose handshake is done.
pub(crate) fn facts(
    connection: &quinn::Connection,
    local: std::net::SocketAddr,
    path: &Path,
    preface: std::time::Duration,
) -> Facts {
    // A socket bound to every address learns from its packets which of them is its own.
    let local = connection.local_ip().map_or(local, |ip| (ip, local.port()).into());
    Facts {
        protocol: "quic",
        local: local.to_string(),
        peer: connection.remote_address().to_string(),
        facts: tls::facts(connection),
        limits: path.limits.clone(),
        congestion: path.congestion,
        preface,
    }
}
