//! Opening with much that waits.

use std::time::Duration;

use haul_core::{DeliverAll, Packet};
use haul_journal::sim::SimDisk;
use haul_outbox::forward::DeliveryOptions;
use haul_outbox::{Outbox, OutboxOptions};

use crate::support::{LONG, Told, away, patient, status};

/// Files of 5 MiB, packets of 64 KiB.
fn options() -> OutboxOptions {
    OutboxOptions { max_packet: 1 << 16, max_bytes: 40 << 20, ..patient("sim") }
}

/// Disks with 35 MiB that wait in seven files or more, and their names.
async fn backlog() -> (SimDisk, SimDisk, Vec<String>) {
    let (packets, dead) = (SimDisk::new(1), SimDisk::new(2));
    let outbox = Outbox::open_on(away(), packets.mount(), dead.mount(), options()).await.unwrap();
    for _ in 0..14 {
        let batch = vec![Packet::binary(vec![7; 1 << 16]); 40];
        assert!(outbox.deliver_all(batch).await.unwrap().iter().all(Result::is_ok));
    }
    assert_eq!(outbox.close(LONG).await.unwrap().pending, 560);
    drop(outbox);
    let files: Vec<_> = packets.names().into_iter().filter(|name| name.ends_with(".log")).collect();
    assert!(files.len() >= 7, "{files:?}");
    (packets, dead, files)
}

#[tokio::test]
async fn opening_reads_the_newest_file_and_the_one_that_is_delivered_next() {
    let (packets, dead, files) = backlog().await;
    let before: Vec<_> = files.iter().map(|name| packets.reads_of(name)).collect();
    let delivery = DeliveryOptions { ahead: 10, ..options().delivery };
    let options = OutboxOptions { delivery, ..options() };
    let outbox = Outbox::open_on(away(), packets.mount(), dead.mount(), options).await.unwrap();
    status(&outbox, "the first try", |status| status.sink.stuck.is_some()).await;
    let read: Vec<_> =
        files.iter().zip(&before).map(|(name, before)| packets.reads_of(name) - before).collect();
    assert!(read[0] > 0 && read[read.len() - 1] > 0, "{read:?}");
    assert!(read[1..read.len() - 1].iter().all(|reads| *reads == 0), "{read:?}");
    assert_eq!(outbox.status().pending, 560);
}

#[tokio::test]
async fn however_far_ahead_it_may_be_read_no_more_than_16_mib_are_held() {
    let (packets, dead, files) = backlog().await;
    let before: Vec<_> = files.iter().map(|name| packets.reads_of(name)).collect();
    let delivery = DeliveryOptions { ahead: 1_000_000, ..options().delivery };
    let options = OutboxOptions { delivery, ..options() };
    let sink = Told::new();
    let held = Outbox::open_on(away(), packets.mount(), dead.mount(), options.clone()).await.unwrap();
    status(&held, "the first try", |status| status.sink.stuck.is_some()).await;
    // 16 MiB end in the fourth file.
    let read = |at: usize| packets.reads_of(&files[at]) - before[at];
    assert!(read(2) > 0 && read(5) == 0, "{:?}", (0..files.len()).map(read).collect::<Vec<_>>());
    held.close(Duration::ZERO).await.unwrap();
    drop(held);
    let outbox = Outbox::open_on(sink.sink(), packets.mount(), dead.mount(), options).await.unwrap();
    status(&outbox, "all", |status| status.sink.delivered == 560).await;
}
