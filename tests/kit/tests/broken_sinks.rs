//! A sink broken for each promise: the suite must catch it, in the check that is there for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use haul_core::{AnySink, Batch, Level, Receipt, Result, Service, Sink};
use haul_kit::sink::{Rig, Sample, Suite};

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Sound,
    Drops,
    Reorders,
    Duplicates,
    Truncates,
    AnswersOkWithoutStoring,
    ClaimsMore,
    AnswersTooFew,
    FailsOnEmpty,
    TakesAfterClose,
    HangsOnClose,
}

struct Broken {
    inner: Sample,
    how: How,
    count: AtomicUsize,
}

impl Service<Batch> for Broken {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let turn = self.count.fetch_add(1, Ordering::Relaxed) % 3 == 2;
        let mut packets = batch.packets().to_vec();
        match self.how {
            How::Drops if turn => drop(packets.pop()),
            How::Reorders => packets.reverse(),
            How::Duplicates if turn => packets.extend(packets.last().cloned()),
            How::Truncates => {
                for packet in &mut packets {
                    let cut = packet.len().saturating_sub(1);
                    *packet = haul_core::Packet::binary(packet.payload().slice(..cut));
                }
            }
            How::AnswersOkWithoutStoring => packets.clear(),
            How::FailsOnEmpty if packets.is_empty() => panic!("an empty batch"),
            _ => {}
        }
        self.inner.call(Batch::new(packets)).await?;
        let level = if self.how == How::ClaimsMore { Level::Acknowledged } else { Level::Stored };
        let mut outcomes: Vec<_> =
            batch.packets().iter().map(|packet| Ok(Receipt::new(level, packet.id()))).collect();
        if self.how == How::AnswersTooFew {
            outcomes.truncate(1);
        }
        Ok(outcomes)
    }
}

impl Sink for Broken {
    async fn close(&self) -> Result<()> {
        match self.how {
            How::TakesAfterClose => Ok(()),
            How::HangsOnClose => std::future::pending().await,
            _ => self.inner.close().await,
        }
    }
}

async fn failed(how: How, checks: Option<&[&'static str]>) -> Vec<&'static str> {
    let suite = Suite::new("haul-mock", move || async move {
        let sink = Arc::new(Broken { inner: Sample::default(), how, count: AtomicUsize::new(0) });
        let stored = sink.clone();
        Rig::new(AnySink::new(Handle(sink))).reads_back(move || {
            let stored = stored.clone();
            async move { stored.inner.stored().await }
        })
    });
    let suite = match checks {
        Some(checks) => suite.only(checks),
        None => suite,
    };
    let failures = suite.patience(Duration::from_secs(2)).failures().await;
    failures.iter().map(|failure| failure.check).collect()
}

struct Handle(Arc<Broken>);

impl Service<Batch> for Handle {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.0.call(batch).await
    }
}

impl Sink for Handle {
    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_sink_is_caught_by_its_check() {
    for (how, check) in [
        (How::Drops, "all_arrive"),
        (How::Reorders, "all_arrive"),
        (How::Duplicates, "all_arrive"),
        (How::Truncates, "shapes"),
        (How::AnswersOkWithoutStoring, "single"),
        (How::ClaimsMore, "single"),
        (How::AnswersTooFew, "all_arrive"),
        (How::FailsOnEmpty, "empty"),
        (How::TakesAfterClose, "close"),
        (How::HangsOnClose, "close"),
        (How::Drops, "concurrent"),
    ] {
        assert_eq!(failed(how, Some(&[check])).await, [check], "a sink that {how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_sink_passes() {
    assert_eq!(failed(How::Sound, None).await, [""; 0]);
}
