//! The conformance suites.

use haul_core::Shared;
use haul_kit::layer;
use haul_trace::TraceLayer;
use tower_layer::Layer;

#[tokio::test(flavor = "multi_thread")]
async fn deliveries() {
    layer::suite("haul-trace", |inner| Shared::new(TraceLayer::new("kit").layer(inner))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    layer::batch_suite("haul-trace", |inner| Shared::new(TraceLayer::new("kit").layer(inner))).await;
}
