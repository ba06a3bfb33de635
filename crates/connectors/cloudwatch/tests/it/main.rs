//! The connector against moto, a double of CloudWatch Logs, and against a double of our own that refuses as the server may.

#![allow(clippy::unwrap_used)]

mod double;
mod events;
mod faults;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use haul_core::AnySink;
use haul_kit::sink;

use support::Moto;

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    let Some(moto) = Moto::start() else { return };
    let (moto, next) = (Arc::new(moto), AtomicU64::new(0));
    let suite = sink::Suite::new("haul-cloudwatch", move || {
        let (moto, group) = (moto.clone(), format!("g{}", next.fetch_add(1, Ordering::Relaxed)));
        async move {
            let sink = support::sink(moto.port, &group, "create=true&max_packet=256KiB");
            sink::Rig::new(AnySink::new(sink)).reads_back(move || {
                let (moto, group) = (moto.clone(), group.clone());
                async move { moto.read_all(&group, "haul").await.iter().map(support::Event::payload).collect() }
            })
        }
    });
    suite.patience(Duration::from_secs(60)).run().await;
}
