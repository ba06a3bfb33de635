//! The conformance suites: what the preferred service fails, one answers that says the same.

use haul_core::{Error, ErrorKind, Input, Service, Shared, service_fn};
use haul_fallback::{FallbackLayer, FallbackOptions};
use haul_kit::layer;
use tower_layer::Layer;

/// The service behind one that cannot be reached.
fn behind<In: Input>(inner: Shared<In>) -> impl Service<In> {
    let unreachable = |_: In| async { Err(Error::new(ErrorKind::Connect, "nobody is there")) };
    let layer =
        FallbackLayer::new(FallbackOptions::default(), [inner]).expect("the options are in their ranges");
    layer.layer(Shared::new(service_fn(unreachable)))
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries() {
    layer::suite("haul-fallback", |inner| Shared::new(behind(inner))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    layer::batch_suite("haul-fallback", |inner| Shared::new(behind(inner))).await;
}
