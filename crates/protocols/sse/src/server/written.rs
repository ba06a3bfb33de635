//! The writing half of a session.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};
use haul_core::wire::SendBuf;
use haul_core::{Result, WriteHalf};

use super::Session;
use super::encode::HEAD;
use crate::client::take;
use crate::event::put_field;
use crate::give_back;
use crate::options::CHUNK;

/// A buffer of more bytes is not kept.
const LARGE: usize = 4 << 10;

/// Makes events of what is sent.
pub(crate) struct Written {
    session: Arc<Session>,
    /// The beginning of an event for strangers.
    part: BytesMut,
}

impl Written {
    pub(crate) fn new(session: Arc<Session>) -> Self {
        Self { session, part: BytesMut::new() }
    }

    /// The next bytes of the stream of frames, as one event.
    fn push_frames(&self, out: &mut SendBuf) {
        let mut fields = Vec::new();
        put_field(&mut fields, "data", STANDARD.encode(take(out, CHUNK)).as_bytes());
        self.session.push(&fields, false);
    }

    /// The next event that was encoded.
    fn push_event(&mut self, out: &mut SendBuf) {
        self.fill(out, HEAD);
        let len = (&self.part[..]).get_u32() as usize;
        let has_id = self.part[4] == 1;
        self.fill(out, HEAD + len);
        self.session.push(&self.part[HEAD..HEAD + len], has_id);
        self.part.clear();
    }

    /// Takes until there are `len` bytes. The encoder gives whole events.
    fn fill(&mut self, out: &mut SendBuf, len: usize) {
        while self.part.len() < len && !out.bytes.is_empty() {
            let chunk = out.bytes.chunk();
            let taken = chunk.len().min(len - self.part.len());
            self.part.extend_from_slice(&chunk[..taken]);
            out.bytes.advance(taken);
        }
    }
}

impl WriteHalf for Written {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        while !out.bytes.is_empty() {
            ready!(self.session.poll_room(cx))?;
            if self.session.haul() {
                self.push_frames(out);
            } else {
                self.push_event(out);
            }
        }
        if self.part.capacity() > LARGE {
            give_back(&mut self.part);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.session.poll_taken(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.session.poll_taken(cx))?;
        self.session.finish();
        Poll::Ready(Ok(()))
    }
}
