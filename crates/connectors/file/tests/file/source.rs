use std::fs::{self, File};
use std::io::Write;

use haul_core::{DeliverAll, Delivery};
use haul_core::{Error, ErrorKind, Level, Packet, PacketId, Receipt, Source};
use haul_file::{CheckpointAt, FileConfig, FileSink, FileSource, FollowConfig, Format, Start};

use crate::{ack, follow, next, packet, text, texts, within};

fn append(path: &std::path::Path, bytes: &str) {
    File::options().append(true).create(true).open(path).unwrap().write_all(bytes.as_bytes()).unwrap();
}

#[tokio::test]
async fn packets_come_back_as_they_were_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let packets = vec![
        Packet::text("a\nb").with("k", "v").with_id(PacketId::random()),
        Packet::binary(vec![0u8; 200_000]),
        Packet::text(""),
    ];
    let sink = FileSink::new(FileConfig::new(&path)).unwrap();
    sink.deliver_all(packets.clone()).await.unwrap();
    let config = FollowConfig { follow: false, ..FollowConfig::new(&path) };
    let mut source = FileSource::open(config).await.unwrap();
    for expected in packets {
        let delivery = packet(&mut source).await;
        assert_eq!(delivery.packet(), &expected);
        ack(delivery).await.unwrap();
    }
    assert!(next(&mut source).await.unwrap().is_none());
}

#[tokio::test]
async fn it_waits_for_the_file_for_more_and_for_the_end_of_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut source = FileSource::open(follow(&path)).await.unwrap();
    let read = tokio::spawn(async move {
        let first = texts(&mut source, 2).await;
        (first, source)
    });
    append(&path, "one\ntw");
    append(&path, "o\nthr");
    let (first, mut source) = within("two lines", read).await.unwrap();
    assert_eq!(first, ["one", "two"]);
    // Half a line is there: a few looks find nothing to give.
    let looks = tokio::time::timeout(std::time::Duration::from_millis(50), source.next()).await;
    assert!(looks.is_err(), "{looks:?}");
    append(&path, "ee\n");
    assert_eq!(texts(&mut source, 1).await, ["three"]);
}

#[tokio::test]
async fn without_following_a_last_line_without_its_end_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    append(&path, "one\ntwo");
    let mut source = FileSource::open(FollowConfig { follow: false, ..follow(&path) }).await.unwrap();
    assert_eq!(texts(&mut source, 2).await, ["one", "two"]);
    assert!(next(&mut source).await.unwrap().is_none());
    assert!(!directory.path().join("log.checkpoint").exists());

    let missing = FollowConfig { follow: false, ..follow(&directory.path().join("missing")) };
    assert_eq!(FileSource::open(missing).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_was_not_acknowledged_is_given_again_after_reopening_but_not_what_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    append(&path, "one\ntwo\nthree\nfour\n");
    let mut source = FileSource::open(follow(&path)).await.unwrap();
    let mut given: Vec<Delivery> = Vec::new();
    for _ in 0..4 {
        given.push(packet(&mut source).await);
    }
    // The prefix ends before "two", although "three" is acknowledged.
    ack(given.remove(0)).await.unwrap();
    ack(given.remove(1)).await.unwrap();
    let late = given.remove(0);
    drop(source);
    assert_eq!(ack(late).await.unwrap_err().kind(), ErrorKind::Closed);

    let mut source = FileSource::open(follow(&path)).await.unwrap();
    assert_eq!(texts(&mut source, 3).await, ["two", "three", "four"]);
    drop(source);
    append(&path, "five\n");
    let mut source = FileSource::open(follow(&path)).await.unwrap();
    assert_eq!(texts(&mut source, 1).await, ["five"]);
}

#[tokio::test]
async fn a_refused_or_dropped_packet_comes_again_before_new_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    append(&path, "one\ntwo\nthree\n");
    let mut source = FileSource::open(follow(&path)).await.unwrap();
    packet(&mut source).await.nack(Error::new(ErrorKind::Overloaded, "later")).await.unwrap();
    drop(packet(&mut source).await);
    assert_eq!(texts(&mut source, 3).await, ["one", "two", "three"]);
}

#[tokio::test]
async fn at_the_bound_of_unacknowledged_packets_it_waits_until_the_first_is_settled() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    append(&path, "one\ntwo\nthree\n");
    let mut source = FileSource::open(FollowConfig { max_unacked: 2, ..follow(&path) }).await.unwrap();
    let (one, two) = (packet(&mut source).await, packet(&mut source).await);
    ack(two).await.unwrap();
    // Acknowledging the second does not help: what counts begins at the first that is open.
    {
        let mut waiting = std::pin::pin!(source.next());
        std::future::poll_fn(|cx| {
            assert!(waiting.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        ack(one).await.unwrap();
        let three = within("room for the third", waiting).await.unwrap().unwrap();
        assert_eq!(text(three.packet()), "three");
    }
}

#[tokio::test]
async fn a_bad_line_is_told_once_and_the_next_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    append(&path, "{\"kind\":\"text\",\"payload\":\"a\"}\nnonsense\n{\"kind\":\"text\",\"payload\":\"b\"}\n");
    let config = FollowConfig { format: Format::Jsonl, ..follow(&path) };
    let mut source = FileSource::open(config.clone()).await.unwrap();
    assert_eq!(texts(&mut source, 1).await, ["a"]);
    let error = next(&mut source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().contains("at byte 30"), "{error}");
    assert_eq!(texts(&mut source, 1).await, ["b"]);
    drop(source);
    append(&path, "{\"kind\":\"text\",\"payload\":\"c\"}\n");
    assert_eq!(texts(&mut FileSource::open(config).await.unwrap(), 1).await, ["c"]);
}

#[tokio::test]
async fn it_can_begin_at_the_end_and_a_checkpoint_can_stand_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let (path, checkpoint) = (directory.path().join("log"), directory.path().join("elsewhere"));
    append(&path, "old\n");
    let config = FollowConfig {
        start: Start::End,
        checkpoint: CheckpointAt::Path(checkpoint.clone()),
        ..follow(&path)
    };
    let mut source = FileSource::open(config.clone()).await.unwrap();
    append(&path, "new\n");
    let unsettled = packet(&mut source).await;
    assert_eq!(text(unsettled.packet()), "new");
    drop((source, unsettled));
    // The beginning was remembered, so the new end is not the place to begin at.
    assert_eq!(texts(&mut FileSource::open(config.clone()).await.unwrap(), 1).await, ["new"]);

    fs::write(&checkpoint, "nonsense").unwrap();
    let error = FileSource::open(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().contains("remove it"), "{error}");
}

#[tokio::test]
async fn an_acknowledgement_whose_checkpoint_cannot_be_written_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (path, state) = (directory.path().join("log"), directory.path().join("state"));
    fs::create_dir(&state).unwrap();
    append(&path, "one\n");
    let config = FollowConfig { checkpoint: CheckpointAt::Path(state.join("c")), ..follow(&path) };
    let mut source = FileSource::open(config).await.unwrap();
    let one = packet(&mut source).await;
    fs::remove_dir_all(&state).unwrap();
    let receipt = Receipt::new(Level::Stored, None);
    let error = within("the answer", one.ack(receipt)).await.unwrap_err();
    assert!(error.to_string().contains("write checkpoint"), "{error}");
}
