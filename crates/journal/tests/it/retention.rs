use std::time::Duration;

use haul_core::ErrorKind;
use haul_journal::sim::{Op, SimDisk};
use haul_journal::{Journal, Keep, Retention, Seq};

use crate::{fill, numbers, open, read, segments, small};

#[tokio::test]
async fn the_oldest_segments_go_when_the_journal_is_too_large() {
    let disk = SimDisk::new(1);
    let options = small().retention(Retention::default().max_bytes(6000));
    let journal = Journal::open_on(disk.mount(), options).expect("open");
    fill(&journal, 1, 200).await;
    // A removal comes after the answers of the group that filled the segment.
    journal.append_all(Vec::new()).await.expect("behind the removal");
    let stats = journal.stats();
    assert!(stats.bytes <= 6000 + 2048, "{stats:?}");
    assert!(stats.removed_segments > 5);
    assert_eq!(stats.removed_records, journal.first().0 - 1);
    let left = numbers(&read(&journal, journal.first()).await);
    assert_eq!(left, (journal.first().0..=200).collect::<Vec<_>>());
    assert!(left.len() > 20);
    disk.crash();
    assert_eq!(open(&disk).expect("open").first(), Seq(left[0]));
}

#[tokio::test]
async fn nothing_that_a_cursor_needs_goes_unless_it_is_asked_for() {
    let disk = SimDisk::new(2);
    let options = small().retention(Retention::default().max_bytes(3000));
    let journal = Journal::open_on(disk.mount(), options).expect("open");
    let slow = journal.cursor("slow").await.expect("cursor");
    let fast = journal.cursor("fast").await.expect("cursor");
    fill(&journal, 1, 100).await;
    fast.commit(Seq(101)).await.expect("commit");
    assert_eq!(journal.first(), Seq(1));
    assert!(journal.stats().removals_held > 0);

    slow.commit(Seq(50)).await.expect("commit");
    let policy = Retention::default().max_bytes(0);
    let removed = journal.retain(policy).await.expect("retain");
    assert_eq!(removed.held_by.as_deref(), Some("slow"));
    assert_eq!(removed.first, journal.first());
    assert!(removed.segments > 0 && removed.first > Seq(1) && removed.first <= Seq(50), "{removed:?}");
    assert_eq!((removed.unread, removed.records), (0, removed.first.0 - 1));

    let first = journal.first().0;
    let removed = journal.retain(policy.keep(Keep::Nothing)).await.expect("retain");
    assert_eq!(removed.held_by, None);
    assert_eq!(removed.records, removed.first.0 - first);
    assert_eq!(removed.unread, removed.first.0 - 50);
    assert_eq!(segments(&disk).len(), 1);

    let mut reader = journal.reader(slow.position().expect("the cursor")).expect("a reader");
    let gap = reader.next().await.expect_err("records that a cursor needed are gone");
    assert_eq!(gap.kind(), ErrorKind::Gap);
    assert_eq!(reader.gap(), Some(50..=removed.first.0 - 1));
    assert_eq!(reader.next().await.expect("after the gap").map(|record| record.seq), Some(removed.first));
}

#[tokio::test]
async fn segments_go_when_their_newest_record_is_old() {
    let disk = SimDisk::new(3);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 50).await;
    disk.advance(Duration::from_secs(100));
    fill(&journal, 51, 50).await;
    let policy = Retention::default().max_age(Duration::from_secs(60));
    let removed = journal.retain(policy).await.expect("retain");
    assert!(removed.first > Seq(30) && removed.first <= Seq(51), "{removed:?}");
    // The same after opening, when the times are not known but must be read.
    drop(journal);
    disk.advance(Duration::from_secs(100));
    let journal = open(&disk).expect("open");
    let removed = journal.retain(policy).await.expect("retain");
    assert_eq!(removed.first, Seq(101), "all are old, the active segment too");
    assert_eq!(journal.first(), journal.next());
    fill(&journal, 101, 1).await;
}

#[tokio::test]
async fn a_slow_log_gets_old_as_well() {
    let disk = SimDisk::new(4);
    let options = small().retention(Retention::default().max_age(Duration::from_secs(60)));
    let journal = Journal::open_on(disk.mount(), options).expect("open");
    for number in 1..=10 {
        fill(&journal, number, 1).await;
        disk.advance(Duration::from_secs(30));
    }
    journal.append_all(Vec::new()).await.expect("behind the removal");
    assert!(journal.first() > Seq(3), "the first is {}", journal.first());
    assert!(journal.first() < Seq(9), "the first is {}", journal.first());
}

#[tokio::test]
async fn a_removal_that_fails_is_reported_and_closes_nothing() {
    let disk = SimDisk::new(5);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 100).await;
    let policy = Retention::default().max_bytes(0);
    for op in [Op::Remove, Op::SyncDir] {
        disk.fail(op, 1);
        let error = journal.retain(policy).await.expect_err("a removal that fails");
        assert_eq!(error.kind(), ErrorKind::Io);
    }
    assert_eq!(journal.stats().removals_failed, 2);
    let next = journal.next().0;
    fill(&journal, next, 10).await;
    let removed = journal.retain(policy).await.expect("retain");
    disk.crash();
    let journal = open(&disk).expect("open");
    assert_eq!(journal.first(), removed.first, "a removal that was acknowledged came back");
    assert!(journal.verify().await.expect("verify").damage.is_empty());
}

#[tokio::test]
async fn a_reader_overtaken_by_retention_hears_of_the_gap_once() {
    let disk = SimDisk::new(6);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 100).await;
    let mut reader = journal.reader(Seq(1)).expect("a reader");
    assert_eq!(reader.next().await.expect("read").map(|record| record.seq), Some(Seq(1)));
    let removed = journal.retain(Retention::default().max_bytes(0)).await.expect("retain");
    let (mut gaps, mut seen) = (0, vec![1]);
    loop {
        match reader.next().await {
            Ok(Some(record)) => seen.push(record.seq.0),
            Ok(None) => break,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Gap);
                let gap = reader.gap().expect("what is missing");
                assert_eq!(*gap.start(), seen.len() as u64 + 1);
                assert_eq!(*gap.end(), removed.first.0 - 1);
                gaps += 1;
            }
        }
    }
    assert_eq!(gaps, 1);
    assert_eq!(seen.last(), Some(&100));
}

#[tokio::test]
async fn a_removal_that_was_not_synced_is_synced_by_the_next_retention() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let journal = open(&disk).expect("open");
        fill(&journal, 1, 40).await;
        let policy = Retention::default().max_bytes(journal.stats().bytes - 1);
        disk.fail(Op::SyncDir, 1);
        journal.retain(policy).await.expect_err("a directory sync that fails");
        let removed = journal.retain(policy).await.expect("retain");
        assert_eq!(removed.segments, 0, "it was removed the first time");
        disk.crash();
        assert_eq!(open(&disk).expect("open").first(), removed.first, "seed {seed}");
    }
}

#[tokio::test]
async fn what_is_too_large_already_is_removed_right_after_opening() {
    let disk = SimDisk::new(7);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 100).await;
    journal.close().await.expect("close");
    let options = small().retention(Retention::default().max_bytes(3000));
    let journal = Journal::open_on(disk.mount(), options).expect("open");
    journal.append_all(Vec::new()).await.expect("behind the removal");
    assert!(journal.first() > Seq(60), "the first is {}", journal.first());
    assert!(journal.stats().bytes <= 3000, "{:?}", journal.stats());
}
