//! The file as a sink and as a source, on a real disk.

#![allow(clippy::unwrap_used)]

mod config;
mod rotation;
mod sink;
mod source;

use std::path::Path;
use std::time::Duration;

use haul_core::{Delivery, Level, Packet, Receipt, Result, Source};
use haul_file::{FileSource, FollowConfig, Format};

/// How long a test waits for anything.
const DEADLINE: Duration = Duration::from_secs(20);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {DEADLINE:?}"),
    }
}

/// Follows plain lines, looking often.
fn follow(path: &Path) -> FollowConfig {
    FollowConfig { format: Format::Raw, poll: Duration::from_millis(5), ..FollowConfig::new(path) }
}

async fn next(source: &mut FileSource) -> Result<Option<Delivery>> {
    within("the next packet", source.next()).await
}

async fn packet(source: &mut FileSource) -> Delivery {
    next(source).await.unwrap().expect("a source that follows does not end")
}

async fn ack(delivery: Delivery) -> Result<()> {
    let receipt = Receipt::new(Level::Stored, delivery.packet().id());
    within("the acknowledgement", delivery.ack(receipt)).await
}

/// Takes packets and acknowledges them, until there are `count`.
async fn texts(source: &mut FileSource, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let delivery = packet(source).await;
        texts.push(text(delivery.packet()));
        ack(delivery).await.unwrap();
    }
    texts
}

fn text(packet: &Packet) -> String {
    packet.as_text().unwrap().to_owned()
}
