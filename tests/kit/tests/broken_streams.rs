//! Links without packet boundaries: the stream as a whole must be right.

use std::task::{Context, Poll};
use std::time::Duration;

use haul_core::wire::{Frame, SendBuf};
use haul_core::{CloseReason, Connection, Link, Packet, ReadHalf, Result, WriteHalf};
use haul_kit::{Pairs, connection};

use crate::faulty::{Common, Fault, breaks, connect};
use crate::proof::{ALL_TIME, PATIENCE, each_is_caught, names};

/// A link as of a byte stream: packets are joined and cut anew, into pieces of at most `piece` bytes.
fn raw(mut link: Link, piece: usize) -> Link {
    let info = &mut link.info;
    info.framing = "raw";
    (info.receipts, info.metadata, info.kinds, info.pings, info.close_frames) = <_>::default();
    link.multiplex = None;
    link.read = Box::new(Pieces { inner: link.read, rest: Vec::new(), piece });
    link.write = Box::new(Bytes { inner: link.write, taken: SendBuf::default() });
    link
}

struct Pieces {
    inner: Box<dyn ReadHalf>,
    rest: Vec<u8>,
    piece: usize,
}

impl ReadHalf for Pieces {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        while self.rest.len() < self.piece {
            match self.inner.poll_read(cx) {
                Poll::Ready(Ok(Some(Frame::Packet { packet, .. }))) => {
                    self.rest.extend_from_slice(packet.payload());
                }
                Poll::Ready(Ok(Some(_))) => {}
                _ if !self.rest.is_empty() => break,
                other => return other,
            }
        }
        let piece = self.rest.drain(..self.rest.len().min(self.piece)).collect::<Vec<_>>();
        Poll::Ready(Ok(Some(Frame::packet(Packet::binary(piece)))))
    }

    fn discarded(&self) -> u64 {
        self.inner.discarded()
    }
}

/// Has no word for anything but packets.
struct Bytes {
    inner: Box<dyn WriteHalf>,
    taken: SendBuf,
}

impl WriteHalf for Bytes {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        loop {
            if self.inner.poll_write(cx, &mut self.taken)?.is_pending() {
                return Poll::Pending;
            }
            match out.pop() {
                Some(frame @ Frame::Packet { .. }) => self.taken.push(frame, None)?,
                Some(_) => {}
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_flush(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_finish(cx)
    }

    fn abort(&mut self, reason: &CloseReason) {
        self.inner.abort(reason);
    }
}

fn broken(fault: Fault, piece: usize) -> Pairs {
    Pairs::new(move |limits| async move {
        let (a, b) = haul_mem::pair_with(haul_core::Limits { max_packet: 64 << 20, ..limits.clone() });
        let remade = async |end: Connection| {
            let mut link = raw(end.into_link().await.expect("a link"), piece);
            link.limits = limits.clone();
            connect(breaks(link, fault, &Common::default()))
        };
        (remade(a).await, remade(b).await)
    })
}

/// `haul-tcp/raw` says what is expected of a byte stream.
async fn failed(pairs: Pairs, checks: Vec<&'static str>, patience: Duration) -> Vec<&'static str> {
    let suite = connection::Suite::new("haul-tcp/raw", pairs).only(&checks);
    names(&suite.patience(patience).failures().await)
}

/// Longest piece of a stream that keeps its bounds.
const PIECE: usize = 777;

const CAUGHT: &[(Fault, &str)] = &[
    (Fault::Drops, "order"),
    (Fault::Corrupts, "order"),
    (Fault::Miscounts, "discards"),
    (Fault::Reorders, "many_senders"),
    (Fault::EndsBothOnFinish, "half_close"),
    (Fault::LosesTheLast, "half_close"),
    (Fault::LosesTheLast, "close_drains"),
    (Fault::Truncates, "sends"),
    (Fault::Duplicates, "receives"),
    (Fault::Duplicates, "delivers"),
    (Fault::SwallowsFailures, "cut"),
];

/// For the table of all connections.
pub(crate) fn caught() -> Vec<(String, &'static str)> {
    let named = CAUGHT.iter().map(|(fault, check)| (format!("{fault:?} (raw)"), *check));
    named.chain([("PiecesAboveTheLimit (raw)".to_owned(), "oversize_received")]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_stream_is_caught_by_its_check() {
    each_is_caught(CAUGHT, |fault, check| failed(broken(fault, PIECE), vec![check], PATIENCE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_pieces_above_the_limit_is_caught() {
    let checks = vec!["oversize_received"];
    assert_eq!(failed(broken(Fault::Sound, 5000), checks.clone(), PATIENCE).await, checks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_stream_is_not_caught() {
    let checks: Vec<_> = caught().into_iter().map(|(_, check)| check).collect();
    assert_eq!(failed(broken(Fault::Sound, PIECE), checks, ALL_TIME).await, [""; 0]);
}
