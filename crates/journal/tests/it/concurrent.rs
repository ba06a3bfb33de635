use std::io;
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use haul_core::{ErrorKind, Result};
use haul_journal::sim::SimDisk;
use haul_journal::{Disk, DiskFile, Journal, Options, Seq};

use crate::{fill, numbers, open, payload, read, soon};

/// A disk whose syncs wait until they are allowed.
struct Gated {
    disk: Arc<dyn Disk>,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<(bool, u64)>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, closed: bool) {
        self.state.lock().expect("the gate").0 = closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().expect("the gate");
        state.1 += 1;
        self.changed.notify_all();
        while state.0 {
            state = self.changed.wait(state).expect("the gate");
        }
    }

    /// Waits until a sync stands at the gate, counted from the start.
    fn arrived(&self, syncs: u64) {
        let mut state = self.state.lock().expect("the gate");
        while state.1 < syncs {
            let limit = std::time::Duration::from_secs(30);
            let (next, waited) = self.changed.wait_timeout(state, limit).expect("the gate");
            state = next;
            if waited.timed_out() {
                // A journal that is dropped by the panic waits for its writer.
                state.0 = false;
                self.changed.notify_all();
                panic!("waited 30 s for sync {syncs}");
            }
        }
    }
}

/// The test's hold on the gate: it opens when the test ends, however it ends.
struct Keeper(Arc<Gate>);

impl Keeper {
    fn open(&self) {
        self.0.set(false);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.open();
    }
}

struct GatedFile(Arc<dyn DiskFile>, Arc<Gate>);

impl DiskFile for GatedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.pass();
        self.0.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
}

impl Gated {
    fn file(&self, file: io::Result<Arc<dyn DiskFile>>) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(GatedFile(file?, self.gate.clone())))
    }
}

impl Disk for Gated {
    fn describe(&self) -> String {
        self.disk.describe()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.file(self.disk.create(name))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.file(self.disk.open(name))
    }
    fn open_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_read(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
    fn lock(&self, name: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(name)
    }
}

/// A journal whose first append waits in its sync. The sync of the new segment was the first.
async fn gated(options: Options) -> (Journal, Keeper, haul_journal::Pending) {
    let gate = Arc::new(Gate::default());
    let disk = Gated { disk: SimDisk::new(1).mount(), gate: gate.clone() };
    let journal = Journal::open_on(Arc::new(disk), options).expect("open");
    gate.set(true);
    let first = journal.submit(payload(1)).await.expect("submit");
    gate.arrived(2);
    (journal, Keeper(gate), first)
}

#[tokio::test]
async fn all_who_wait_share_one_sync() {
    let (journal, gate, first) = gated(Options::default()).await;
    let mut waiting = vec![first];
    for number in 2..=500 {
        waiting.push(journal.submit(payload(number)).await.expect("submit"));
    }
    gate.open();
    for (number, pending) in waiting.into_iter().enumerate() {
        let range = soon("an answer", pending).await.expect("append");
        assert_eq!(range.start.0, number as u64 + 1);
    }
    let stats = journal.stats();
    assert_eq!((stats.records, stats.syncs), (500, 2));
    assert_eq!((stats.queued_records, stats.queued_bytes), (0, 0));
}

#[tokio::test]
async fn a_reader_does_not_see_what_is_not_synced() {
    let (journal, gate, first) = gated(Options::default()).await;
    let mut reader = journal.reader(Seq(1)).expect("a reader");
    assert_eq!(reader.next().await.expect("read"), None);
    gate.open();
    soon("an answer", first).await.expect("append");
    assert_eq!(reader.next().await.expect("read").map(|record| record.seq), Some(Seq(1)));
}

#[tokio::test]
async fn a_full_queue_makes_append_wait_and_try_submit_say_so() {
    let options = Options::default().queue_records(4);
    let (journal, gate, first) = gated(options).await;
    let mut waiting = vec![first];
    for number in 2..=4 {
        waiting.push(journal.try_submit(payload(number)).expect("room for four"));
    }
    let error = journal.try_submit(payload(5)).expect_err("the queue is full");
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    let mut fifth = Box::pin(journal.append(payload(5)));
    let waits = futures_poll(&mut fifth).await;
    assert!(waits.is_none(), "an append went into a full queue");
    gate.open();
    assert_eq!(soon("the fifth", fifth).await.expect("append"), Seq(5));
    for pending in waiting {
        soon("an answer", pending).await.expect("append");
    }
}

#[tokio::test]
async fn a_large_record_counts_by_its_bytes() {
    let options = Options::default().max_record(4000).queue_bytes(5000);
    let (journal, gate, first) = gated(options).await;
    let second = journal.try_submit(vec![0; 4000]).expect("room");
    let error = journal.try_submit(vec![0; 4000]).expect_err("no room for another");
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    gate.open();
    soon("the first", first).await.expect("append");
    soon("the second", second).await.expect("append");
}

#[tokio::test]
async fn a_dropped_append_is_whole_or_nothing_and_gives_its_room_back() {
    let options = Options::default().queue_records(2);
    let (journal, gate, first) = gated(options).await;
    let queued = journal.submit(payload(2)).await.expect("submit");
    let mut waiting = Box::pin(journal.append(payload(3)));
    assert!(futures_poll(&mut waiting).await.is_none());
    drop(waiting);
    drop(queued);
    gate.open();
    soon("the first", first).await.expect("append");
    // The dropped answer was queued and is written; the dropped wait was not.
    assert_eq!(journal.append(payload(3)).await.expect("append"), Seq(3));
    assert_eq!(numbers(&read(&journal, Seq(1)).await), [1, 2, 3]);
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_refuses_the_rest() {
    let (journal, gate, first) = gated(Options::default()).await;
    let second = journal.submit(payload(2)).await.expect("submit");
    let mut closing = Box::pin(journal.close());
    assert!(futures_poll(&mut closing).await.is_none());
    let error = journal.append(payload(3)).await.expect_err("a closed journal");
    assert_eq!(error.kind(), ErrorKind::Closed);
    gate.open();
    soon("close", closing).await.expect("close");
    assert_eq!(first.await.expect("append").start, Seq(1));
    assert_eq!(second.await.expect("append").start, Seq(2));
    let mut reader = journal.reader(Seq(2)).expect("a reader");
    assert_eq!(reader.follow().await.expect("what was written").seq, Seq(2));
    let end = soon("the end", reader.follow()).await.expect_err("a closed journal");
    assert_eq!(end.kind(), ErrorKind::Closed);
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn a_dropped_read_loses_no_record() {
    let disk = SimDisk::new(3);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 200).await;
    let mut reader = journal.reader(Seq(1)).expect("a reader");
    let mut seen = Vec::new();
    while seen.len() < 200 {
        let polled = futures_poll(&mut Box::pin(reader.next())).await;
        if let Some(record) = polled {
            seen.extend(record.expect("read").map(|record| record.seq.0));
        } else {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(seen, (1..=200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_see_each_record_once_while_many_append() {
    let disk = SimDisk::new(4);
    let journal = open(&disk).expect("open");
    let followers: Vec<tokio::task::JoinHandle<Result<Vec<Bytes>>>> = (0..3)
        .map(|_| {
            let mut reader = journal.reader(Seq(1)).expect("a reader");
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while seen.len() < 1600 {
                    let record = reader.follow().await?;
                    assert_eq!(record.seq.0, seen.len() as u64 + 1);
                    seen.push(record.payload);
                }
                Ok(seen)
            })
        })
        .collect();
    let producers: Vec<tokio::task::JoinHandle<Vec<(u64, Bytes)>>> = (0..16)
        .map(|producer| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for number in 0..100 {
                    let payload = Bytes::from(format!("{producer}/{number}"));
                    let seq = journal.append(payload.clone()).await.expect("append");
                    mine.push((seq.0, payload));
                }
                mine
            })
        })
        .collect();
    let mut expected = Vec::new();
    for producer in producers {
        let mine = soon("a producer", producer).await.expect("no panic");
        assert!(mine.is_sorted(), "the appends of one task changed their order");
        expected.extend(mine);
    }
    expected.sort();
    let expected: Vec<Bytes> = expected.into_iter().map(|(_, payload)| payload).collect();
    for follower in followers {
        let seen = soon("a follower", follower).await.expect("no panic").expect("follow");
        assert!(seen == expected);
    }
    assert!(journal.stats().syncs < 1600, "{:?}", journal.stats());
}
