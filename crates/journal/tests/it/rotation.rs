use haul_core::ErrorKind;
use haul_journal::sim::SimDisk;
use haul_journal::{Journal, Options, Seq, View};

use crate::{fill, numbers, open, payload, read, segments, small, view};

#[tokio::test]
async fn records_come_back_in_order_over_many_segments_and_openings() {
    let disk = SimDisk::new(1);
    for round in 0..5 {
        let journal = open(&disk).expect("open");
        assert_eq!(journal.next(), Seq(1 + round * 40));
        fill(&journal, 1 + round * 40, 40).await;
        journal.close().await.expect("close");
    }
    let journal = open(&disk).expect("open");
    let records = read(&journal, Seq(1)).await;
    assert_eq!(numbers(&records), (1..=200).collect::<Vec<_>>());
    assert!(records.iter().all(|record| record.payload == payload(record.seq.0)));
    assert!(segments(&disk).len() > 10, "{:?}", segments(&disk));
    assert_eq!(numbers(&read(&journal, Seq(137)).await), (137..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn opening_reads_the_active_segment_and_no_other() {
    let disk = SimDisk::new(2);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 100).await;
    journal.close().await.expect("close");
    let names = segments(&disk);
    let before: Vec<u64> = names.iter().map(|name| disk.reads_of(name)).collect();
    let journal = open(&disk).expect("open");
    assert_eq!(journal.next(), Seq(101));
    assert_eq!(journal.append(payload(101)).await.expect("append"), Seq(101));
    let after: Vec<u64> = names.iter().map(|name| disk.reads_of(name)).collect();
    let (active, sealed) = (names.len() - 1, ..names.len() - 1);
    assert!(names.len() > 3);
    assert_eq!(before[sealed], after[sealed], "a sealed segment was read");
    assert!(after[active] > before[active], "the active segment was not read");
}

#[tokio::test]
async fn a_record_larger_than_a_segment_has_one_of_its_own() {
    let disk = SimDisk::new(3);
    let journal = open(&disk).expect("open");
    let large = vec![9u8; 10_000];
    journal.append(payload(1)).await.expect("append");
    journal.append(large.clone()).await.expect("append");
    journal.append(payload(3)).await.expect("append");
    let records = read(&journal, Seq(1)).await;
    assert_eq!(records[1].payload, large);
    let infos = journal.segments().await.expect("segments");
    let ranges: Vec<_> = infos.iter().map(|info| (info.first.0, info.next.0)).collect();
    assert_eq!(ranges, [(1, 2), (2, 3), (3, 4)]);
}

#[tokio::test]
async fn an_empty_record_is_a_record() {
    let disk = SimDisk::new(4);
    let journal = open(&disk).expect("open");
    journal.append("").await.expect("append");
    journal.append("x").await.expect("append");
    disk.crash();
    let journal = open(&disk).expect("open");
    let records = read(&journal, Seq(1)).await;
    assert_eq!((records.len(), records[0].payload.len(), records[1].payload.len()), (2, 0, 1));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_it_is_queued() {
    let disk = SimDisk::new(5);
    let options = Options::default().max_record(1000).queue_bytes(5000).queue_records(8);
    let journal = Journal::open_on(disk.mount(), options).expect("open");
    journal.append(vec![0; 1000]).await.expect("the limit itself");
    let error = journal.append(vec![0; 1001]).await.expect_err("one more than the limit");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let many = vec!["".into(); 9];
    let error = journal.append_all(many).await.expect_err("nine records in a queue of eight");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(journal.next(), Seq(2));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let disk = SimDisk::new(6);
    for options in [
        Options::default().segment_bytes(10),
        Options::default().max_record(0),
        Options::default().max_record(usize::MAX),
        Options::default().queue_records(0),
        Options::default().queue_bytes(1000),
        Options::default().queue_bytes(usize::MAX),
    ] {
        let error = Journal::open_on(disk.mount(), options).expect_err("options without sense");
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
    assert!(disk.names().is_empty());
}

#[tokio::test]
async fn a_view_sees_what_is_there_while_the_journal_is_written() {
    let disk = SimDisk::new(7);
    let journal = open(&disk).expect("open");
    let mut reader = View::open_on(disk.mount()).reader(Seq(1));
    for number in 1..=100 {
        assert_eq!(reader.read().expect("read"), None);
        journal.append(payload(number)).await.expect("append");
        let record = reader.read().expect("read").expect("the record just appended");
        assert_eq!((record.seq, record.payload), (Seq(number), payload(number)));
    }
    assert_eq!(view(&disk, 60).0, (60..=100).collect::<Vec<_>>());
    let infos = View::open_on(disk.mount()).segments().expect("segments");
    assert_eq!(infos, journal.segments().await.expect("segments"));
    assert_eq!((infos[0].first, infos[infos.len() - 1].next), (Seq(1), Seq(101)));
}

#[tokio::test]
async fn segments_tell_when_they_were_written() {
    let disk = SimDisk::new(8);
    let journal = open(&disk).expect("open");
    let mut times = Vec::new();
    for number in 1..=40 {
        disk.advance(std::time::Duration::from_secs(1));
        times.push(disk.mount().now());
        fill(&journal, number, 1).await;
    }
    let infos = journal.segments().await.expect("segments");
    assert!(infos.len() > 2);
    for info in &infos {
        assert_eq!(info.first_micros, Some(times[info.first.0 as usize - 1]), "{info:?}");
        assert_eq!(info.last_micros, Some(times[info.next.0 as usize - 2]), "{info:?}");
    }
    journal.close().await.expect("close");
    let journal = Journal::open_on(disk.mount(), small()).expect("open");
    assert_eq!(journal.segments().await.expect("segments"), infos);
}

#[tokio::test]
async fn a_directory_without_a_journal_is_empty_to_a_view() {
    let disk = SimDisk::new(9);
    let nothing = View::open_on(disk.mount());
    assert_eq!(nothing.first().expect("first"), None);
    assert!(nothing.segments().expect("segments").is_empty());
    assert!(nothing.cursors().expect("cursors").is_empty());
    assert_eq!(nothing.reader(Seq(1)).read().expect("read"), None);
    assert!(disk.names().is_empty());
}

#[tokio::test]
async fn a_segment_that_was_being_made_when_the_process_ended_is_removed_by_opening() {
    let disk = SimDisk::new(10);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 3).await;
    journal.close().await.expect("close");
    disk.write("segment.tmp", "half of a segment");
    let journal = open(&disk).expect("open");
    assert!(!disk.names().contains(&"segment.tmp".to_owned()), "{:?}", disk.names());
    assert_eq!(numbers(&read(&journal, Seq(1)).await), [1, 2, 3]);
}

#[tokio::test]
async fn a_large_record_makes_no_empty_segment_before_itself() {
    let disk = SimDisk::new(11);
    let journal = open(&disk).expect("open");
    for number in 1..=3 {
        journal.append(vec![number; 10_000]).await.expect("append");
    }
    assert_eq!(segments(&disk).len(), 3, "{:?}", segments(&disk));
}

#[tokio::test]
async fn times_of_records_never_go_back_although_the_clock_does() {
    let disk = SimDisk::new(12);
    let hour = std::time::Duration::from_secs(3600);
    let mut journal = open(&disk).expect("open");
    for round in 0..4 {
        fill(&journal, 1 + round * 3, 3).await;
        disk.turn_back(hour);
        if round == 2 {
            drop(journal);
            journal = open(&disk).expect("open");
        }
    }
    let times: Vec<u64> = read(&journal, Seq(1)).await.iter().map(|record| record.micros).collect();
    assert_eq!(times.len(), 12);
    assert!(times.is_sorted(), "{times:?}");
}
