//! Early data: packets that leave with the first packets of the handshake (0-RTT, RFC 9001 section 4.6).

use std::pin::pin;
use std::sync::Arc;

use haul_core::wire::{self, Frame, PREFACE, WriteBuf};
use haul_core::{Error, ErrorKind, Limits, Packet, Reliability, Result};
use quinn::{Connecting, Connection, RecvStream, SendStream, WriteError};

use crate::raw::failure;

/// The first stream of a session, and how many bytes of it the peer took before the handshake was done.
pub(crate) struct Early {
    pub(crate) stream: (SendStream, RecvStream),
    pub(crate) said: u64,
}

/// `packets` as the first bytes of a session. Errors: `Unsupported` for one without an id, or unreliable, `TooLarge`.
pub(crate) fn encode(packets: &[Packet], limits: &Limits) -> Result<Vec<u8>> {
    let mut bytes = WriteBuf::default();
    bytes.tail().extend_from_slice(PREFACE);
    for packet in packets {
        let refuse = |kind, why: &'static str| Err(Error::new(kind, why).with("bytes", packet.len()));
        if packet.id().is_none() {
            let why = "early data can be sent again by whoever records it: give the packet an id";
            return refuse(ErrorKind::Unsupported, why);
        }
        if packet.reliability() == Reliability::Unreliable {
            return refuse(ErrorKind::Unsupported, "early data is reliable");
        }
        if packet.len() > limits.max_packet {
            return refuse(ErrorKind::TooLarge, "a packet above max_packet");
        }
        wire::encode_prefixed(&Frame::packet(packet.clone()), &mut bytes)?;
    }
    let mut all = Vec::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let len = bytes.chunk().len();
        all.extend_from_slice(bytes.chunk());
        bytes.advance(len);
    }
    Ok(all)
}

/// Shakes hands, and meanwhile says what fits of `bytes`; `None` beside the connection if the peer took nothing of it.
pub(crate) async fn shake(connecting: Connecting, bytes: Arc<[u8]>) -> Result<(Connection, Option<Early>)> {
    let (connection, accepted) = match connecting.into_0rtt() {
        Ok(early) => early,
        Err(connecting) => return Ok((connecting.await.map_err(|why| failure::lost(&why))?, None)),
    };
    let (mut stream, mut said) = (None, 0);
    let saying = async {
        let (send, _) = stream.insert(connection.open_bi().await?);
        while said < bytes.len() {
            said += send.write(&bytes[said..]).await?;
        }
        std::future::pending::<Result<(), WriteError>>().await
    };
    let mut accepted = pin!(accepted);
    let accepted = tokio::select! {
        accepted = &mut accepted => accepted,
        // Why it cannot be said, the handshake tells.
        _ = saying => accepted.await,
    };
    if let Some(why) = connection.close_reason() {
        return Err(failure::lost(&why));
    }
    let Some((mut send, recv)) = stream.filter(|_| accepted) else { return Ok((connection, None)) };
    if let Some(preface) = bytes[..PREFACE.len()].get(said..) {
        send.write_all(preface).await.map_err(std::io::Error::from)?;
        said += preface.len();
    }
    let said = (said - PREFACE.len()) as u64;
    Ok((connection, Some(Early { stream: (send, recv), said })))
}
