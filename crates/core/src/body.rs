//! The body of a request or response.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{Error, ErrorKind, Result, Sent};

type Opened = Pin<Box<dyn HttpBody<Data = Bytes, Error = Error> + Send>>;
type Open = Arc<dyn Fn() -> Opened + Send + Sync>;

/// The body of a [`Request`](crate::Request) or [`Response`](crate::Response): nothing, bytes, what can be opened
/// again, or what can be read once.
///
/// Its frames are those of [`http_body::Body`]; dropping it drops what it reads from.
pub struct Body(Kind);

enum Kind {
    Bytes { bytes: Bytes, read: bool },
    Stream { open: Option<Open>, body: Mutex<Option<Opened>> },
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::from(Bytes::new())
    }

    /// A body that `open` makes anew for each try: a file, say. It is opened when it is first read or asked for its
    /// size.
    pub fn reopenable<B>(open: impl Fn() -> B + Send + Sync + 'static) -> Self
    where
        B: HttpBody + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self::opened_by(Arc::new(move || boxed(open())))
    }

    /// A body that can be read once; a request with it is never sent again.
    pub fn once<B>(body: B) -> Self
    where
        B: HttpBody + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self(Kind::Stream { open: None, body: Mutex::new(Some(boxed(body))) })
    }

    fn opened_by(open: Open) -> Self {
        Self(Kind::Stream { open: Some(open), body: Mutex::new(None) })
    }

    /// The same body from its start, however much of this one was read; `None` if it can be read only once.
    pub fn replay(&self) -> Option<Self> {
        match &self.0 {
            Kind::Bytes { bytes, .. } => Some(Self::from(bytes.clone())),
            Kind::Stream { open, .. } => open.clone().map(Self::opened_by),
        }
    }

    /// All that is left to read, at most `max` bytes; trailers are dropped. One piece is not copied.
    ///
    /// Errors: `TooLarge` above `max`, as soon as that is known, and those of the body. Dropping the future loses
    /// what was read.
    pub async fn bytes(mut self, max: usize) -> Result<Bytes> {
        if self.size_hint().lower() > max as u64 {
            return Err(too_large(max));
        }
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
            let Ok(data) = frame?.into_data() else { continue };
            if data.len() > max - first.len() - all.len() {
                return Err(too_large(max));
            }
            if first.is_empty() && all.is_empty() {
                first = data;
                continue;
            }
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }
}

/// Its sender acted, so `sent` is `Maybe`.
fn too_large(max: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("a body of more than {max} bytes")).with_sent(Sent::Maybe)
}

/// Runs `ask` on what is read from, opened if it was not yet.
fn with_stream<T>(
    open: Option<&Open>,
    body: &mut Option<Opened>,
    ask: impl FnOnce(&mut Opened) -> T,
) -> Option<T> {
    if body.is_none() {
        *body = open.map(|open| open());
    }
    body.as_mut().map(ask)
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match &mut self.get_mut().0 {
            Kind::Bytes { bytes, read } => {
                let first = !std::mem::replace(read, true) && !bytes.is_empty();
                Poll::Ready(first.then(|| Ok(Frame::data(bytes.clone()))))
            }
            Kind::Stream { open, body } => {
                let body = body.get_mut().unwrap_or_else(PoisonError::into_inner);
                with_stream(open.as_ref(), body, |body| body.as_mut().poll_frame(cx))
                    .unwrap_or(Poll::Ready(None))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Bytes { bytes, read } => *read || bytes.is_empty(),
            Kind::Stream { open, body } => {
                let mut body = body.lock().unwrap_or_else(PoisonError::into_inner);
                with_stream(open.as_ref(), &mut body, |body| body.is_end_stream()).unwrap_or(true)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Bytes { read: true, .. } => SizeHint::with_exact(0),
            Kind::Bytes { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream { open, body } => {
                let mut body = body.lock().unwrap_or_else(PoisonError::into_inner);
                with_stream(open.as_ref(), &mut body, |body| body.size_hint()).unwrap_or_default()
            }
        }
    }
}

fn boxed<B>(body: B) -> Opened
where
    B: HttpBody + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    Box::pin(Uniform(Box::pin(body)))
}

/// A body of any kind, with haul's pieces and error.
struct Uniform<B>(Pin<Box<B>>);

impl<B> HttpBody for Uniform<B>
where
    B: HttpBody,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        self.0.as_mut().poll_frame(cx).map(|frame| {
            frame.map(|frame| match frame {
                Ok(frame) => Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))),
                Err(why) => Err(failed(why.into())),
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// An error of haul's comes out as it was.
fn failed(why: Box<dyn StdError + Send + Sync>) -> Error {
    let why = match why.downcast::<Error>() {
        Ok(own) => return *own,
        Err(other) => other,
    };
    match why.downcast::<std::io::Error>() {
        Ok(io) => Error::from(*io).while_doing("read a body"),
        Err(other) => Error::new(ErrorKind::Io, "read a body").with_source(other),
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Bytes { bytes, read: false })
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from(Bytes::from(text))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::from(Bytes::from_static(text.as_bytes()))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Bytes { bytes, .. } => write!(f, "Body({} bytes)", bytes.len()),
            Kind::Stream { open: Some(_), .. } => f.write_str("Body(reopenable)"),
            Kind::Stream { open: None, .. } => f.write_str("Body(once)"),
        }
    }
}
