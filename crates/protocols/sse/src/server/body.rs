//! The body of an event stream: what is ready goes out in one piece, and comments where nothing is.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use haul_core::{Error, Result};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep};

use super::session::{Session, Taken};

/// Bytes of events in one piece.
const PIECE: usize = 64 << 10;

const COMMENT: &[u8] = b":\n\n";

/// What a haul peer is told when the session is cut: what breaks off otherwise is come back to.
const CUT: &[u8] = b"event: haul-cut\ndata\n\n";

pub(super) struct Stream {
    session: Arc<Session>,
    /// Its number among the session's requests.
    request: u64,
    heartbeat: Pin<Box<Sleep>>,
    /// That was told.
    cut: bool,
}

impl Stream {
    pub(super) fn new(session: Arc<Session>, request: u64) -> Self {
        let heartbeat = Box::pin(sleep(session.heartbeat));
        Self { session, request, heartbeat, cut: false }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let piece = match self.session.poll_take(self.request, PIECE, cx) {
            Poll::Ready(Taken::End) => return Poll::Ready(None),
            Poll::Ready(Taken::Cut(_)) if self.cut => return Poll::Ready(None),
            Poll::Ready(Taken::Cut(_)) if self.session.haul() => {
                self.cut = true;
                Bytes::from_static(CUT)
            }
            Poll::Ready(Taken::Cut(why)) => return Poll::Ready(Some(Err(why))),
            Poll::Ready(Taken::Events(events)) => joined(events),
            Poll::Pending if self.heartbeat.as_mut().poll(cx).is_ready() => Bytes::from_static(COMMENT),
            Poll::Pending => return Poll::Pending,
        };
        let next = Instant::now() + self.session.heartbeat;
        self.heartbeat.as_mut().reset(next);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.session.detach(self.request);
    }
}

/// One is not copied.
fn joined(mut events: Vec<Bytes>) -> Bytes {
    if events.len() == 1
        && let Some(event) = events.pop()
    {
        return event;
    }
    let mut all = BytesMut::with_capacity(events.iter().map(Bytes::len).sum());
    events.iter().for_each(|event| all.extend_from_slice(event));
    all.freeze()
}
