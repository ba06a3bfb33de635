//! Compressed responses (RFC 9110 section 8.4), decompressed piece by piece and never beyond a bound.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

#[cfg(feature = "br")]
use async_compression::tokio::bufread::BrotliDecoder;
use async_compression::tokio::bufread::GzipDecoder;
use bytes::{Buf, Bytes, BytesMut};
use haul_core::{Body, Error, ErrorKind, Result, Sent};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use http_body::{Body as HttpBody, Frame};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use super::received::Received;

/// What a request asks for.
pub(super) const ACCEPTED: &str = if cfg!(feature = "br") { "gzip, br" } else { "gzip" };

/// Bytes decompressed at a time.
const PIECE: usize = 16 << 10;

/// The body of a response with these headers, decompressed if it is compressed in a way that was asked for; its
/// headers are then those of the decompressed one.
pub(super) fn body(headers: &mut HeaderMap, received: Received, max: usize) -> Body {
    let codec = match headers.get(CONTENT_ENCODING).map(|name| name.as_bytes()) {
        Some(b"gzip" | b"x-gzip") => {
            let mut gzip = GzipDecoder::new(Pieces::new(received));
            gzip.multiple_members(true);
            Codec::Gzip(gzip)
        }
        #[cfg(feature = "br")]
        Some(b"br") => Codec::Brotli(BrotliDecoder::new(Pieces::new(received))),
        _ => return Body::once(received),
    };
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    Body::once(Decoded { codec: Some(codec), left: max, max })
}

enum Codec {
    Gzip(GzipDecoder<Pieces>),
    #[cfg(feature = "br")]
    Brotli(BrotliDecoder<Pieces>),
}

struct Decoded {
    /// `None` after the end or a failure.
    codec: Option<Codec>,
    left: usize,
    max: usize,
}

impl Decoded {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes>> {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = match &mut self.codec {
            None => Ok(0),
            Some(Codec::Gzip(gzip)) => ready!(tokio_util::io::poll_read_buf(Pin::new(gzip), cx, &mut piece)),
            #[cfg(feature = "br")]
            Some(Codec::Brotli(br)) => ready!(tokio_util::io::poll_read_buf(Pin::new(br), cx, &mut piece)),
        };
        match read {
            Err(why) => Poll::Ready(Err(broken(&why))),
            Ok(size) if size > self.left => Poll::Ready(Err(Error::new(
                ErrorKind::TooLarge,
                format!("a response of more than max_decompressed={} bytes when decompressed", self.max),
            )
            .with_sent(Sent::Maybe))),
            Ok(size) => {
                self.left -= size;
                Poll::Ready(Ok(piece.freeze()))
            }
        }
    }
}

/// What the connection says about its own failure comes out as it was.
fn broken(why: &io::Error) -> Error {
    match why.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(own) => own.clone(),
        None => Error::new(ErrorKind::Codec, format!("decompress a response: {why}")).with_sent(Sent::Maybe),
    }
}

impl HttpBody for Decoded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let piece = ready!(self.poll_piece(cx));
        if !matches!(&piece, Ok(piece) if !piece.is_empty()) {
            self.codec = None;
        }
        Poll::Ready(match piece {
            Ok(piece) if piece.is_empty() => None,
            piece => Some(piece.map(Frame::data)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.codec.is_none()
    }
}

/// The pieces of a body as a decoder reads them; trailers are skipped.
struct Pieces {
    body: Received,
    piece: Bytes,
}

impl Pieces {
    fn new(body: Received) -> Self {
        Self { body, piece: Bytes::new() }
    }
}

impl AsyncBufRead for Pieces {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.piece.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => break,
                Some(Err(why)) => return Poll::Ready(Err(io::Error::other(why))),
                Some(Ok(frame)) => this.piece = frame.into_data().unwrap_or_default(),
            }
        }
        Poll::Ready(Ok(&this.piece))
    }

    fn consume(mut self: Pin<&mut Self>, bytes: usize) {
        self.piece.advance(bytes);
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let there = ready!(self.as_mut().poll_fill_buf(cx))?;
        let size = there.len().min(into.remaining());
        into.put_slice(&there[..size]);
        self.consume(size);
        Poll::Ready(Ok(()))
    }
}
