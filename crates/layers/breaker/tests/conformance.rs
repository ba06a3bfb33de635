//! The conformance suites, with a breaker that is closed.

use haul_breaker::{BreakerLayer, BreakerOptions};
use haul_core::Shared;
use haul_kit::layer;
use tower_layer::Layer;

fn breaker() -> BreakerLayer {
    BreakerLayer::new(BreakerOptions::default()).expect("the defaults are in their ranges")
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries() {
    layer::suite("haul-breaker", |inner| Shared::new(breaker().layer(inner))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    layer::batch_suite("haul-breaker", |inner| Shared::new(breaker().layer(inner))).await;
}
