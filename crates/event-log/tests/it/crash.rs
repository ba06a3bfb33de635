//! The log on a disk that loses what was not synced.

use std::collections::HashSet;
use std::time::Duration;

use haul_core::{ErrorKind, Packet};
use haul_event_log::{EventLog, Options};
use haul_journal::sim::{Op, SimDisk};

use crate::support::{Told, quick, within};

async fn open(events: &SimDisk, dead: &SimDisk) -> haul_core::Result<EventLog> {
    let mut options = Options::default();
    options.segment = 2048;
    EventLog::open_on(events.mount(), dead.mount(), options).await
}

/// Appends from several tasks until the disk goes, and answers what was acknowledged.
async fn load(log: &EventLog, run: u32) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0..40 {
        let texts: Vec<_> = (0..3).map(|lane| format!("{run}-{lane}-{number}")).collect();
        let mut appendings = Vec::new();
        for (lane, text) in texts.iter().enumerate() {
            let event =
                haul_event_log::Event::new(Packet::text(text.as_str())).in_session(format!("lane {lane}"));
            match log.submit(event).await {
                Ok(appending) => appendings.push((appending, text.clone())),
                Err(_) => return acknowledged,
            }
        }
        for (appending, text) in appendings {
            if appending.await.is_ok() {
                acknowledged.push(text);
            }
        }
    }
    acknowledged
}

#[tokio::test]
async fn what_was_answered_stored_survives_power_cuts_and_the_sink_gets_each_in_order_per_session() {
    for seed in 0..25 {
        let (events, dead) = (SimDisk::new(seed), SimDisk::new(seed + 1000));
        let mut acknowledged = Vec::new();
        let sink = Told::new();
        for run in 0..4 {
            let log = open(&events, &dead).await.unwrap();
            events.power_off_at(20 + seed * 7 % 60 + u64::from(run) * 13);
            // The sink may meet the power cut, as everything else.
            let attached = log.attach("x", sink.sink(), quick()).await;
            if attached.is_ok() {
                acknowledged.extend(load(&log, run).await);
            }
            drop(log);
            events.crash();
            dead.crash();
        }
        assert!(!acknowledged.is_empty(), "seed {seed} tests nothing");
        let log = open(&events, &dead).await.unwrap();
        log.attach("x", sink.sink(), quick()).await.unwrap();
        let ends = within("the sink", log.close(Duration::from_secs(20))).await.unwrap();
        assert_eq!(ends[0].0.lag, 0, "seed {seed}");
        let got = sink.texts();
        let distinct: HashSet<_> = got.iter().collect();
        for text in &acknowledged {
            assert!(distinct.contains(text), "seed {seed}: {text} was stored and did not arrive");
        }
        first_arrivals_are_in_order(&got, seed);
    }
}

fn first_arrivals_are_in_order(got: &[String], seed: u64) {
    let mut seen = HashSet::new();
    let mut last = std::collections::HashMap::new();
    for text in got.iter().filter(|text| seen.insert((*text).clone())) {
        let parts: Vec<u32> = text.split('-').map(|part| part.parse().unwrap()).collect();
        let place = (parts[0], parts[2]);
        let before = last.insert(parts[1], place);
        assert!(before < Some(place), "seed {seed}: {text} arrived behind {before:?}");
    }
}

#[tokio::test]
async fn a_failed_sync_answers_all_and_closes_the_log_until_it_is_opened_again() {
    let (events, dead) = (SimDisk::new(1), SimDisk::new(2));
    let log = open(&events, &dead).await.unwrap();
    log.append("s", Packet::text("1")).await.unwrap();
    events.fail(Op::Sync, 1);
    let error = log.append("s", Packet::text("2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(log.append("s", Packet::text("3")).await.unwrap_err().kind(), ErrorKind::Io);
    assert!(log.status().failure.is_some());
    assert!(log.close(Duration::from_secs(1)).await.is_err());
    drop(log);
    let log = open(&events, &dead).await.unwrap();
    log.append("s", Packet::text("4")).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_and_never_answers_stored() {
    let (events, dead) = (SimDisk::new(1), SimDisk::new(2));
    let log = open(&events, &dead).await.unwrap();
    events.capacity(Some(10_000));
    let mut stored = 0;
    let error = loop {
        match log.append("s", Packet::binary(vec![7; 500])).await {
            Ok(_) => stored += 1,
            Err(why) => break why,
        }
        assert!(stored < 20, "10 kB cannot hold {stored} packets of 500 B");
    };
    assert_eq!(error.kind(), ErrorKind::Io);
    events.capacity(None);
    drop(log);
    let log = open(&events, &dead).await.unwrap();
    let sink = Told::new();
    log.attach("x", sink.sink(), quick()).await.unwrap();
    log.close(Duration::from_secs(20)).await.unwrap();
    assert!(sink.packets().len() >= stored);
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_written_holds_the_sink_until_it_can() {
    use crate::support::{Next, refusal};
    let (events, dead) = (SimDisk::new(1), SimDisk::new(2));
    let log = open(&events, &dead).await.unwrap();
    dead.fail(Op::Sync, 1);
    log.append("s", Packet::text("1")).await.unwrap();
    let sink = Told::new().then(Next::Refuse("1", refusal())).then(Next::Refuse("1", refusal()));
    log.attach("x", sink.sink(), quick()).await.unwrap();
    let status = crate::support::status(&log, "no lag", |status| status.lag == 0).await;
    assert_eq!((status.dead, status.retries), (1, 1));
    assert!(sink.packets().is_empty());
}
