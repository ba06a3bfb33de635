//! The conformance suites: calls that are tried once, and calls that are tried again without a pause.

use std::time::Duration;

use haul_core::{Input, Shared};
use haul_kit::layer;
use haul_queue::{QueueLayer, QueueOptions};
use tower_layer::Layer;

fn queue<In: Input>(attempts: u32, inner: Shared<In>) -> Shared<In> {
    let (base, cap) = (Duration::ZERO, Duration::ZERO);
    let options = QueueOptions { concurrency: 50, attempts, base, cap, ..QueueOptions::default() };
    Shared::new(QueueLayer::new(options).expect("the options are in their ranges").layer(inner))
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries() {
    layer::suite("haul-queue", |inner| queue(1, inner)).await;
    layer::suite("haul-queue/tries", |inner| queue(3, inner)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    layer::batch_suite("haul-queue", |inner| queue(1, inner)).await;
    layer::batch_suite("haul-queue/tries", |inner| queue(3, inner)).await;
}
