//! Layers.

use std::time::Duration;

use haul_core::{Batch, Error, Input, Level, Packet, Receipt, Result, Sent, Service, Shared, Status};
use haul_kit::layer;
use tokio::sync::Mutex;

use crate::proof::{ALL_TIME, PATIENCE, caught, each_is_caught, names, proves};

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Sound,
    TriesOnce,
    AnswersOkWithoutCalling,
    ChangesTheAnswer,
    FlattensErrors,
    TriesAgain,
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
                    How::TriesAgain => true,
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

async fn failed(how: How, checks: Vec<&'static str>, patience: Duration) -> Vec<&'static str> {
    let wrap = move |inner| Shared::new(Broken { inner, how, turn: Mutex::new(()) });
    let suite = match how {
        // What it breaks is promised where `exhausts` is.
        How::TriesOnce => layer::Suite::new("haul-retry", wrap),
        _ => layer::Suite::new("haul-kit", wrap),
    };
    names(&suite.only(&checks).patience(patience).failures().await)
}

const CAUGHT: &[(How, &str)] = &[
    (How::ChangesTheAnswer, "answer"),
    (How::AnswersOkWithoutCalling, "waits"),
    (How::FlattensErrors, "errors"),
    (How::ForgetsSent, "errors"),
    (How::TriesOnce, "transient"),
    (How::TriesAgain, "transient"),
    (How::RetriesPermanent, "permanent"),
    (How::RetriesExhausted, "exhausted"),
    (How::RetriesMaybe, "maybe"),
    (How::OutlivesItsCaller, "cancelled"),
    (How::OneAtATime, "concurrent"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_layer_is_caught_by_its_check() {
    each_is_caught(CAUGHT, |how, check| failed(how, vec![check], PATIENCE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_only_passes_on_passes() {
    let checks: Vec<_> = layer::Suite::promises().into_iter().map(|(check, _)| check).collect();
    assert_eq!(failed(How::Sound, checks, ALL_TIME).await, [""; 0]);
}

#[test]
fn every_promise_of_layers_is_broken_by_something() {
    proves("layer", &layer::Suite::promises(), &caught(CAUGHT));
}

#[derive(Clone, Copy, Debug)]
enum BatchHow {
    Passes,
    AnswersInAnotherOrder,
    SendsTheStoredAgain,
}

struct BrokenBatches(Shared<Batch>, BatchHow);

impl Service<Batch> for BrokenBatches {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let mut first = self.0.call(batch.clone()).await?;
        match self.1 {
            BatchHow::AnswersInAnotherOrder => first.reverse(),
            BatchHow::SendsTheStoredAgain => {
                if Batch::failure(&first).is_some_and(|why| why.status() == Status::Transient) {
                    return self.0.call(batch).await;
                }
            }
            BatchHow::Passes => {}
        }
        Ok(first)
    }
}

const CAUGHT_BATCHES: &[(BatchHow, &str)] =
    &[(BatchHow::AnswersInAnotherOrder, "outcomes"), (BatchHow::SendsTheStoredAgain, "partial")];

async fn failed_batches(how: BatchHow, checks: Vec<&'static str>) -> Vec<&'static str> {
    let suite = layer::BatchSuite::new("haul-kit", move |inner| Shared::new(BrokenBatches(inner, how)));
    names(&suite.only(&checks).failures().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_layer_of_batches_is_caught_by_its_check() {
    each_is_caught(CAUGHT_BATCHES, |how, check| failed_batches(how, vec![check])).await;
    let checks = layer::BatchSuite::promises().into_iter().map(|(check, _)| check).collect();
    assert_eq!(failed_batches(BatchHow::Passes, checks).await, [""; 0]);
}

#[test]
fn every_promise_of_layers_of_batches_is_broken_by_something() {
    proves("layer, batches", &layer::BatchSuite::promises(), &caught(CAUGHT_BATCHES));
}
