//! The reading half of a session: what its client POSTs.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use haul_core::wire::{Frame, Framing, StreamDecoder};
use haul_core::{Error, ErrorKind, Packet, ReadHalf, Result};
use tokio::sync::mpsc;

use super::Session;
use super::session::Posted;
use crate::give_back;

/// Frames of a haul peer, or a packet for each body.
pub(crate) struct Posts {
    session: Arc<Session>,
    posted: mpsc::Receiver<Box<Posted>>,
    bytes: BytesMut,
    decoder: StreamDecoder,
}

impl Posts {
    pub(crate) fn new(session: Arc<Session>, posted: mpsc::Receiver<Box<Posted>>, max_packet: usize) -> Self {
        let decoder = StreamDecoder::new(Framing::Haul, max_packet);
        Self { session, posted, bytes: BytesMut::new(), decoder }
    }

    /// What was POSTed next. Errors: why nothing more will be, after all that was.
    fn poll_posted(&mut self, cx: &mut Context<'_>) -> Poll<Result<Posted>> {
        match self.posted.poll_recv(cx) {
            Poll::Ready(Some(posted)) => Poll::Ready(Ok(*posted)),
            Poll::Ready(None) => Poll::Ready(Err(Error::new(ErrorKind::Closed, "the session is over"))),
            Poll::Pending => Poll::Ready(Err(ready!(self.session.poll_cut(cx)))),
        }
    }
}

impl ReadHalf for Posts {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        if !self.session.haul() {
            let Posted { body, text } = ready!(self.poll_posted(cx))?;
            let packet = if text { Packet::text_checked(body) } else { Packet::binary(body) };
            return Poll::Ready(Ok(Some(Frame::packet(packet))));
        }
        loop {
            if let Some(frame) = self.decoder.next(&mut self.bytes)? {
                return Poll::Ready(Ok(Some(frame)));
            }
            give_back(&mut self.bytes);
            let body = ready!(self.poll_posted(cx))?.body;
            if self.bytes.is_empty() {
                self.bytes = BytesMut::from(body);
            } else {
                self.bytes.extend_from_slice(&body);
            }
        }
    }

    fn take_arrived(&mut self, packets: &mut Vec<Packet>, most: usize) {
        if self.session.haul() {
            self.decoder.take_arrived(&mut self.bytes, packets, most);
        }
    }
}
