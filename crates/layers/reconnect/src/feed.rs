//! What is sent: the backlog first, then what `send` took.

use std::task::{Context, Poll, ready};

use haul_core::wire::{Frame, SendBuf};
use haul_core::{Error, ErrorKind, PacketId, Result, Sent, Status};

use crate::life::{Core, Phase, is_packet};

impl Core {
    /// Writes the backlog, then `out`, as far as the link takes it.
    pub(crate) fn poll_write(&mut self, out: &mut SendBuf, cx: &mut Context<'_>) -> Poll<Result<()>> {
        out.bytes.advance(std::mem::take(&mut self.skip));
        loop {
            if let Phase::Up(up) = &mut self.phase
                && up.lent() > 0
            {
                ready!(up.poll_write_lent(cx, out))?;
            }
            ready!(self.poll_write_backlog(cx))?;
            if out.is_empty() || !matches!(self.phase, Phase::Up(_)) {
                return Poll::Ready(Ok(()));
            }
            self.take(out)?;
        }
    }

    fn poll_write_backlog(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            while let Phase::Up(up) = &self.phase
                && up.has_room()
                && let Some(frame) = self.backlog.pop_front()
            {
                self.feed(frame)?;
            }
            let Phase::Up(up) = &mut self.phase else {
                return Poll::Ready(Ok(()));
            };
            ready!(up.poll_write(cx))?;
            if self.backlog.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes what `out` holds: what was encoded for this link as it is, what was encoded before it stood once more.
    fn take(&mut self, out: &mut SendBuf) -> Result<()> {
        while let Phase::Up(up) = &mut self.phase
            && up.lent() < out.bytes.len()
        {
            let bytes = out.bytes.len() - up.lent();
            if up.takes_over()
                && let Some(taken) = self.intake.take_encoded_for(self.epoch, bytes)
            {
                self.said.note(&taken.frame);
                up.borrow_bytes(taken);
            } else if up.lent() > 0 || !up.has_room() {
                return Ok(());
            } else {
                let taken = self.intake.take(bytes).expect("every byte of the buffer belongs to a frame");
                out.bytes.advance(taken.len);
                self.feed(taken.frame)?;
            }
        }
        Ok(())
    }

    /// Ends our direction after all that was given.
    pub(crate) fn finish(&mut self) {
        self.said.finish = true;
        // What this protocol has no byte for is in no buffer.
        while let Some(silent) = self.intake.take(0) {
            self.said.note(&silent.frame);
        }
    }

    /// The connection is closed: what belongs to its close counts as said, packets do not.
    pub(crate) fn refuse(&mut self, out: &mut SendBuf) -> Result<()> {
        out.bytes.advance(std::mem::take(&mut self.skip));
        while let Some(taken) = self.intake.take(out.bytes.len()) {
            out.bytes.advance(taken.len);
            if is_packet(&taken.frame) {
                return Err(Error::new(ErrorKind::Closed, "the connection is closed"));
            }
        }
        Ok(())
    }

    fn feed(&mut self, frame: Frame) -> Result<()> {
        self.said.note(&frame);
        let Phase::Up(up) = &mut self.phase else { return Ok(()) };
        let waits = match &frame {
            Frame::Packet { packet, receipt } => packet.id().filter(|_| *receipt),
            // What a stranger's protocol has no word for is not said.
            _ => return up.push(frame, &self.intake).or(Ok(())),
        };
        match (up.push(frame, &self.intake), waits) {
            (Err(why), Some(id)) => {
                let outcome = Err(why.with_sent(Sent::No));
                self.inbound.push_back(Frame::Receipt { id, outcome });
                Ok(())
            }
            (pushed, _) => pushed.map_err(|why| why.with_status(Status::Permanent)),
        }
    }

    /// Writes the backlog, then flushes; ends our direction if that was asked.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if matches!(&self.phase, Phase::Up(up) if up.lent() > 0) {
            // The writer goes first; the link wakes both.
            return Poll::Pending;
        }
        ready!(self.poll_write_backlog(cx))?;
        let Phase::Up(up) = &mut self.phase else {
            return Poll::Ready(Ok(()));
        };
        let (unanswered, inbound) = (&mut self.unanswered, &mut self.inbound);
        let (max_bytes, max_count) = (self.course.options.max_unanswered_bytes, self.max_unanswered);
        let mut forgotten = 0;
        let flushed = up.poll_flush(cx, |frame| {
            unanswered.keep(frame, max_bytes, max_count, |id, promised| {
                if !promised {
                    forgotten += 1;
                    return;
                }
                let message = "too many packets wait for their receipts to be kept for another connection";
                let why = Error::new(ErrorKind::Overloaded, message).with_sent(Sent::Maybe);
                inbound.push_back(Frame::Receipt { id, outcome: Err(why) });
            });
        });
        up.count_unproved(forgotten);
        ready!(flushed)?;
        if self.said.finish {
            ready!(up.poll_finish(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// The receipt of `id` came.
    pub(crate) fn answered(&mut self, id: PacketId) {
        if !self.unanswered.remove(id)
            && let Phase::Up(up) = &mut self.phase
        {
            up.answered(id);
        }
    }
}
