use haul_core::{ErrorKind, Result};
use haul_journal::sim::SimDisk;
use haul_journal::{Journal, Reader, Seq};

use crate::{fill, numbers, open, payload, read, segments, view};

/// Bytes of a record that [`fill`] makes, and of the beginning of a segment without cursors.
pub(crate) const RECORD: usize = 132;
pub(crate) const START: usize = 56 + 34;

/// Changes one byte of a segment.
fn flip(disk: &SimDisk, name: &str, at: usize) {
    let mut content = disk.read(name).expect("the segment");
    content[at] ^= 0x10;
    disk.write(name, content);
}

/// A closed journal of 60 records in 5 segments or more.
pub(crate) async fn written(disk: &SimDisk) -> Vec<String> {
    let journal = open(disk).expect("open");
    fill(&journal, 1, 60).await;
    journal.close().await.expect("close");
    let names = segments(disk);
    assert!(names.len() >= 5);
    assert_eq!(disk.read(&names[0]).map(|content| (content.len() - START) % RECORD), Some(0));
    names
}

pub(crate) async fn end(reader: &mut Reader) -> (Vec<u64>, Result<()>) {
    let mut seen = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some(record)) => {
                assert_eq!(record.payload, payload(record.seq.0));
                seen.push(record.seq.0);
            }
            Ok(None) => return (seen, Ok(())),
            Err(error) => return (seen, Err(error)),
        }
    }
}

/// Damages the second record of the second segment at byte `at` of the record, and reads.
async fn one_damaged(at: usize) {
    let disk = SimDisk::new(1);
    let names = written(&disk).await;
    flip(&disk, &names[1], START + RECORD + at);
    let journal = open(&disk).expect("open");
    let base: u64 = names[1][9..29].parse().expect("the base");
    let bad = base + 1;

    let mut reader = journal.reader(Seq(1)).expect("a reader");
    let (seen, outcome) = end(&mut reader).await;
    assert_eq!(seen, (1..bad).collect::<Vec<_>>());
    let error = outcome.expect_err("damage");
    assert_eq!(error.kind(), ErrorKind::Codec);
    let text = error.to_string();
    assert!(text.contains(&names[1]), "{text}");
    assert!(text.contains(&format!("at byte {}", START + RECORD)), "{text}");
    assert!(text.contains("skip"), "{text}");
    let again = reader.next().await.expect_err("damage is not passed unseen");
    assert_eq!(again.to_string(), text);

    reader.skip();
    let gap = reader.next().await.expect_err("what is missing");
    assert_eq!((gap.kind(), reader.gap()), (ErrorKind::Gap, Some(bad..=bad)));
    assert_eq!(reader.position(), Seq(bad + 1));
    let (seen, outcome) = end(&mut reader).await;
    outcome.expect("no further error");
    assert_eq!(seen, (bad + 1..=60).collect::<Vec<_>>());

    let report = journal.verify().await.expect("verify");
    assert_eq!(report.damage.len(), 1, "{report:?}");
    let damage = &report.damage[0];
    assert_eq!((&damage.segment, damage.offset), (&names[1], (START + RECORD) as u64));
    assert_eq!((damage.expected, damage.next), (Seq(bad), Some(Seq(bad + 1))));
    assert_eq!(report.records, 59);
    // A reader that begins behind it does not care.
    assert_eq!(numbers(&read(&journal, Seq(bad + 1)).await).len() as u64, 60 - bad);

    let (seen, error) = view(&disk, 1);
    assert_eq!((seen.len() as u64, error.map(|error| error.to_string())), (bad - 1, Some(text)));
}

#[tokio::test]
async fn a_damaged_record_is_an_error_until_it_is_skipped_whichever_byte_it_is() {
    for at in 0..RECORD {
        one_damaged(at).await;
    }
}

#[tokio::test]
async fn damage_before_acknowledged_records_of_the_active_segment_is_not_cut_off() {
    let disk = SimDisk::new(2);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 8).await;
    journal.close().await.expect("close");
    let name = segments(&disk).remove(0);
    flip(&disk, &name, START + 3 * RECORD + 50);
    let journal = open(&disk).expect("open");
    assert_eq!(journal.recovery().torn, None);
    let damage = &journal.recovery().damage;
    assert_eq!((damage.len(), damage[0].expected, damage[0].next), (1, Seq(4), Some(Seq(5))));
    let (seen, error) = view(&disk, 1);
    assert_eq!((seen, error.map(|error| error.kind())), (vec![1, 2, 3], Some(ErrorKind::Codec)));
    fill(&journal, 9, 3).await;
    let mut reader = journal.reader(Seq(1)).expect("a reader");
    assert_eq!(end(&mut reader).await.0, [1, 2, 3]);
    reader.skip();
    assert_eq!(end(&mut reader).await.1.expect_err("the gap").kind(), ErrorKind::Gap);
    assert_eq!(end(&mut reader).await.0, (5..=11).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_sealed_segment_that_is_cut_short_is_an_error() {
    let disk = SimDisk::new(3);
    let names = written(&disk).await;
    let base: u64 = names[1][9..29].parse().expect("the base");
    let next: u64 = names[2][9..29].parse().expect("the base");
    let content = disk.read(&names[1]).expect("the segment");
    for cut in [START + 2 * RECORD, START + 2 * RECORD + 7, START + 2 * RECORD + 60] {
        disk.write(&names[1], &content[..cut]);
        let journal = open(&disk).expect("open");
        let mut reader = journal.reader(Seq(1)).expect("a reader");
        let (seen, outcome) = end(&mut reader).await;
        assert_eq!(seen, (1..base + 2).collect::<Vec<_>>(), "cut at {cut}");
        assert_eq!(outcome.expect_err("a cut segment").kind(), ErrorKind::Codec);
        reader.skip();
        assert_eq!(end(&mut reader).await.1.expect_err("the gap").kind(), ErrorKind::Gap);
        assert_eq!(reader.gap(), Some(base + 2..=next - 1));
        assert_eq!(end(&mut reader).await.0, (next..=60).collect::<Vec<_>>());
        assert!(!journal.verify().await.expect("verify").damage.is_empty());
    }
}

#[tokio::test]
async fn a_damaged_segment_header_is_an_error_for_readers_and_for_opening() {
    for at in [0, 9, 13, 20, 30, 50, 53] {
        let disk = SimDisk::new(5);
        let names = written(&disk).await;
        flip(&disk, &names[1], at);
        let base: u64 = names[1][9..29].parse().expect("the base");
        let next: u64 = names[2][9..29].parse().expect("the base");
        let journal = open(&disk).expect("opening does not read it");
        let mut reader = journal.reader(Seq(1)).expect("a reader");
        let (seen, outcome) = end(&mut reader).await;
        assert_eq!(seen, (1..base).collect::<Vec<_>>());
        outcome.expect_err("a damaged header");
        reader.skip();
        assert_eq!(end(&mut reader).await.1.expect_err("the gap").kind(), ErrorKind::Gap);
        assert_eq!(reader.gap(), Some(base..=next - 1));
        assert_eq!(end(&mut reader).await.0, (next..=60).collect::<Vec<_>>());
        assert_eq!(journal.verify().await.expect("verify").damage.len(), 1);
        drop(journal);
        flip(&disk, names.last().expect("the active segment"), at);
        let error = open(&disk).expect_err("the active segment has no header");
        let expected = if at == 9 { ErrorKind::Unsupported } else { ErrorKind::Codec };
        assert_eq!(error.kind(), expected, "{error}");
        assert!(error.to_string().contains(names.last().expect("its name")), "{error}");
    }
}

#[tokio::test]
async fn a_damaged_snapshot_of_cursors_is_rebuilt_from_the_segment_before() {
    let disk = SimDisk::new(6);
    let journal = open(&disk).expect("open");
    let cursor = journal.cursor("c").await.expect("cursor");
    fill(&journal, 1, 10).await;
    cursor.commit(Seq(7)).await.expect("commit");
    fill(&journal, 11, 10).await;
    journal.close().await.expect("close");
    let names = segments(&disk);
    assert_eq!(names.len(), 2);
    flip(&disk, &names[1], 56 + 32 + 3);
    let journal = open(&disk).expect("open");
    assert_eq!(journal.recovery().damage.len(), 1);
    assert_eq!(journal.cursors(), [("c".to_owned(), Seq(7))]);
    assert_eq!(journal.next(), Seq(21));
}

#[tokio::test]
async fn bytes_of_another_journal_inside_a_payload_are_never_taken_for_records() {
    let other = SimDisk::new(7);
    let names = written(&other).await;
    let inner = other.read(&names[0]).expect("a segment");
    let disk = SimDisk::new(8);
    let journal = Journal::open_on(disk.mount(), haul_journal::Options::default()).expect("open");
    journal.append(inner[START..].to_vec()).await.expect("append");
    journal.append("last").await.expect("append");
    journal.close().await.expect("close");
    // With its header damaged, the search goes through the payload.
    flip(&disk, &segments(&disk)[0], START);
    let journal = open(&disk).expect("open");
    assert_eq!(journal.recovery().damage[0].next, Some(Seq(2)));
    assert_eq!(journal.verify().await.expect("verify").records, 1);
}

#[tokio::test]
async fn damage_that_goes_over_several_records_is_one_gap() {
    let disk = SimDisk::new(11);
    let names = written(&disk).await;
    flip(&disk, &names[0], START + RECORD + 5);
    flip(&disk, &names[0], START + 2 * RECORD + 90);
    let journal = open(&disk).expect("open");
    let mut reader = journal.reader(Seq(1)).expect("a reader");
    assert_eq!(end(&mut reader).await.0, [1]);
    reader.skip();
    assert_eq!(end(&mut reader).await.1.expect_err("the gap").kind(), ErrorKind::Gap);
    assert_eq!(reader.gap(), Some(2..=3));
    assert_eq!(end(&mut reader).await.0, (4..=60).collect::<Vec<_>>());
    let damage = journal.verify().await.expect("verify").damage;
    assert_eq!((damage.len(), damage[0].next), (1, Some(Seq(4))));
}
