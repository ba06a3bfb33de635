//! One link that stands: what was encoded for it, and how much of that it has taken.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use haul_core::wire::{Frame, SendBuf};
use haul_core::{CloseReason, Encoder, Link, Multiplex, PacketId, ReadHalf, Result, WriteHalf};
use tokio::time::Instant;

/// Encoded and not yet taken by the link: at this weight nothing more is encoded.
const ROOM: usize = 64 << 10;

pub(crate) struct Up {
    half: Box<dyn WriteHalf>,
    encoder: Option<Box<dyn Encoder>>,
    buf: SendBuf,
    /// What is not yet flushed, in order.
    queue: VecDeque<Entry>,
    /// Bytes encoded on this link, or frames where it takes frames.
    taken: u64,
    dirty: bool,
    finished: bool,
    /// Packets flushed whose arrival no receipt will prove.
    unproved: u64,
    pub(crate) since: Instant,
    pub(crate) multiplex: Option<Arc<dyn Multiplex>>,
    _guard: Option<Box<dyn Any + Send>>,
}

struct Entry {
    frame: Frame,
    /// Where it begins among what was `taken`.
    start: u64,
    answered: bool,
}

/// What a cut leaves.
pub(crate) struct Remains {
    /// Frames to send again, in order: the link took nothing of them, or the peer knows them by their id.
    pub(crate) kept: Vec<Frame>,
    /// Packets that the link took, which the peer may or may not have.
    pub(crate) unproved: u64,
    /// A packet was not flushed.
    pub(crate) unflushed: bool,
}

impl Up {
    pub(crate) fn new(link: Link) -> (Self, Box<dyn ReadHalf>) {
        let up = Self {
            half: link.write,
            encoder: link.encoder,
            buf: SendBuf::default(),
            queue: VecDeque::new(),
            taken: 0,
            dirty: false,
            finished: false,
            unproved: 0,
            since: Instant::now(),
            multiplex: link.multiplex,
            _guard: link.guard,
        };
        (up, link.read)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.buf.weight() < ROOM
    }

    fn untaken(&self) -> u64 {
        match self.encoder {
            Some(_) => self.buf.bytes.len() as u64,
            None => self.buf.frames.len() as u64,
        }
    }

    /// Takes `frame` for the link. Errors: the encoder's; nothing was taken then.
    pub(crate) fn push(&mut self, frame: Frame) -> Result<()> {
        if self.finished {
            // Only answers can come after the end of this direction; nobody can be told them any more.
            return Ok(());
        }
        let (copy, start, before) = (frame.clone(), self.taken, self.untaken());
        self.buf.push(frame, self.encoder.as_deref_mut())?;
        self.taken += self.untaken() - before;
        self.dirty = true;
        self.queue.push_back(Entry { frame: copy, start, answered: false });
        Ok(())
    }

    /// Hands all to the link.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.buf.is_empty() {
            ready!(self.half.poll_write(cx, &mut self.buf))?;
        }
        self.buf.reset();
        Poll::Ready(Ok(()))
    }

    /// Flushes what was handed over; `flushed` is told of each packet that waits for a receipt.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        mut flushed: impl FnMut(Frame),
    ) -> Poll<Result<()>> {
        if !self.dirty {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_write(cx))?;
        ready!(self.half.poll_flush(cx))?;
        self.dirty = false;
        for entry in self.queue.drain(..) {
            match entry.frame {
                Frame::Packet { receipt: true, .. } if !entry.answered => flushed(entry.frame),
                Frame::Packet { receipt: false, .. } => self.unproved += 1,
                _ => {}
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.finished {
            ready!(self.half.poll_finish(cx))?;
            self.finished = true;
        }
        Poll::Ready(Ok(()))
    }

    /// The receipt of a packet came before its flush.
    pub(crate) fn answered(&mut self, id: PacketId) {
        let is_it = |entry: &&mut Entry| match &entry.frame {
            Frame::Packet { packet, receipt: true } => packet.id() == Some(id),
            _ => false,
        };
        if let Some(entry) = self.queue.iter_mut().find(is_it) {
            entry.answered = true;
        }
    }

    pub(crate) fn abort(&mut self, reason: &CloseReason) {
        self.half.abort(reason);
    }

    /// The link was cut.
    pub(crate) fn remains(self) -> Remains {
        let written = self.taken - self.untaken();
        let mut remains = Remains {
            kept: Vec::new(),
            unproved: self.unproved,
            unflushed: (self.queue.iter()).any(|entry| matches!(entry.frame, Frame::Packet { .. })),
        };
        for entry in self.queue.into_iter().filter(|entry| !entry.answered) {
            let touched = entry.start < written;
            match &entry.frame {
                // Pings ask this link only, and the end of the direction is said again at the end.
                Frame::Ping(_) | Frame::Pong(_) | Frame::Finish => {}
                Frame::Packet { packet, .. } if touched && packet.id().is_none() => remains.unproved += 1,
                _ => remains.kept.push(entry.frame),
            }
        }
        remains
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use haul_core::wire::{Framing, StreamEncoder};
    use haul_core::{Info, Packet};

    use super::*;

    /// Takes so many bytes and no more.
    struct Takes(usize);

    impl WriteHalf for Takes {
        fn poll_write(&mut self, _: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
            let taken = self.0.min(out.bytes.len());
            self.0 -= taken;
            out.bytes.advance(taken);
            if out.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    struct Silent;

    impl ReadHalf for Silent {
        fn poll_read(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
            Poll::Pending
        }
    }

    /// What remains of `aaa`, `bbb` with an id and `ccc`, of 4 bytes each, when the link took so many bytes.
    fn remains(taken: usize) -> (Vec<String>, u64, bool) {
        let link = Link::new(Info::new("pipe", "lines"), Silent, Takes(taken));
        let (mut up, _) = Up::new(link.with_encoder(StreamEncoder::new(Framing::Lines)));
        let packets = ["aaa", "bbb", "ccc"].map(Packet::text);
        for (at, packet) in packets.into_iter().enumerate() {
            let packet = if at == 1 { packet.identified() } else { packet };
            up.push(Frame::packet(packet)).unwrap();
        }
        let flushed = up.poll_flush(&mut Context::from_waker(Waker::noop()), |_| ());
        assert_eq!(flushed.is_ready(), taken >= 12);
        let remains = up.remains();
        let texts = remains.kept.iter().map(|frame| match frame {
            Frame::Packet { packet, .. } => packet.as_text().unwrap().to_owned(),
            other => panic!("{other:?}"),
        });
        (texts.collect(), remains.unproved, remains.unflushed)
    }

    #[test]
    fn what_the_link_took_a_byte_of_is_kept_only_with_an_id() {
        let kept = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(remains(0), (kept(&["aaa", "bbb", "ccc"]), 0, true));
        assert_eq!(remains(1), (kept(&["bbb", "ccc"]), 1, true));
        assert_eq!(remains(4), (kept(&["bbb", "ccc"]), 1, true));
        assert_eq!(remains(8), (kept(&["bbb", "ccc"]), 1, true));
        assert_eq!(remains(9), (kept(&["bbb"]), 2, true));
        assert_eq!(remains(12), (kept(&[]), 3, false));
    }
}
