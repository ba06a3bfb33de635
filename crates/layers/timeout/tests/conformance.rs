//! The conformance suites, with the time that a call has by default.

use haul_core::Shared;
use haul_kit::layer;
use haul_timeout::{TimeoutLayer, TimeoutOptions};
use tower_layer::Layer;

fn timeout() -> TimeoutLayer {
    TimeoutLayer::new(TimeoutOptions::default()).expect("the default is in its range")
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries() {
    layer::suite("haul-timeout", |inner| Shared::new(timeout().layer(inner))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    layer::batch_suite("haul-timeout", |inner| Shared::new(timeout().layer(inner))).await;
}
