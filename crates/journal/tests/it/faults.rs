use haul_core::{ErrorKind, Sent, Status};
use haul_journal::sim::{Op, SimDisk};
use haul_journal::{Journal, Options, Seq};

use crate::gate::gated;
use crate::{fill, numbers, open, payload, read, soon};

#[tokio::test]
async fn a_failed_sync_answers_all_who_wait_and_is_never_tried_again() {
    let disk = SimDisk::new(1);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 2).await;
    let syncs = disk.count(Op::Sync);
    disk.fail(Op::Sync, 1);
    let mut waiting = Vec::new();
    for number in 3..20 {
        // A submission after the failure is refused at once.
        match journal.submit(payload(number)).await {
            Ok(pending) => waiting.push(pending),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Io),
        }
    }
    assert!(!waiting.is_empty());
    for pending in waiting {
        let error = soon("an answer", pending).await.expect_err("a failed sync");
        assert_eq!((error.kind(), error.status()), (ErrorKind::Io, Status::Exhausted));
    }
    let first = journal.append(payload(99)).await.expect_err("a closed journal");
    let second = journal.append(payload(99)).await.expect_err("a closed journal");
    assert_eq!(first.to_string(), second.to_string());
    assert_eq!((first.kind(), first.sent()), (ErrorKind::Io, Sent::No));
    assert!(first.to_string().contains("sync segment 00000001-"), "{first}");
    assert_eq!(disk.count(Op::Sync), syncs + 1, "a failed sync was tried again");
    assert_eq!(journal.failure().map(|error| error.kind()), Some(ErrorKind::Io));
    assert_eq!(journal.close().await.expect_err("a failed journal").kind(), ErrorKind::Io);
    assert_eq!(numbers(&read(&journal, Seq(1)).await), [1, 2], "more than what is durable was shown");
}

#[tokio::test]
async fn what_was_not_written_when_the_journal_failed_was_not_sent_and_what_was_may_be() {
    let (journal, gate, first) = gated(Options::default().segment_bytes(1024)).await;
    let mut waiting = Vec::new();
    for number in 2..=30 {
        waiting.push(journal.submit(payload(number)).await.expect("submit"));
    }
    // The others are one group: the first of them fill the segment, and the next segment cannot be made.
    gate.disk.fail(Op::Create, 1);
    gate.open();
    soon("the first", first).await.expect("it was synced before");
    let mut sent = Vec::new();
    for pending in waiting {
        sent.push(soon("an answer", pending).await.expect_err("a failed rotation").sent());
    }
    let written = sent.iter().filter(|sent| **sent == Sent::Maybe).count();
    assert!(sent.is_sorted_by_key(|sent| *sent == Sent::No), "{sent:?}");
    assert!((2..20).contains(&written), "{written} of {} may have been written", sent.len());
}

#[tokio::test]
async fn what_a_failed_sync_left_behind_is_durable_once_it_was_seen() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let journal = open(&disk).expect("open");
        fill(&journal, 1, 2).await;
        disk.fail(Op::Sync, 1);
        let many = (3..12).map(payload).collect();
        journal.append_all(many).await.expect_err("a failed sync");
        disk.kill();
        let journal = open(&disk).expect("open");
        let seen = numbers(&read(&journal, Seq(1)).await);
        disk.crash();
        let journal = open(&disk).expect("open");
        assert_eq!(numbers(&read(&journal, Seq(1)).await), seen, "seed {seed}");
    }
}

#[tokio::test]
async fn a_full_disk_closes_the_journal_and_says_so() {
    let disk = SimDisk::new(2);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 10).await;
    disk.capacity(Some(journal.stats().bytes + 300));
    let mut number = 11;
    let error = loop {
        match journal.append(payload(number)).await {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("free space there"), "{error}");
    journal.append(payload(99)).await.expect_err("a closed journal");
    drop(journal);
    disk.capacity(None);
    let journal = open(&disk).expect("open with room");
    assert!(journal.next() >= Seq(number));
    let next = journal.next().0;
    fill(&journal, next, 20).await;
    assert_eq!(numbers(&read(&journal, Seq(1)).await), (1..next + 20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_and_reported() {
    let mut torn = 0;
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let journal = open(&disk).expect("open");
        fill(&journal, 1, 5).await;
        disk.power_off_at(2);
        let more: Vec<_> = (6..12).map(payload).collect();
        journal.append_all(more).await.expect_err("the power went before the sync");
        disk.crash();
        let journal = open(&disk).expect("open");
        let next = journal.next().0;
        assert!((6..=12).contains(&next));
        if let Some(tail) = &journal.recovery().torn {
            torn += 1;
            assert!(tail.bytes > 0);
            assert_eq!(tail.segment, "00000001-00000000000000000001.log");
            assert_eq!(tail.offset, journal.stats().bytes);
        }
        fill(&journal, next, 3).await;
        drop(journal);
        let journal = open(&disk).expect("open");
        assert_eq!(journal.recovery().torn, None, "a cut tail came back");
        assert_eq!(numbers(&read(&journal, Seq(1)).await), (1..next + 3).collect::<Vec<_>>());
    }
    assert!(torn > 10, "only {torn} of 60 crashes tore the tail");
}

#[tokio::test]
async fn every_change_can_be_the_last_one_before_the_power_goes() {
    for last in 1..200 {
        let disk = SimDisk::new(last);
        disk.power_off_at(last);
        let options = Options::default().segment_bytes(1024);
        let mut acknowledged = 0;
        if let Ok(journal) = Journal::open_on(disk.mount(), options.clone()) {
            while acknowledged < 60 && journal.append(payload(acknowledged + 1)).await.is_ok() {
                acknowledged += 1;
            }
        }
        disk.crash();
        let journal = Journal::open_on(disk.mount(), options).expect("open");
        assert!(journal.next().0 > acknowledged, "change {last}: {acknowledged} were acknowledged");
        assert!(journal.next().0 <= acknowledged + 2, "change {last}");
        let records = read(&journal, Seq(1)).await;
        assert!(records.iter().all(|record| record.payload == payload(record.seq.0)));
        assert_eq!(records.len() as u64, journal.next().0 - 1);
    }
}

#[tokio::test]
async fn a_rotation_that_fails_closes_the_journal_and_keeps_what_was_acknowledged() {
    for op in [Op::Create, Op::Rename, Op::SyncDir] {
        let disk = SimDisk::new(9);
        let journal = open(&disk).expect("open");
        disk.fail(op, 1);
        let mut number = 0;
        while journal.append(payload(number + 1)).await.is_ok() {
            number += 1;
        }
        assert!(number > 5);
        assert_eq!(journal.failure().map(|error| error.kind()), Some(ErrorKind::Io));
        disk.crash();
        let journal = open(&disk).expect("open");
        assert_eq!(journal.next(), Seq(number + 1), "{op:?}");
        fill(&journal, number + 1, 30).await;
    }
}

#[tokio::test]
async fn a_read_that_fails_is_not_damage() {
    let disk = SimDisk::new(10);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 60).await;
    let mut reader = journal.reader(Seq(1)).expect("a reader");
    let (mut seen, mut failures) = (Vec::new(), 0);
    loop {
        // Every second read fails: that of a header and that of records.
        disk.fail(Op::Read, 2);
        match reader.next().await {
            Ok(Some(record)) => seen.push(record.seq.0),
            Ok(None) => break,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                failures += 1;
            }
        }
        assert!(failures < 100, "reading does not get on: {seen:?}");
    }
    assert_eq!(seen, (1..=60).collect::<Vec<_>>());
    assert!(failures > 3, "{failures} reads failed");
    for nth in 1..4 {
        let mut reader = journal.reader(Seq(1)).expect("a reader");
        disk.fail(Op::Read, nth);
        let mut failed = Vec::new();
        while failed.is_empty() {
            failed.extend(reader.next().await.err().map(|error| error.kind()));
        }
        assert_eq!(failed, [ErrorKind::Io], "read {nth}");
        reader.next().await.expect("a second try");
    }
}
