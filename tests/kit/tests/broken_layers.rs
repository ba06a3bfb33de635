//! A layer broken for each promise: the suite must catch it, in the check that is there for it.

use std::time::Duration;

use haul_core::{Batch, Error, Input, Level, Packet, Receipt, Result, Sent, Service, Shared, Status};
use haul_kit::layer::{BatchSuite, Suite};
use tokio::sync::Mutex;

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Sound,
    AnswersOkWithoutCalling,
    ChangesTheAnswer,
    FlattensErrors,
    ForgetsSent,
    RetriesPermanent,
    RetriesExhausted,
    RetriesMaybe,
    OutlivesItsCaller,
    OneAtATime,
}

struct Broken {
    inner: Shared<Packet>,
    how: How,
    turn: Mutex<()>,
}

impl Service<Packet> for Broken {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let id = packet.id();
        let answer = match self.how {
            How::AnswersOkWithoutCalling => return Ok(Receipt::new(Level::Stored, id).with_reference("7")),
            How::OutlivesItsCaller => {
                let inner = self.inner.clone();
                tokio::spawn(async move { inner.call(packet).await }).await.expect("no panic")
            }
            How::OneAtATime => {
                let _turn = self.turn.lock().await;
                self.inner.call(packet).await
            }
            _ => {
                let answer = self.inner.call(packet.clone()).await;
                let again = answer.as_ref().is_err_and(|why| match self.how {
                    How::RetriesPermanent => why.status() == Status::Permanent,
                    How::RetriesExhausted => why.status() == Status::Exhausted,
                    How::RetriesMaybe => why.sent() == Sent::Maybe,
                    _ => false,
                });
                if again { self.inner.call(packet).await } else { answer }
            }
        };
        match self.how {
            How::ChangesTheAnswer => answer.map(|_| Receipt::new(Level::Stored, id)),
            How::FlattensErrors => answer.map_err(|why| Error::new(why.kind(), why.to_string())),
            How::ForgetsSent => answer.map_err(|why| why.with_sent(Sent::No)),
            _ => answer,
        }
    }
}

async fn failed(how: How, checks: Option<&[&'static str]>) -> Vec<&'static str> {
    let suite =
        Suite::new("haul-trace", move |inner| Shared::new(Broken { inner, how, turn: Mutex::new(()) }));
    let suite = match checks {
        Some(checks) => suite.only(checks),
        None => suite,
    };
    let failures = suite.patience(Duration::from_secs(2)).failures().await;
    failures.iter().map(|failure| failure.check).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_layer_is_caught_by_its_check() {
    for (how, check) in [
        (How::AnswersOkWithoutCalling, "waits"),
        (How::ChangesTheAnswer, "answer"),
        (How::FlattensErrors, "errors"),
        (How::ForgetsSent, "errors"),
        (How::RetriesPermanent, "permanent"),
        (How::RetriesExhausted, "exhausted"),
        (How::RetriesMaybe, "maybe"),
        (How::OutlivesItsCaller, "cancelled"),
        (How::OneAtATime, "concurrent"),
    ] {
        assert_eq!(failed(how, Some(&[check])).await, [check], "a layer that {how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_only_passes_on_passes() {
    assert_eq!(failed(How::Sound, None).await, [""; 0]);
}

/// Sends whole batches again, what is stored included.
struct WholeBatches(Shared<Batch>);

impl Service<Batch> for WholeBatches {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let first = self.0.call(batch.clone()).await?;
        match Batch::failure(&first) {
            Some(why) if why.status() == Status::Transient => self.0.call(batch).await,
            _ => Ok(first),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_sends_what_is_stored_again_is_caught() {
    let failures = BatchSuite::new("haul-trace", |inner| Shared::new(WholeBatches(inner))).failures().await;
    let checks: Vec<_> = failures.iter().map(|failure| failure.check).collect();
    assert_eq!(checks, ["partial"]);
}
