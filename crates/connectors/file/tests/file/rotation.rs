use std::fs::{self, File};
use std::sync::Arc;

use haul_core::{Deliver, ErrorKind, Packet, Sink};
use haul_file::{FileConfig, FileSink, FileSource, FollowConfig, Format, Fsync, Start};

use crate::{ack, follow, next, packet, text, texts, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_follows_a_writer_through_many_rotations_without_loss_or_repetition() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let config = FileConfig {
        format: Format::Raw,
        max_size: Some(100),
        fsync: Fsync::Never,
        ..FileConfig::new(&path)
    };
    let sink = Arc::new(FileSink::new(config).unwrap());
    let mut source = FileSource::open(follow(&path)).await.unwrap();
    let writer = tokio::spawn(async move {
        for n in 0..400 {
            sink.deliver(Packet::text(format!("line {n}"))).await.unwrap();
        }
        sink.close().await.unwrap();
    });
    let expected: Vec<_> = (0..400).map(|n| format!("line {n}")).collect();
    let mut read = texts(&mut source, 150).await;
    // In the middle of it the reader goes away and comes back.
    drop(source);
    let mut source = FileSource::open(follow(&path)).await.unwrap();
    read.extend(texts(&mut source, 250).await);
    within("the writer to end", writer).await.unwrap();
    assert_eq!(read, expected);
    assert!(fs::read_dir(directory.path()).unwrap().count() > 20, "it was rotated many times");
}

#[tokio::test]
async fn a_reader_that_was_away_reads_the_renamed_files_first_as_logrotate_names_them() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("log"), "a1\na2\n").unwrap();
    let mut source = FileSource::open(follow(&at("log"))).await.unwrap();
    assert_eq!(texts(&mut source, 1).await, ["a1"]);
    drop(source);
    fs::rename(at("log"), at("log.1")).unwrap();
    fs::write(at("log"), "b1\nb2 without its end").unwrap();
    fs::rename(at("log.1"), at("log.2")).unwrap();
    fs::rename(at("log"), at("log.1")).unwrap();
    fs::write(at("log"), "c1\n").unwrap();
    let mut source = FileSource::open(follow(&at("log"))).await.unwrap();
    assert_eq!(texts(&mut source, 4).await, ["a2", "b1", "b2 without its end", "c1"]);
}

#[tokio::test]
async fn what_is_written_to_the_old_file_after_the_rename_is_read_before_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("log"), "one\n").unwrap();
    let mut source = FileSource::open(follow(&at("log"))).await.unwrap();
    assert_eq!(texts(&mut source, 1).await, ["one"]);
    let mut old = File::options().append(true).open(at("log")).unwrap();
    fs::rename(at("log"), at("log.1")).unwrap();
    std::io::Write::write_all(&mut old, b"two\n").unwrap();
    assert_eq!(texts(&mut source, 1).await, ["two"]);
    fs::write(at("log"), "three\n").unwrap();
    assert_eq!(texts(&mut source, 1).await, ["three"]);
}

#[tokio::test]
async fn without_a_checkpoint_the_oldest_rotated_file_can_come_first() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for (name, content) in [("log.2", "a\n"), ("log.1", "b\n"), ("log", "c\n")] {
        fs::write(at(name), content).unwrap();
    }
    let config = FollowConfig { start: Start::Oldest, follow: false, ..follow(&at("log")) };
    let mut source = FileSource::open(config).await.unwrap();
    assert_eq!(texts(&mut source, 3).await, ["a", "b", "c"]);
    assert!(next(&mut source).await.unwrap().is_none());
}

#[tokio::test]
async fn a_file_that_is_emptied_is_one_gap_and_then_its_new_content() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    fs::write(&path, "a long first line\n").unwrap();
    let mut source = FileSource::open(follow(&path)).await.unwrap();
    assert_eq!(texts(&mut source, 1).await, ["a long first line"]);
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    let error = next(&mut source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gap, "{error}");
    fs::write(&path, "new\n").unwrap();
    assert_eq!(texts(&mut source, 1).await, ["new"]);
}

#[tokio::test]
async fn a_checkpoint_whose_file_is_gone_or_replaced_is_one_gap_and_then_what_there_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    for replace in [false, true] {
        fs::write(&path, "one\ntwo\n").unwrap();
        let mut source = FileSource::open(follow(&path)).await.unwrap();
        assert_eq!(texts(&mut source, 1).await, ["one"]);
        drop(source);
        if replace {
            // The same inode with another beginning, as when an inode's number is given again.
            fs::write(&path, "uno\ndue\n").unwrap();
        } else {
            // Kept open, so that its number is not given again.
            let _old = File::open(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(&path, "uno\ndue\n").unwrap();
        }
        let mut source = FileSource::open(follow(&path)).await.unwrap();
        let error = next(&mut source).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gap, "{error}");
        assert_eq!(texts(&mut source, 2).await, ["uno", "due"]);
        drop(source);
        fs::remove_file(&path).unwrap();
        fs::remove_file(directory.path().join("log.checkpoint")).unwrap();
    }
}

#[tokio::test]
async fn a_file_removed_under_the_reader_is_read_to_its_end_and_then_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    fs::write(&path, "one\ntwo\n").unwrap();
    let mut source = FileSource::open(FollowConfig { max_unacked: 1, ..follow(&path) }).await.unwrap();
    let one = packet(&mut source).await;
    fs::remove_file(&path).unwrap();
    fs::write(&path, "three\n").unwrap();
    assert_eq!(text(one.packet()), "one");
    ack(one).await.unwrap();
    assert_eq!(texts(&mut source, 1).await, ["two"]);
    assert_eq!(next(&mut source).await.unwrap_err().kind(), ErrorKind::Gap);
    assert_eq!(texts(&mut source, 1).await, ["three"]);
}
