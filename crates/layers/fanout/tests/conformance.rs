//! The conformance suites, with a second member that refuses everything where one is enough.

use haul_core::{Error, ErrorKind, Input, Shared, service_fn};
use haul_fanout::{Fanout, FanoutLayer, FanoutOptions, Need};
use haul_kit::layer;
use tower_layer::Layer;

fn beside_one_that_refuses<In: Input>(inner: Shared<In>) -> Fanout<Shared<In>> {
    let refuses = service_fn(|_: In| async { Err(Error::new(ErrorKind::Rejected, "another member")) });
    let layer = FanoutLayer::new(FanoutOptions { need: Need::Any }, [Shared::new(refuses)]);
    layer.expect("the options are in their ranges").layer(inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries() {
    layer::suite("haul-fanout", |inner| Shared::new(beside_one_that_refuses(inner))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    layer::batch_suite("haul-fanout", |inner| Shared::new(beside_one_that_refuses(inner))).await;
}
