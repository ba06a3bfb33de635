//! The outbox on a disk that loses what was not synced.

use std::collections::{HashMap, HashSet};

use haul_core::{AnySink, Deliver, DeliverAll, ErrorKind, Packet, Sent};
use haul_journal::sim::{Op, SimDisk};
use haul_outbox::{Outbox, OutboxOptions};

use crate::history::{Moody, seeds};
use crate::support::{LONG, Told, quick, status, within};

struct Disks {
    packets: SimDisk,
    dead: SimDisk,
}

impl Disks {
    fn new(seed: u64) -> Self {
        Self { packets: SimDisk::new(seed), dead: SimDisk::new(seed.wrapping_add(1000)) }
    }

    async fn open(&self, sink: AnySink) -> haul_core::Result<Outbox> {
        // Small files, so that some are ended and removed.
        let options = OutboxOptions { max_bytes: 300_000, ..quick("sim") };
        Outbox::open_on(sink, self.packets.mount(), self.dead.mount(), options).await
    }

    fn crash(&self) {
        self.packets.crash();
        self.dead.crash();
    }
}

/// Stores until the disk goes, and answers what was answered `Stored`.
async fn load(outbox: &Outbox, run: u32) -> Vec<String> {
    let mut stored = Vec::new();
    for number in 0..40 {
        let texts = (0..3).map(|lane| format!("{lane}-{run}-{number}"));
        let packet = |text: &str| Packet::text(text).with("session_id", text[..1].to_owned());
        let texts: Vec<String> = texts.map(|text| text + &"x".repeat(200)).collect();
        let batch: Vec<_> = texts.iter().map(|text| packet(text)).collect();
        let Ok(outcomes) = outbox.deliver_all(batch).await else {
            return stored;
        };
        stored
            .extend(texts.into_iter().zip(outcomes).filter_map(|(text, outcome)| outcome.ok().map(|_| text)));
    }
    stored
}

/// Crashes four times, at any change of a disk. Errors: a packet that was stored neither arrived nor is a dead letter.
async fn history(seed: u64, syncs: bool) -> Result<(), String> {
    let disks = Disks::new(seed);
    let sink = Moody::new(!seed);
    let mut stored = Vec::new();
    for run in 0..4 {
        let Ok(outbox) = disks.open(AnySink::new(sink.clone())).await else {
            return Err(format!("seed {seed}: it cannot be opened"));
        };
        disks.packets.ignore_sync(!syncs);
        disks.packets.power_off_at(20 + seed % 60 * 7 % 60 + u64::from(run) * 13);
        disks.dead.power_off_at(4 + seed % 9);
        stored.extend(load(&outbox, run).await);
        drop(outbox);
        // The task that delivers ends when it has the turn.
        tokio::task::yield_now().await;
        disks.crash();
        sink.forget_what_was_under_way();
    }
    disks.packets.ignore_sync(false);
    assert!(!stored.is_empty(), "seed {seed} tests nothing");
    let Ok(outbox) = disks.open(AnySink::new(sink.clone())).await else {
        return Err(format!("seed {seed}: it cannot be opened"));
    };
    status(&outbox, &format!("none to wait, seed {seed}"), |status| status.pending == 0).await;
    let end = within("closing", outbox.close(LONG)).await.unwrap();
    let letters = letters_on(&disks.dead);
    let accepted = sink.accepted();
    let there: HashSet<_> = accepted.iter().chain(&letters).collect();
    if let Some(lost) = stored.iter().find(|text| !there.contains(text)) {
        return Err(format!("seed {seed}: {lost} was stored and is nowhere"));
    }
    if end.sink.lost > 0 {
        return Err(format!("seed {seed}: {} are lost", end.sink.lost));
    }
    // One that was refused may come again after a crash, and be accepted then.
    let refused = sink.refused();
    let never_refused: Vec<_> = accepted.into_iter().filter(|text| !refused.contains(text)).collect();
    first_arrivals_are_in_order(&never_refused, seed);
    Ok(())
}

/// The texts in all dead letters.
fn letters_on(disk: &SimDisk) -> Vec<String> {
    let view = haul_journal::View::open_on(disk.mount());
    let mut reader = view.reader(view.first().unwrap().unwrap_or_default());
    let mut texts = Vec::new();
    while let Some(record) = reader.read().unwrap() {
        // The text stands at the end, as it is.
        let record = String::from_utf8_lossy(&record.payload).into_owned();
        texts.extend(record.rfind("-").map(|at| record[at - 3..].to_owned()));
    }
    texts
}

fn first_arrivals_are_in_order(got: &[String], seed: u64) {
    let mut seen = HashSet::new();
    let mut last: HashMap<&str, (u32, u32)> = HashMap::new();
    for text in got.iter().filter(|text| seen.insert((*text).clone())) {
        let mut parts = text.trim_end_matches('x').split('-');
        let lane = parts.next().unwrap();
        let [run, number] = [0; 2].map(|_: u32| parts.next().unwrap().parse::<u32>().unwrap());
        let before = last.insert(lane, (run, number));
        assert!(before < Some((run, number)), "seed {seed}: {text} arrived behind {before:?}");
    }
}

#[tokio::test]
async fn what_was_answered_stored_survives_power_cuts_and_arrives_in_order_per_key() {
    for seed in seeds(0, 25) {
        history(seed, true).await.unwrap();
    }
}

#[tokio::test]
async fn the_same_without_syncs_is_seen_to_lose() {
    let mut lost = 0;
    for seed in 0..10 {
        lost += u32::from(history(seed, false).await.is_err());
    }
    assert!(lost > 0, "the oracle sees nothing");
}

#[tokio::test]
async fn a_failed_sync_is_answered_and_nothing_more_is_taken_until_it_is_opened_again() {
    let disks = Disks::new(1);
    let sink = Told::new();
    let outbox = disks.open(sink.sink()).await.unwrap();
    outbox.deliver(Packet::text("1")).await.unwrap();
    sink.has("the first", |got| got.len() == 1).await;
    disks.packets.fail(Op::Sync, 1);
    let first = outbox.deliver(Packet::text("2")).await.err();
    let error = outbox.deliver(Packet::text("3")).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Io, Sent::No));
    assert!(first.is_none_or(|why| why.kind() == ErrorKind::Io) && outbox.status().failure.is_some());
    assert!(outbox.close(LONG).await.is_err());
    drop(outbox);
    tokio::task::yield_now().await;
    let outbox = disks.open(sink.sink()).await.unwrap();
    outbox.deliver(Packet::text("4")).await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_written_holds_its_packet_until_it_can() {
    use crate::support::{Next, refusal};
    let disks = Disks::new(1);
    let sink = Told::new().then(Next::Refuse("1", refusal())).then(Next::Refuse("1", refusal()));
    let outbox = disks.open(sink.sink()).await.unwrap();
    disks.dead.fail(Op::Sync, 1);
    outbox.deliver(Packet::text("1")).await.unwrap();
    let status = status(&outbox, "none to wait", |status| status.pending == 0).await;
    assert_eq!((status.sink.dead, status.sink.retries), (1, 1));
    assert!(sink.packets().is_empty());
}

#[tokio::test]
async fn a_full_disk_refuses_and_never_answers_stored() {
    let disks = Disks::new(1);
    let sink = Told::new().hold("");
    let outbox = disks.open(sink.sink()).await.unwrap();
    disks.packets.capacity(Some(10_000));
    let mut stored = 0;
    let error = loop {
        match outbox.deliver(Packet::text("x".repeat(500))).await {
            Ok(_) => stored += 1,
            Err(why) => break why,
        }
        assert!(stored < 20, "10 kB cannot hold {stored} packets of 500 B");
    };
    assert_eq!(error.kind(), ErrorKind::Io);
    disks.packets.capacity(None);
    drop(outbox);
    disks.packets.kill();
    disks.dead.kill();
    let sink = Told::new();
    let outbox = disks.open(sink.sink()).await.unwrap();
    outbox.close(LONG).await.unwrap();
    assert!(sink.packets().len() >= stored);
}
