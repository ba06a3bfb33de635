//! The conformance suites: services whose packets were never seen, and a file whose packets have ids.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use haul_core::{
    Ack, AnySource, BoxFuture, DeliverAll, Delivery, Packet, PacketId, Receipt, Result, Settle, Shared,
    Source,
};
use haul_dedupe::{DedupeLayer, DedupeOptions};
use haul_file::{FileConfig, FileSink, FileSource, FollowConfig, Start};
use haul_kit::{layer, source};
use tower_layer::Layer;

/// A new window each time: the suites use the same ids again and again.
fn dedupe() -> DedupeLayer {
    DedupeLayer::new(DedupeOptions::default()).expect("the defaults are in their ranges")
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries() {
    layer::suite("haul-dedupe", |inner| Shared::new(dedupe().layer(inner))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    layer::batch_suite("haul-dedupe", |inner| Shared::new(dedupe().layer(inner))).await;
}

/// Gives each packet the id that its number makes.
struct Identified(FileSource);

impl Source for Identified {
    async fn next(&mut self) -> Result<Option<Delivery>> {
        let Some(delivery) = self.0.next().await? else { return Ok(None) };
        let (packet, ack) = delivery.split();
        let mut id = [0; 16];
        id[..7].copy_from_slice(&packet.payload()[..7]);
        Ok(Some(Delivery::new(packet.with_id(PacketId::from_bytes(id)), Through(ack))))
    }
}

struct Through(Ack);

impl Settle for Through {
    fn settle(self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async {
            match outcome {
                Ok(receipt) => self.0.ack(receipt).await,
                Err(why) => self.0.nack(why).await,
            }
        })
    }

    fn dropped(self: Box<Self>) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn sources() {
    source::suite("haul-dedupe/file", async || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let sink = Arc::new(FileSink::new(FileConfig::new(path.clone())).unwrap());
        let put = move |packets: Vec<Packet>| {
            let sink = sink.clone();
            async move {
                for outcome in sink.deliver_all(packets).await.unwrap() {
                    outcome.unwrap();
                }
            }
        };
        let open = move || {
            let config = FollowConfig {
                start: Start::Oldest,
                poll: Duration::from_millis(5),
                max_unacked: 16,
                ..FollowConfig::new(path.clone())
            };
            async move {
                let source = Identified(FileSource::open(config).await.unwrap());
                AnySource::new(dedupe().source(source))
            }
        };
        source::Rig::new(put, open).holds(directory)
    })
    .await;
}
