//! The conformance suites, with a sink beneath that delivers each packet of a batch by itself.

use std::time::Duration;

use futures_util::future::join_all;
use haul_batch::{BatchLayer, BatchOptions};
use haul_core::{Batch, Packet, Receipt, Result, Service, Shared};
use haul_kit::layer;
use tower_layer::Layer;

struct Each(Shared<Packet>);

impl Service<Batch> for Each {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        Ok(join_all(batch.into_packets().into_iter().map(|packet| self.0.call(packet))).await)
    }
}

fn batching(after: Duration) -> BatchLayer {
    let options = BatchOptions { after, in_flight: 64, ..BatchOptions::default() };
    BatchLayer::new(options).expect("the options are in their ranges")
}

fn suite(after: Duration) -> layer::Suite {
    layer::Suite::new("haul-batch", move |inner| Shared::new(batching(after).layer(Each(inner))))
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries() {
    let checks: Vec<_> = layer::Suite::promises().into_iter().map(|(name, _)| name).collect();
    let (cancelled, others): (Vec<_>, Vec<_>) = checks.into_iter().partition(|name| *name == "cancelled");
    suite(Duration::ZERO).only(&others).run().await;
    // Whether a batch leaves just before its caller does is left to the clock otherwise.
    suite(Duration::from_secs(3600)).only(&cancelled).run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    layer::batch_suite("haul-batch", |inner| Shared::new(batching(Duration::ZERO).layer(inner))).await;
}
