//! The suite of sinks, in front of one that is away: what is stored waits, and is read back.

use bytes::Bytes;
use haul_core::AnySink;
use haul_kit::sink;
use haul_outbox::{Outbox, OutboxOptions, OutboxView};

use crate::support::{away, patient};

fn waiting(dir: &std::path::Path) -> Vec<Bytes> {
    let mut pending = OutboxView::open(dir, None).unwrap().pending().unwrap();
    std::iter::from_fn(|| pending.read().unwrap()).map(|one| one.packet.payload().clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    sink::suite("haul-outbox", async || {
        let dir = tempfile::tempdir().unwrap();
        let options = OutboxOptions { max_packet: 70_000, ..patient(&dir) };
        let outbox = Outbox::open(away(), options).await.unwrap();
        let path = dir.path().to_owned();
        let rig = sink::Rig::new(AnySink::new(outbox)).holds(dir);
        rig.reads_back(move || std::future::ready(waiting(&path)))
    })
    .await;
}
