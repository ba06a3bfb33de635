//! Files and records that are missing, stand there twice, or belong to another journal.

use haul_core::ErrorKind;
use haul_journal::sim::SimDisk;
use haul_journal::{Journal, Seq, View};

use crate::damage::{RECORD, START, end, written};
use crate::{fill, numbers, open, read, segments, view};

#[tokio::test]
async fn a_missing_segment_is_an_error() {
    let disk = SimDisk::new(4);
    let names = written(&disk).await;
    disk.erase(&names[2]);
    let (from, to): (u64, u64) =
        (names[2][9..29].parse().expect("the base"), names[3][9..29].parse().expect("the base"));
    let journal = open(&disk).expect("open");
    let mut reader = journal.reader(Seq(1)).expect("a reader");
    let (seen, outcome) = end(&mut reader).await;
    assert_eq!(seen, (1..from).collect::<Vec<_>>());
    assert!(outcome.expect_err("a missing segment").to_string().contains("missing"));
    reader.skip();
    assert_eq!(end(&mut reader).await.1.expect_err("the gap").kind(), ErrorKind::Gap);
    assert_eq!(reader.gap(), Some(from..=to - 1));
    assert_eq!(end(&mut reader).await.0, (to..=60).collect::<Vec<_>>());
    let report = View::open_on(disk.mount()).verify().expect("verify");
    assert_eq!(report.damage.len(), 1, "{report:?}");
}

#[tokio::test]
async fn a_record_that_was_cut_out_whole_is_missed() {
    let disk = SimDisk::new(9);
    let names = written(&disk).await;
    let mut content = disk.read(&names[0]).expect("a segment");
    drop(content.drain(START + RECORD..START + 2 * RECORD));
    disk.write(&names[0], content);
    let journal = open(&disk).expect("open");
    let mut reader = journal.reader(Seq(1)).expect("a reader");
    let (seen, outcome) = end(&mut reader).await;
    assert_eq!(seen, [1]);
    assert!(outcome.expect_err("a hole").to_string().contains("record 3 stands here"));
    reader.skip();
    assert_eq!(end(&mut reader).await.1.expect_err("the gap").kind(), ErrorKind::Gap);
    assert_eq!(reader.gap(), Some(2..=2));
    assert_eq!(end(&mut reader).await.0, (3..=60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_that_stands_there_twice_is_read_once() {
    let disk = SimDisk::new(10);
    let names = written(&disk).await;
    let mut content = disk.read(&names[0]).expect("a segment");
    let twice = content[START..START + RECORD].to_vec();
    drop(content.splice(START + RECORD..START + RECORD, twice));
    disk.write(&names[0], content);
    let view = View::open_on(disk.mount());
    let mut reader = view.reader(Seq(1));
    let (mut seen, mut errors) = (Vec::new(), Vec::new());
    loop {
        match reader.read() {
            Ok(Some(record)) => seen.push(record.seq.0),
            Ok(None) => break,
            Err(error) => {
                errors.push(error.kind());
                reader.skip();
            }
        }
    }
    assert_eq!(seen, (1..=60).collect::<Vec<_>>());
    assert_eq!(errors, [ErrorKind::Codec, ErrorKind::Gap]);
    assert_eq!(reader.gap(), None, "no record is missing");
}

#[tokio::test]
async fn a_segment_of_another_journal_is_refused_by_opening_and_by_a_view() {
    for stray in ["00000001-00000000000000000099.log", "00000002-00000000000000000001.log"] {
        let disk = SimDisk::new(12);
        let names = written(&disk).await;
        disk.write(stray, disk.read(&names[0]).expect("a segment"));
        let error = open(&disk).expect_err("a directory of two journals");
        assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
        assert!(error.to_string().contains(stray), "{error}");
        let (seen, error) = view(&disk, 1);
        assert_eq!((seen, error.map(|error| error.kind())), (vec![], Some(ErrorKind::Codec)));
    }
}

#[tokio::test]
async fn records_behind_a_large_hole_in_the_active_segment_are_not_taken_for_a_torn_tail() {
    let disk = SimDisk::new(13);
    let journal = Journal::open_on(disk.mount(), haul_journal::Options::default()).expect("open");
    fill(&journal, 1, 60).await;
    journal.close().await.expect("close");
    let name = segments(&disk).remove(0);
    let mut content = disk.read(&name).expect("the segment");
    drop(content.drain(START + RECORD..START + 59 * RECORD));
    disk.write(&name, content);
    let journal = open(&disk).expect("open");
    assert_eq!((journal.recovery().torn.clone(), journal.next()), (None, Seq(61)));
    assert_eq!(numbers(&read(&journal, Seq(60)).await), [60]);
}

#[tokio::test]
async fn a_segment_under_another_name_is_an_error_for_readers_and_for_opening() {
    let disk = SimDisk::new(14);
    let names = written(&disk).await;
    let rename = |from: &str, to: &str| {
        disk.write(to, disk.read(from).expect("the segment"));
        disk.erase(from);
    };
    // One record later than it says.
    let base: u64 = names[1][9..29].parse().expect("the base");
    let wrong = format!("{}-{:020}.log", &names[1][..8], base + 1);
    rename(&names[1], &wrong);
    let journal = open(&disk).expect("opening does not read it");
    let mut reader = journal.reader(Seq(1)).expect("a reader");
    let (seen, outcome) = end(&mut reader).await;
    assert_eq!(seen, (1..base).collect::<Vec<_>>());
    assert_eq!(outcome.expect_err("a renamed segment").kind(), ErrorKind::Codec);
    let damage = journal.verify().await.expect("verify").damage;
    assert!(damage.iter().any(|damage| damage.what.contains("renamed")), "{damage:?}");
    drop(journal);
    rename(&wrong, &names[1]);
    let active = names.last().expect("the active segment");
    rename(active, &format!("{}-{:020}.log", &active[..8], 61));
    let error = open(&disk).expect_err("the active segment was renamed");
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().contains("renamed"), "{error}");
}
