//! The conformance suites, with a second member that takes everything where any is enough.

use haul_core::{Batch, Error, ErrorKind, Input, Packet, Service, Shared, service_fn};
use haul_fanout::{FanoutLayer, FanoutOptions, Need};
use haul_kit::layer;
use tower_layer::Layer;

fn beside<S: Clone>(need: Need, inner: S, other: S) -> haul_fanout::Fanout<S> {
    FanoutLayer::new(FanoutOptions { need }, [other]).expect("the options are in their ranges").layer(inner)
}

/// A member that refuses everything, and so never decides where one is enough.
fn refuses<In: Input>() -> Shared<In> {
    Shared::new(service_fn(|_: In| async { Err(Error::new(ErrorKind::Rejected, "another member")) }))
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries() {
    layer::suite("haul-fanout", |inner: Shared<Packet>| Shared::new(any(inner))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    layer::batch_suite("haul-fanout", |inner: Shared<Batch>| {
        Shared::new(beside(Need::Any, inner, refuses()))
    })
    .await;
}

fn any(inner: Shared<Packet>) -> impl Service<Packet> {
    beside(Need::Any, inner, refuses())
}
