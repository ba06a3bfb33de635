//! Journals on arbitrary files: what is read is in order and the same for all who read, and opening mends what it finds.

use haul_core::Result;
use haul_journal::sim::SimDisk;
use haul_journal::{Journal, Options, Record, Seq, View};
use tokio::runtime::{Builder, Runtime};

use crate::pieces::take;

/// How often a reader may be asked: more than any input has records and damage.
const MOST: usize = 10_000;

/// Whether checksums are made right first, and segments after their lengths (`u16`).
pub(crate) fn run(mut data: &[u8]) {
    let repair = take(&mut data) & 1 == 1;
    let disk = SimDisk::new(1);
    let mut index = 0;
    while !data.is_empty() {
        let len = usize::from(take(&mut data)) << 8 | usize::from(take(&mut data));
        let (segment, rest) = data.split_at(len.min(data.len()));
        data = rest;
        index += 1;
        let mut segment = segment.to_vec();
        if repair {
            mend(&mut segment);
        }
        disk.write(&name(&segment, index), segment);
    }
    let seen = look(&disk);
    let Ok(journal) = Journal::open_on(disk.mount(), Options::default().segment_bytes(1024)) else { return };
    runtime().block_on(write(journal, &disk, seen));
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime")
}

/// All that can be read without opening it.
fn look(disk: &SimDisk) -> Vec<Record> {
    let view = View::open_on(disk.mount());
    let _ = (view.first(), view.segments(), view.cursors(), view.verify());
    let mut reader = view.reader(Seq(0));
    let mut seen = Seen::default();
    while seen.goes_on(reader.read()) {
        reader.skip();
    }
    seen.in_order()
}

/// The same through the journal; then a record more, which is there when it is opened again.
async fn write(journal: Journal, disk: &SimDisk, seen: Vec<Record>) {
    assert_eq!(read(&journal).await, seen, "a journal and a view of it differ");
    let (next, cursors) = (journal.next(), journal.cursors());
    let appended = journal.append("new").await;
    assert_eq!(journal.close().await.is_ok(), appended.is_ok());
    drop(journal);
    let journal = Journal::open_on(disk.mount(), Options::default()).expect("it opened before");
    assert_eq!(journal.recovery().torn, None, "what was mended is torn");
    assert_eq!(journal.cursors(), cursors);
    let after = match appended {
        Ok(seq) => {
            assert_eq!((seq, journal.next()), (next, next.next()));
            let last = read(&journal).await.pop().map(|record| (record.seq, record.payload));
            assert_eq!(last, Some((next, "new".into())));
            journal.append("newer").await
        }
        Err(why) => Err(why),
    };
    match after {
        Ok(seq) => assert_eq!(seq.0, next.0 + 1, "a number was given twice"),
        Err(why) => assert!(next.0 > u64::MAX / 2, "{why}"),
    }
}

async fn read(journal: &Journal) -> Vec<Record> {
    let mut reader = journal.reader(Seq(0)).expect("a reader");
    let mut seen = Seen::default();
    while seen.goes_on(reader.next().await) {
        reader.skip();
    }
    seen.in_order()
}

/// What a reader gave that skips all damage.
#[derive(Default)]
struct Seen {
    records: Vec<Record>,
    asked: usize,
    error: String,
}

impl Seen {
    /// Whether there may be more. Damage with nothing behind it is the same error again and again.
    fn goes_on(&mut self, read: Result<Option<Record>>) -> bool {
        self.asked += 1;
        assert!(self.asked < MOST, "reading does not end: {}", self.error);
        match read {
            Ok(Some(record)) => self.records.push(record),
            Ok(None) => return false,
            Err(why) => {
                let before = std::mem::replace(&mut self.error, why.to_string());
                return self.error != before;
            }
        }
        true
    }

    fn in_order(self) -> Vec<Record> {
        assert!(self.records.is_sorted_by(|one, other| one.seq < other.seq), "{:?}", self.records);
        self.records
    }
}

/// The name that the header asks for.
fn name(segment: &[u8], index: u64) -> String {
    let word =
        |at: usize| segment.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_be_bytes);
    let (number, base) = (word(16).unwrap_or(index), word(24).unwrap_or(1));
    format!("{number:08}-{base:020}.log")
}

/// Makes all checksums right, so that what stands behind them is read.
fn mend(segment: &mut [u8]) {
    let crc = |salt: u32, bytes: &[u8]| {
        let mut hasher = crc32fast::Hasher::new_with_initial(salt);
        hasher.update(bytes);
        hasher.finalize().to_be_bytes()
    };
    let Some((head, mut records)) = segment.split_at_mut_checked(56) else { return };
    let sum = crc(0, &head[..52]);
    head[52..].copy_from_slice(&sum);
    let salt = u32::from_be_bytes([head[12], head[13], head[14], head[15]]);
    while let Some((head, rest)) = records.split_at_mut_checked(32) {
        let len = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let Some((payload, rest)) = rest.split_at_mut_checked(len) else { return };
        let sum = crc(salt, payload);
        head[4..8].copy_from_slice(&sum);
        let sum = crc(salt, &head[4..]);
        head[..4].copy_from_slice(&sum);
        records = rest;
    }
}
