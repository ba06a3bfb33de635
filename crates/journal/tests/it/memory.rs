//! How much is in memory at once.

use haul_journal::sim::{Op, SimDisk};
use haul_journal::{Journal, Options, Seq};

use crate::{segments, soon};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_large_group_is_written_in_parts() {
    let disk = SimDisk::new(1);
    let journal = Journal::open_on(disk.mount(), Options::default()).expect("open");
    let (writes, syncs) = (disk.count(Op::Write), disk.count(Op::Sync));
    let group = vec![vec![7; MIB / 2].into(); 16];
    soon("the group", journal.append_all(group)).await.expect("append");
    let (writes, syncs) = (disk.count(Op::Write) - writes, disk.count(Op::Sync) - syncs);
    assert_eq!(syncs, 1);
    assert!(writes >= 5, "8 MiB were encoded for {writes} writes");
}

#[tokio::test]
async fn a_reader_reads_a_block_and_not_the_segment() {
    let disk = SimDisk::new(2);
    let journal = Journal::open_on(disk.mount(), Options::default()).expect("open");
    for _ in 0..4 {
        let group = vec![vec![7; 1000].into(); 1000];
        soon("a group", journal.append_all(group)).await.expect("append");
    }
    let segment = segments(&disk).remove(0);
    let before = disk.reads_of(&segment);
    let mut reader = journal.reader(Seq(1)).expect("a reader");
    let first = soon("a record", reader.next()).await.expect("read");
    assert_eq!(first.map(|record| record.seq), Some(Seq(1)));
    let reads = disk.reads_of(&segment) - before;
    assert!(reads <= 3, "{reads} blocks of 4 MB were read for one record");
}
