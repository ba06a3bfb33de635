//! The conformance suites, with a retry that waits for nothing between its tries.

use std::time::Duration;

use haul_core::Shared;
use haul_kit::layer;
use haul_retry::{RetryLayer, RetryOptions};
use tower_layer::Layer;

fn retry() -> RetryLayer {
    let options =
        RetryOptions { base: Duration::ZERO, cap: Duration::ZERO, budget: 3.0, ..RetryOptions::default() };
    RetryLayer::new(options).expect("the options are in their ranges")
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries() {
    layer::suite("haul-retry", |inner| Shared::new(retry().layer(inner))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    layer::batch_suite("haul-retry", |inner| Shared::new(retry().layer(inner))).await;
}
