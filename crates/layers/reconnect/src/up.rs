//! One link that stands: what it was given, and how much of that it has taken.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use haul_core::wire::{Frame, Framing, SendBuf};
use haul_core::{CloseReason, Info, Link, Multiplex, PacketId, ReadHalf, Result, WriteHalf};
use tokio::time::Instant;

use crate::intake::{Intake, Taken};

/// Encoded and not yet taken by the link: at this weight nothing more is encoded.
const ROOM: usize = 64 << 10;

pub(crate) struct Up {
    half: Box<dyn WriteHalf>,
    /// It takes bytes, not frames.
    bytes: bool,
    /// A frame cut short is none to the peer: it cannot take the first half of a line for a line.
    whole: bool,
    /// What was encoded for this link alone.
    buf: SendBuf,
    /// Bytes in the buffer of the connection that are in `queue` and not yet written.
    lent: usize,
    /// What is not yet flushed, in order.
    queue: VecDeque<Entry>,
    /// Bytes given to this link, or frames where it takes frames.
    given: u64,
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
    /// Where it begins and ends among what was `given`.
    start: u64,
    end: u64,
    /// The peer is to answer it.
    receipt: bool,
    answered: bool,
}

/// What a cut leaves.
pub(crate) struct Remains {
    /// Frames to send again, in order: the peer has nothing of them, or knows them by their id.
    pub(crate) kept: Vec<Frame>,
    /// Packets that the link took, which the peer may or may not have.
    pub(crate) unproved: u64,
    /// Those among them that were not flushed.
    pub(crate) given_up: u64,
    /// A packet was not flushed.
    pub(crate) unflushed: bool,
    /// Bytes at the front of the connection's buffer that belong to what is kept.
    pub(crate) lent: usize,
}

impl Up {
    /// The link with this number; from now on its encoder is that of `intake`.
    pub(crate) fn new(mut link: Link, epoch: u64, intake: &Intake) -> (Self, Box<dyn ReadHalf>) {
        let up = Self {
            half: link.write,
            bytes: link.encoder.is_some(),
            whole: is_whole(&link.info),
            buf: SendBuf::default(),
            lent: 0,
            queue: VecDeque::new(),
            given: 0,
            dirty: false,
            finished: false,
            unproved: 0,
            since: Instant::now(),
            multiplex: link.multiplex,
            _guard: link.guard,
        };
        intake.install(epoch, link.encoder.take(), link.info.receipts);
        (up, link.read)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.buf.weight() < ROOM
    }

    /// Bytes of the connection's buffer that were taken over and are not written yet: nothing else may come before.
    pub(crate) fn lent(&self) -> usize {
        self.lent
    }

    /// Whether bytes of the connection's buffer may come next.
    pub(crate) fn takes_over(&self) -> bool {
        self.buf.is_empty() && !self.finished
    }

    fn untaken(&self) -> u64 {
        match self.bytes {
            true => (self.buf.bytes.len() + self.lent) as u64,
            false => self.buf.frames.len() as u64,
        }
    }

    /// Encodes `frame` for the link. Errors: the encoder's; nothing was taken then.
    pub(crate) fn push(&mut self, frame: Frame, intake: &Intake) -> Result<()> {
        if self.finished {
            // Only answers can come after the end of this direction; nobody can be told them any more.
            return Ok(());
        }
        let before = self.untaken();
        let receipt = intake.encode_into(frame.clone(), &mut self.buf)?;
        self.queue(frame, self.untaken() - before, receipt);
        Ok(())
    }

    /// Takes over what was encoded for this link already: its bytes are in the connection's buffer.
    pub(crate) fn borrow_bytes(&mut self, taken: Taken) {
        self.lent += taken.len;
        self.queue(taken.frame, taken.len as u64, taken.receipt);
    }

    fn queue(&mut self, frame: Frame, len: u64, receipt: bool) {
        let start = self.given;
        self.given += len;
        self.dirty = true;
        self.queue.push_back(Entry { frame, start, end: self.given, receipt, answered: false });
    }

    /// Hands over all that was encoded for this link alone.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.buf.is_empty() {
            ready!(self.half.poll_write(cx, &mut self.buf))?;
        }
        self.buf.reset();
        Poll::Ready(Ok(()))
    }

    /// Hands over the connection's buffer, all of which was borrowed.
    pub(crate) fn poll_write_lent(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        let written = self.half.poll_write(cx, out);
        self.lent = out.bytes.len();
        written
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
                Frame::Packet { .. } if entry.receipt && !entry.answered => flushed(entry.frame),
                Frame::Packet { .. } if !entry.receipt => self.unproved += 1,
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
            Frame::Packet { packet, .. } => entry.receipt && packet.id() == Some(id),
            _ => false,
        };
        if let Some(entry) = self.queue.iter_mut().find(is_it) {
            entry.answered = true;
        }
    }

    /// The receipts of so many packets are not waited for any more.
    pub(crate) fn count_unproved(&mut self, packets: u64) {
        self.unproved += packets;
    }

    pub(crate) fn abort(&mut self, reason: &CloseReason) {
        self.half.abort(reason);
    }

    /// The link was cut.
    pub(crate) fn remains(self) -> Remains {
        let written = self.given - self.untaken();
        let mut remains = Remains {
            kept: Vec::new(),
            unproved: self.unproved,
            given_up: 0,
            unflushed: (self.queue.iter()).any(|entry| matches!(entry.frame, Frame::Packet { .. })),
            lent: self.lent,
        };
        for entry in self.queue.into_iter().filter(|entry| !entry.answered) {
            let there = entry.end <= written || (entry.start < written && !self.whole);
            match &entry.frame {
                // Pings ask this link only, and the end of the direction is said again at the end.
                Frame::Note(_) | Frame::Ping(_) | Frame::Pong(_) | Frame::Finish => {}
                Frame::Packet { packet, .. } if there && packet.id().is_none() => remains.given_up += 1,
                _ => remains.kept.push(entry.frame),
            }
        }
        remains.unproved += remains.given_up;
        remains
    }
}

/// Whether the peer can tell the first part of a packet from a packet.
fn is_whole(info: &Info) -> bool {
    !matches!(info.framing.parse(), Ok(Framing::Lines | Framing::Raw))
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

    /// What remains of `aaa`, `bbb` with an id and `ccc`, of 8 bytes each, when the link took so many bytes: encoded
    /// by `send`, or again for this link.
    fn remains(framing: Framing, taken: usize, again: bool) -> (Vec<String>, u64, bool) {
        let info = Info::new("pipe", framing.as_str());
        let mut intake = Intake::new(&info);
        let link = Link::new(info, Silent, Takes(taken)).with_encoder(StreamEncoder::new(framing));
        let (mut up, _) = Up::new(link, 1, &intake);
        let mut out = SendBuf::default();
        let payload = |text: &str| text.repeat(if framing == Framing::Lines { 7 } else { 4 });
        let packets = ["a", "b", "c"].map(|text| Packet::text(payload(text)));
        for (at, packet) in packets.into_iter().enumerate() {
            let frame = Frame::packet(if at == 1 { packet.identified() } else { packet });
            match again {
                true => up.push(frame, &intake).unwrap(),
                false => out.push(frame, Some(&mut intake)).unwrap(),
            }
        }
        let mut cx = Context::from_waker(Waker::noop());
        if !again {
            while let Some(taken) = intake.take_encoded_for(1, out.bytes.len() - up.lent()) {
                up.borrow_bytes(taken);
            }
            let _ = up.poll_write_lent(&mut cx, &mut out);
            assert_eq!(up.lent(), 24 - taken);
        }
        let flushed = up.lent() == 0 && up.poll_flush(&mut cx, |_| ()).is_ready();
        assert_eq!(flushed, taken == 24);
        let remains = up.remains();
        let texts = remains.kept.iter().map(|frame| match frame {
            Frame::Packet { packet, .. } => packet.as_text().unwrap()[..1].to_owned(),
            other => panic!("{other:?}"),
        });
        (texts.collect(), remains.unproved, remains.unflushed)
    }

    #[test]
    fn what_the_peer_cannot_have_whole_is_kept_and_what_it_may_have_only_with_an_id() {
        for again in [false, true] {
            let check = |framing, taken, kept: &[&str], unproved| {
                let expected = (kept.iter().map(|text| (*text).to_owned()).collect(), unproved, taken < 24);
                assert_eq!(remains(framing, taken, again), expected, "{framing} {taken} {again}");
            };
            check(Framing::Length, 0, &["a", "b", "c"], 0);
            check(Framing::Length, 7, &["a", "b", "c"], 0);
            check(Framing::Length, 8, &["b", "c"], 1);
            check(Framing::Length, 16, &["b", "c"], 1);
            check(Framing::Length, 23, &["b", "c"], 1);
            check(Framing::Length, 24, &[], 3);
            // Half a line is a line to a peer whose stream ends.
            check(Framing::Lines, 0, &["a", "b", "c"], 0);
            check(Framing::Lines, 1, &["b", "c"], 1);
            check(Framing::Lines, 8, &["b", "c"], 1);
            check(Framing::Lines, 17, &["b"], 2);
            check(Framing::Lines, 24, &[], 3);
        }
    }
}
