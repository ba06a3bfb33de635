use haul_core::ErrorKind;
use haul_journal::sim::{Op, SimDisk};
use haul_journal::{Journal, Options, Seq, View};

use crate::{fill, open, segments};

#[tokio::test]
async fn a_cursor_stands_after_a_crash_where_it_was_committed() {
    let disk = SimDisk::new(1);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 50).await;
    let cursor = journal.cursor("forward").await.expect("cursor");
    assert_eq!(cursor.position(), Some(Seq(1)));
    for next in 2..=30 {
        assert_eq!(cursor.commit(Seq(next)).await.expect("commit"), Seq(next));
    }
    fill(&journal, 51, 100).await;
    disk.crash();
    let journal = open(&disk).expect("open");
    assert_eq!(journal.cursors(), [("forward".to_owned(), Seq(30))]);
    assert_eq!(View::open_on(disk.mount()).cursors().expect("cursors"), journal.cursors());
    let again = journal.cursor("forward").await.expect("cursor");
    assert_eq!(again.position(), Some(Seq(30)));
}

#[tokio::test]
async fn committing_never_goes_back_and_rewinding_does() {
    let disk = SimDisk::new(2);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 10).await;
    let cursor = journal.cursor_at("c", Seq(4)).await.expect("cursor");
    assert_eq!(cursor.commit(Seq(2)).await.expect("commit"), Seq(4));
    assert_eq!(cursor.rewind(Seq(2)).await.expect("rewind"), Seq(2));
    disk.crash();
    assert_eq!(open(&disk).expect("open").cursors(), [("c".to_owned(), Seq(2))]);
}

#[tokio::test]
async fn a_cursor_cannot_pass_the_end() {
    let disk = SimDisk::new(3);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 3).await;
    let cursor = journal.cursor("c").await.expect("cursor");
    assert_eq!(cursor.commit(Seq(4)).await.expect("the end"), Seq(4));
    let error = cursor.commit(Seq(5)).await.expect_err("behind the end");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(cursor.position(), Some(Seq(4)));
    fill(&journal, 4, 1).await;
}

#[tokio::test]
async fn a_removed_cursor_is_gone_for_good() {
    let disk = SimDisk::new(4);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 3).await;
    let cursor = journal.cursor("c").await.expect("cursor");
    let other = cursor.clone();
    cursor.remove().await.expect("remove");
    let error = other.commit(Seq(2)).await.expect_err("a removed cursor");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(other.position(), None);
    disk.crash();
    assert!(open(&disk).expect("open").cursors().is_empty());
}

#[tokio::test]
async fn commits_without_appends_fill_segments_and_lose_nothing() {
    let disk = SimDisk::new(5);
    let journal = Journal::open_on(disk.mount(), Options::default().segment_bytes(1024)).expect("open");
    fill(&journal, 1, 5).await;
    let cursor = journal.cursor("c").await.expect("cursor");
    for round in 0..200 {
        cursor.rewind(Seq(1 + round % 5)).await.expect("rewind");
    }
    fill(&journal, 6, 5).await;
    assert!(segments(&disk).len() > 5);
    disk.crash();
    let journal = open(&disk).expect("open");
    assert_eq!(journal.cursors(), [("c".to_owned(), Seq(5))]);
    assert_eq!(crate::numbers(&crate::read(&journal, Seq(1)).await), (1..=10).collect::<Vec<_>>());
    assert!(journal.verify().await.expect("verify").damage.is_empty());
}

#[tokio::test]
async fn names_and_their_number_are_bounded() {
    let disk = SimDisk::new(6);
    let journal = open(&disk).expect("open");
    for bad in [String::new(), "x".repeat(256)] {
        assert_eq!(journal.cursor(bad).await.expect_err("a bad name").kind(), ErrorKind::Config);
    }
    for number in 0..256 {
        journal.cursor(format!("{number} {}", "x".repeat(240))).await.expect("cursor");
    }
    let error = journal.cursor("one more").await.expect_err("257 cursors");
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    disk.crash();
    assert_eq!(open(&disk).expect("open").cursors().len(), 256);
}

#[tokio::test]
async fn a_commit_whose_sync_fails_is_not_acknowledged() {
    let disk = SimDisk::new(7);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 3).await;
    let cursor = journal.cursor("c").await.expect("cursor");
    disk.fail(Op::Sync, 1);
    let error = cursor.commit(Seq(3)).await.expect_err("a failed sync");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(cursor.position(), Some(Seq(1)));
}
