//! The conformance suites, with a file that is rotated all the time.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use haul_core::{AnySink, AnySource, DeliverAll, Packet, Source};
use haul_file::{FileConfig, FileSink, FileSource, FollowConfig, Start};
use haul_kit::{sink, source};

fn rotated(path: PathBuf) -> FileSink {
    FileSink::new(FileConfig { max_size: Some(4_000), ..FileConfig::new(path) }).unwrap()
}

/// Everything in the file and its rotated siblings, oldest first.
async fn stored(path: PathBuf) -> Vec<bytes::Bytes> {
    if !path.exists() {
        return Vec::new();
    }
    let config =
        FollowConfig { follow: false, start: Start::Oldest, max_unacked: 1 << 20, ..FollowConfig::new(path) };
    let mut source = FileSource::open(config).await.unwrap();
    let (mut payloads, mut open) = (Vec::new(), Vec::new());
    while let Some(delivery) = source.next().await.unwrap() {
        payloads.push(delivery.packet().payload().clone());
        open.push(delivery);
    }
    payloads
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    sink::suite("haul-file", async || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let rig = sink::Rig::new(AnySink::new(rotated(path.clone()))).holds(directory);
        rig.reads_back(move || stored(path.clone()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources() {
    source::suite("haul-file", async || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let sink = Arc::new(rotated(path.clone()));
        let put = move |packets: Vec<Packet>| {
            let sink = sink.clone();
            async move {
                for outcome in sink.deliver_all(packets).await.unwrap() {
                    outcome.unwrap();
                }
            }
        };
        let open = move || {
            // Where nothing was read before, what was put before the first look belongs to the suite too.
            let config = FollowConfig {
                start: Start::Oldest,
                poll: Duration::from_millis(5),
                max_unacked: 16,
                ..FollowConfig::new(path.clone())
            };
            async move { AnySource::new(FileSource::open(config).await.unwrap()) }
        };
        source::Rig::new(put, open).holds(directory)
    })
    .await;
}
