//! A link broken for each promise: the suite must catch it, in the check that is there for it.

use std::task::{Context, Poll};
use std::time::Duration;

use haul_core::wire::{Frame, SendBuf};
use haul_core::{CloseReason, Connection, Packet, Result, WriteHalf};
use haul_kit::{Pairs, connection, spawn};

/// Packets between two that are spoiled.
const EVERY: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Sound,
    Drops,
    Reorders,
    Duplicates,
    Truncates,
    Corrupts,
    LosesMetadata,
    GrowsWithoutBound,
    ForgetsToFlush,
    AnswersOkWithoutSending,
    HangsOnClose,
    EndsCleanlyOnAbort,
}

struct Broken {
    inner: Box<dyn WriteHalf>,
    how: How,
    taken: SendBuf,
    held: Option<Frame>,
    count: usize,
}

impl Broken {
    fn take(&mut self, out: &mut SendBuf) -> Result<()> {
        while let Some(frame) = out.pop() {
            for frame in self.spoil(frame) {
                self.taken.push(frame, None)?;
            }
        }
        Ok(())
    }

    fn spoil(&mut self, frame: Frame) -> Vec<Frame> {
        let Frame::Packet { packet, receipt } = frame else {
            return vec![frame];
        };
        self.count += 1;
        let turn = self.count.is_multiple_of(EVERY);
        let again = |packet: Packet| Frame::Packet { packet, receipt };
        let cut = packet.len().saturating_sub(1);
        match self.how {
            How::Drops if turn => vec![],
            How::AnswersOkWithoutSending => vec![],
            How::Duplicates if turn => vec![again(packet.clone()), again(packet)],
            How::Truncates if turn => vec![again(Packet::binary(packet.payload().slice(..cut)))],
            How::Corrupts if turn && cut > 0 => {
                let mut bytes = packet.payload().to_vec();
                bytes[cut] ^= 1;
                vec![again(Packet::binary(bytes))]
            }
            How::LosesMetadata => vec![again(packet.with_metadata(Default::default()))],
            How::Reorders if turn => {
                self.held = Some(again(packet));
                vec![]
            }
            How::Reorders => [Some(again(packet)), self.held.take()].into_iter().flatten().collect(),
            _ => vec![again(packet)],
        }
    }
}

impl WriteHalf for Broken {
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut SendBuf) -> Poll<Result<()>> {
        match self.how {
            How::GrowsWithoutBound => {
                self.take(out)?;
                let _ = self.inner.poll_write(cx, &mut self.taken)?;
                Poll::Ready(Ok(()))
            }
            How::ForgetsToFlush => {
                // What came before goes out now; what comes now waits for what comes next.
                let written = self.inner.poll_write(cx, &mut self.taken)?;
                if written.is_ready() {
                    self.take(out)?;
                }
                written.map(Ok)
            }
            _ => loop {
                if self.inner.poll_write(cx, &mut self.taken)?.is_pending() {
                    return Poll::Pending;
                }
                let Some(frame) = out.pop() else {
                    return Poll::Ready(Ok(()));
                };
                for frame in self.spoil(frame) {
                    self.taken.push(frame, None)?;
                }
            },
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.how == How::GrowsWithoutBound {
            let _ = self.inner.poll_write(cx, &mut self.taken)?;
        }
        self.inner.poll_flush(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.how == How::HangsOnClose {
            return Poll::Pending;
        }
        if self.inner.poll_write(cx, &mut self.taken)?.is_pending() {
            return Poll::Pending;
        }
        self.inner.poll_finish(cx)
    }

    fn abort(&mut self, reason: &CloseReason) {
        if self.how == How::EndsCleanlyOnAbort {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let _ = self.inner.poll_finish(&mut cx);
        } else {
            self.inner.abort(reason);
        }
    }
}

fn broken(how: How) -> Pairs {
    Pairs::new(move |limits| async move {
        let (a, b) = haul_mem::pair_with(limits);
        let mut link = a.into_link().await.expect("a link");
        link.write =
            Box::new(Broken { inner: link.write, how, taken: SendBuf::default(), held: None, count: 0 });
        (Connection::new(link, spawn), b)
    })
}

async fn failed(pairs: Pairs, checks: &[&'static str]) -> Vec<&'static str> {
    let suite = connection::Suite::new("haul-mem", pairs);
    let failures = suite.only(checks).patience(Duration::from_secs(2)).failures().await;
    for failure in &failures {
        let text = failure.to_string();
        assert!(text.contains("haul-mem breaks its promise that"), "{text}");
    }
    failures.iter().map(|failure| failure.check).collect()
}

/// What catches what.
const CAUGHT: [(How, &str); 11] = [
    (How::Drops, "order"),
    (How::Reorders, "order"),
    (How::Duplicates, "order"),
    (How::Truncates, "order"),
    (How::Corrupts, "order"),
    (How::LosesMetadata, "metadata"),
    (How::GrowsWithoutBound, "slow_reader"),
    (How::ForgetsToFlush, "flush"),
    (How::AnswersOkWithoutSending, "flush"),
    (How::HangsOnClose, "close_drains"),
    (How::EndsCleanlyOnAbort, "abort"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_link_is_caught_by_its_check() {
    for (how, check) in CAUGHT {
        assert_eq!(failed(broken(how), &[check]).await, [check], "a link that {how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_only_passes_on_is_not_caught() {
    let mut checks: Vec<_> = CAUGHT.iter().map(|(_, check)| *check).collect();
    checks.dedup();
    assert_eq!(failed(broken(How::Sound), &checks).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_declares_less_than_expected_is_caught() {
    let modest = Pairs::new(|limits| async move {
        let (a, b) = haul_mem::pair_with(limits);
        let mut link = a.into_link().await.expect("a link");
        link.info.receipts = false;
        (Connection::new(link, spawn), b)
    });
    assert_eq!(failed(modest, &["capabilities"]).await, ["capabilities"]);
}
