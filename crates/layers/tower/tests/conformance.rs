//! The conformance suites, around one of tower's own layers: both bridges and what lies between them.

use std::time::Duration;

use haul_core::Shared;
use haul_kit::layer;
use haul_tower::TowerLayer;
use tower::timeout::TimeoutLayer;
use tower_layer::Layer;

fn bridges() -> TowerLayer<TimeoutLayer> {
    TowerLayer::new(TimeoutLayer::new(Duration::from_secs(60)))
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries() {
    layer::suite("haul-tower", |inner| Shared::new(bridges().layer(inner))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    layer::batch_suite("haul-tower", |inner| Shared::new(bridges().layer(inner))).await;
}
