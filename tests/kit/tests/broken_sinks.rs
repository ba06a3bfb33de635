//! Sinks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use haul_core::{AnySink, Batch, Error, ErrorKind, Level, Packet, Receipt, Result, Sent, Service, Sink};
use haul_kit::sink::{self, Rig, Sample};

use crate::proof::{ALL_TIME, PATIENCE, caught, each_is_caught, names, proves};

/// As `capabilities.toml` says.
const MAX_PACKET: usize = 70_000;

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
    TakesAnySize,
    FailsWholeBatches,
    StoresAgainWhenCancelled,
    IsNeverReady,
    TakesAfterClose,
    HangsOnClose,
}

struct Broken {
    inner: Arc<Sample>,
    how: How,
    count: AtomicUsize,
}

/// Stores a batch when it is dropped.
struct Later(Option<(Arc<Sample>, Vec<Packet>)>);

impl Drop for Later {
    fn drop(&mut self) {
        if let Some((sample, packets)) = self.0.take() {
            drop(tokio::spawn(async move { sample.call(Batch::new(packets)).await }));
        }
    }
}

impl Service<Batch> for Broken {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let turn = self.count.fetch_add(1, Ordering::Relaxed) % 3 == 2;
        let mut packets = batch.packets().to_vec();
        let large = |packet: &Packet| packet.len() > MAX_PACKET && self.how != How::TakesAnySize;
        let too_large = || Error::new(ErrorKind::TooLarge, "the packet").with_sent(Sent::No);
        if self.how == How::FailsWholeBatches && packets.iter().any(large) {
            return Err(too_large());
        }
        packets.retain(|packet| !large(packet));
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
        self.inner.call(Batch::new(packets.clone())).await?;
        if self.how == How::StoresAgainWhenCancelled {
            let mut again = Later(Some((self.inner.clone(), packets)));
            tokio::task::yield_now().await;
            again.0 = None;
        }
        let level = if self.how == How::ClaimsMore { Level::Acknowledged } else { Level::Stored };
        let mut outcomes: Vec<_> = batch
            .packets()
            .iter()
            .map(|packet| match large(packet) {
                true => Err(too_large()),
                false => Ok(Receipt::new(level, packet.id())),
            })
            .collect();
        if self.how == How::AnswersTooFew {
            outcomes.truncate(1);
        }
        Ok(outcomes)
    }
}

impl Sink for Broken {
    async fn ready(&self) -> Result<()> {
        match self.how {
            How::IsNeverReady => Err(Error::new(ErrorKind::Connect, "not ready")),
            _ => Ok(()),
        }
    }

    async fn close(&self) -> Result<()> {
        match self.how {
            How::TakesAfterClose => Ok(()),
            How::HangsOnClose => std::future::pending().await,
            _ => self.inner.close().await,
        }
    }
}

async fn failed(how: How, checks: Vec<&'static str>, patience: Duration) -> Vec<&'static str> {
    let suite = sink::Suite::new("haul-kit", move || async move {
        let sink = Arc::new(Broken { inner: Arc::default(), how, count: AtomicUsize::new(0) });
        let stored = sink.clone();
        Rig::new(AnySink::new(Handle(sink))).reads_back(move || {
            let stored = stored.clone();
            async move { stored.inner.stored().await }
        })
    });
    names(&suite.only(&checks).patience(patience).failures().await)
}

struct Handle(Arc<Broken>);

impl Service<Batch> for Handle {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.0.call(batch).await
    }
}

impl Sink for Handle {
    async fn ready(&self) -> Result<()> {
        self.0.ready().await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

const CAUGHT: &[(How, &str)] = &[
    (How::Drops, "all_arrive"),
    (How::Reorders, "all_arrive"),
    (How::Duplicates, "all_arrive"),
    (How::AnswersTooFew, "all_arrive"),
    (How::AnswersOkWithoutStoring, "single"),
    (How::ClaimsMore, "single"),
    (How::FailsOnEmpty, "empty"),
    (How::Truncates, "shapes"),
    (How::TakesAnySize, "too_large"),
    (How::FailsWholeBatches, "too_large"),
    (How::Drops, "concurrent"),
    (How::Reorders, "concurrent"),
    (How::StoresAgainWhenCancelled, "cancelled"),
    (How::Drops, "cancelled"),
    (How::IsNeverReady, "ready"),
    (How::TakesAfterClose, "close"),
    (How::HangsOnClose, "close"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_sink_is_caught_by_its_check() {
    each_is_caught(CAUGHT, |how, check| failed(how, vec![check], PATIENCE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_sink_passes() {
    let checks: Vec<_> = sink::Suite::promises().into_iter().map(|(check, _)| check).collect();
    assert_eq!(failed(How::Sound, checks, ALL_TIME).await, [""; 0]);
}

#[test]
fn every_promise_of_sinks_is_broken_by_something() {
    proves("sink", &sink::Suite::promises(), &caught(CAUGHT));
}
