//! Links over streams whose handshake is done.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use haul_core::wire::{Frame, SendBuf};
use haul_core::{
    CloseReason, Error, ErrorKind, Info, Limits, Link, Packet, ReadBuf, ReadHalf, Result, StreamWrite,
    WriteHalf,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::frame::{Speech, Talk, WsDecoder, WsEncoder};

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
    let write = WsWrite { stream: StreamWrite::new(write), talk: decoder.talk() };
    let read = WsRead { io: read, read: ReadBuf::starting_with(early), decoder };
    Link::new(info, read, write).with_encoder(encoder).with_limits(limits)
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

struct WsWrite<W> {
    stream: StreamWrite<W>,
    talk: Arc<Talk>,
}

impl<W: AsyncWrite + Unpin + Send> WriteHalf for WsWrite<W> {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        self.stream.poll_write(cx, out)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.stream.poll_flush(cx)
    }

    /// The end of this direction was said in a frame. The stream stays whole until the peer's close has come: proxies drop
    /// what is half closed, and its answer with it.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.talk.is_over() { self.stream.poll_finish(cx) } else { Poll::Ready(Ok(())) }
    }

    fn abort(&mut self, reason: &CloseReason) {
        self.stream.abort(reason);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use haul_core::Encoder;
    use haul_core::wire::WriteBuf;
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    #[tokio::test]
    async fn the_stream_ends_when_both_have_said_close_and_not_before() {
        let mut decoder = WsDecoder::new(Role::Client, Speech::Haul, 1000);
        let mut encoder = WsEncoder::new(Role::Client, Speech::Haul).answering(&decoder);
        let (ours, mut theirs) = duplex(1000);
        let mut write = WsWrite { stream: StreamWrite::new(ours), talk: decoder.talk() };
        let mut cx = Context::from_waker(Waker::noop());
        let mut ended = |write: &mut WsWrite<_>| {
            assert!(matches!(write.poll_finish(&mut cx), Poll::Ready(Ok(()))));
            let mut read = std::pin::pin!(theirs.read_u8());
            read.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        };
        assert!(!ended(&mut write), "after a half-close");
        encoder.encode(&Frame::Close(CloseReason::NORMAL), &mut WriteBuf::default()).unwrap();
        assert!(!ended(&mut write), "before the peer's close");
        let close = [0x88, 0x02, 0x03, 0xe8];
        assert!(matches!(decoder.next(&mut BytesMut::from(&close[..])), Ok(Some(Frame::Close(_)))));
        assert!(ended(&mut write), "after both");
    }
}
