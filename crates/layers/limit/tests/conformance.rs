//! The conformance suites, with limits that are not reached.

use haul_core::Shared;
use haul_kit::layer;
use haul_limit::{LimitLayer, LimitOptions};
use tower_layer::Layer;

fn limits() -> LimitLayer {
    let options = LimitOptions { rate: Some(1_000_000), concurrency: Some(1000), ..LimitOptions::default() };
    LimitLayer::new(options).expect("the options are in their ranges")
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries() {
    layer::suite("haul-limit", |inner| Shared::new(limits().layer(inner))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    layer::batch_suite("haul-limit", |inner| Shared::new(limits().layer(inner))).await;
}
