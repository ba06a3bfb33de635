//! A link over any byte stream: TCP, Unix sockets, TLS, the streams of QUIC and WebTransport, pipes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::link::{ReadHalf, WriteHalf};
use crate::wire::{Frame, Framing, PREFACE, SendBuf, StreamDecoder, StreamEncoder};
use crate::{Error, ErrorKind, Info, Limits, Link, Packet, ReadBuf, Result};

/// Pieces handed to one vectored write.
const SLICES: usize = 16;

/// Sends the preface and reads the peer's: both ends do so at once, before anything else, when the framing is haul's.
///
/// Errors: `Protocol` if the peer speaks something else, `Closed` if it ends the stream; both say what to do.
/// The caller sets the deadline. Not cancel-safe: drop the stream with the future.
pub async fn exchange_prefaces(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<()> {
    stream.write_all(PREFACE).await?;
    stream.flush().await?;
    let mut theirs = [0; PREFACE.len()];
    let mut read = 0;
    while read < theirs.len() && theirs[..read] == PREFACE[..read] {
        match stream.read(&mut theirs[read..]).await? {
            0 => {
                return Err(Error::new(
                    ErrorKind::Closed,
                    format!("the peer ended the stream after {read} bytes of its preface"),
                ));
            }
            more => read += more,
        }
    }
    if theirs == *PREFACE {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(&theirs[..read]).into_owned();
    Err(Error::new(
        ErrorKind::Protocol,
        format!(
            "the peer does not speak haul.v1: it began with {shown:?}; for strangers use framing=lines, length or raw"
        ),
    ))
}

impl Link {
    /// A link over the two halves of a byte stream, after the prefaces.
    pub fn over_stream(
        mut info: Info,
        limits: Limits,
        framing: Framing,
        read: impl AsyncRead + Unpin + Send + 'static,
        write: impl AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        framing.describe(&mut info);
        let read = StreamRead::new(read, framing, limits.max_packet);
        Link::new(info, read, StreamWrite::new(write))
            .with_encoder(StreamEncoder::new(framing))
            .with_limits(limits)
    }
}

/// The receiving half of a link over a byte stream.
#[derive(Debug)]
pub struct StreamRead<R> {
    io: R,
    read: ReadBuf,
    decoder: StreamDecoder,
    ended: bool,
}

impl<R> StreamRead<R> {
    /// Takes packets of `framing`, of at most `max_packet` bytes, out of `io`.
    pub fn new(io: R, framing: Framing, max_packet: usize) -> Self {
        Self { io, read: ReadBuf::default(), decoder: StreamDecoder::new(framing, max_packet), ended: false }
    }
}

impl<R: AsyncRead + Unpin + Send> ReadHalf for StreamRead<R> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        loop {
            if self.ended {
                return Poll::Ready(self.decoder.finish(&mut self.read.bytes));
            }
            if let Some(frame) = self.decoder.next(&mut self.read.bytes)? {
                return Poll::Ready(Ok(Some(frame)));
            }
            let missing = self.decoder.missing(&self.read.bytes);
            if ready!(self.read.poll_fill(&mut self.io, cx, missing)).map_err(Error::from)? == 0 {
                self.ended = true;
            }
        }
    }

    fn take_arrived(&mut self, packets: &mut Vec<Packet>, most: usize) {
        self.decoder.take_arrived(&mut self.read.bytes, packets, most);
    }
}

/// The sending half of a link over a byte stream; it takes encoded bytes.
#[derive(Debug)]
pub struct StreamWrite<W> {
    io: W,
}

impl<W> StreamWrite<W> {
    /// Writes to `io`.
    pub fn new(io: W) -> Self {
        Self { io }
    }

    /// What it writes to.
    pub fn into_inner(self) -> W {
        self.io
    }
}

impl<W: AsyncWrite + Unpin + Send> StreamWrite<W> {
    fn poll_some(&mut self, cx: &mut Context<'_>, out: &SendBuf) -> Poll<io::Result<usize>> {
        let io = Pin::new(&mut self.io);
        if !io.is_write_vectored() || out.bytes.is_contiguous() {
            return io.poll_write(cx, out.bytes.chunk());
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = out.bytes.slices(&mut slices);
        io.poll_write_vectored(cx, &slices[..filled])
    }
}

impl<W: AsyncWrite + Unpin + Send> WriteHalf for StreamWrite<W> {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        while !out.bytes.is_empty() {
            match ready!(self.poll_some(cx, out)) {
                Ok(0) => {
                    return Poll::Ready(Err(Error::new(ErrorKind::Closed, "the stream takes no more bytes")));
                }
                Ok(written) => out.bytes.advance(written),
                Err(why) => return Poll::Ready(Err(why.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx).map_err(Error::from)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx).map_err(Error::from)
    }
}
