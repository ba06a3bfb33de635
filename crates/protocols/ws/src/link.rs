//! Links over streams whose handshake is done.

use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use haul_core::wire::Frame;
use haul_core::{Error, ErrorKind, Info, Limits, Link, Packet, ReadBuf, ReadHalf, Result, StreamWrite};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::frame::{Speech, WsDecoder, WsEncoder};

/// Makes a link of the two halves of a stream; `early` was read of it already.
pub(crate) fn link(
    mut info: Info,
    limits: Limits,
    (role, speech): (Role, Speech),
    early: BytesMut,
    read: impl AsyncRead + Unpin + Send + 'static,
    write: impl AsyncWrite + Unpin + Send + 'static,
) -> Link {
    let haul = speech == Speech::Haul;
    info.framing = if haul { haul_core::wire::PROTOCOL } else { "messages" };
    (info.receipts, info.metadata, info.half_close) = (haul, haul, haul);
    (info.kinds, info.pings) = (true, true);
    let decoder = WsDecoder::new(role, speech, limits.max_packet);
    let encoder = WsEncoder::new(role, speech).answering(&decoder);
    let read = WsRead { io: read, read: ReadBuf::starting_with(early), decoder };
    Link::new(info, read, StreamWrite::new(write)).with_encoder(encoder).with_limits(limits)
}

struct WsRead<R> {
    io: R,
    read: ReadBuf,
    decoder: WsDecoder,
}

impl<R: AsyncRead + Unpin + Send> ReadHalf for WsRead<R> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.read.bytes)? {
                return Poll::Ready(Ok(Some(frame)));
            }
            let missing = self.decoder.missing(&self.read.bytes);
            if ready!(self.read.poll_fill(&mut self.io, cx, missing)).map_err(Error::from)? == 0 {
                return Poll::Ready(Err(Error::new(
                    ErrorKind::Closed,
                    "the stream ended without a close frame",
                )));
            }
        }
    }

    fn take_arrived(&mut self, packets: &mut Vec<Packet>, most: usize) {
        self.decoder.take_arrived(&mut self.read.bytes, packets, most);
    }
}
