//! The two halves of a stream: frames pass as they are.

use std::task::{Context, Poll};

use haul_core::wire::{Frame, SendBuf};
use haul_core::{CloseReason, Error, ErrorKind, ReadHalf, Result, WriteHalf};

use crate::pipe::Pipe;

pub(crate) struct MemRead {
    pub(crate) pipe: Pipe,
    /// Largest payload taken.
    pub(crate) max_packet: usize,
}

impl ReadHalf for MemRead {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        let read = self.pipe.poll_read(cx);
        if let Poll::Ready(Ok(Some(Frame::Packet { packet, .. }))) = &read
            && packet.len() > self.max_packet
        {
            let error =
                Error::new(ErrorKind::TooLarge, format!("the peer sent a packet of {} bytes", packet.len()));
            return Poll::Ready(Err(error.with("max_packet", self.max_packet)));
        }
        read
    }

    fn discarded(&self) -> u64 {
        self.pipe.dropped()
    }
}

impl Drop for MemRead {
    fn drop(&mut self) {
        self.pipe.close_reader();
    }
}

pub(crate) struct MemWrite(pub(crate) Pipe);

impl WriteHalf for MemWrite {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        self.0.poll_write(cx, out)
    }

    /// What was written is with the peer already.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.finish();
        Poll::Ready(Ok(()))
    }

    fn abort(&mut self, reason: &CloseReason) {
        self.0.cut(Some(reason.clone()));
    }
}

impl Drop for MemWrite {
    fn drop(&mut self) {
        self.0.cut(None);
    }
}
