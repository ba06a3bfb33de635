//! The journal on a simulated and on a real disk.

mod concurrent;
mod cursors;
mod damage;
mod faults;
mod garbage;
mod gate;
mod history;
mod holes;
mod killed;
mod memory;
mod model;
mod real;
mod retention;
mod rotation;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use haul_core::Result;
use haul_journal::sim::SimDisk;
use haul_journal::{Journal, Options, Record, Seq, View};

/// Waits for what must come soon; it says what it waited for.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited 30 s for {what}"),
    }
}

fn open(disk: &SimDisk) -> Result<Journal> {
    Journal::open_on(disk.mount(), small())
}

/// Segments of 2 KiB.
fn small() -> Options {
    Options::default().segment_bytes(2048)
}

/// Appends `count` records of 100 bytes, the first of which is number `from`, and checks their numbers.
async fn fill(journal: &Journal, from: u64, count: u64) {
    for number in from..from + count {
        let appended = soon("an append", journal.append(payload(number))).await;
        assert_eq!(appended.expect("append"), Seq(number));
    }
}

fn payload(number: u64) -> Bytes {
    let mut bytes = format!("record {number} ").into_bytes();
    bytes.resize(100, number as u8);
    bytes.into()
}

/// All records from `from` on.
async fn read(journal: &Journal, from: Seq) -> Vec<Record> {
    let mut reader = journal.reader(from).expect("a reader");
    let mut records = Vec::new();
    while let Some(record) = soon("a record", reader.next()).await.expect("read") {
        records.push(record);
    }
    records
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq.0).collect()
}

/// The records that another process would see, and the error it ends with.
fn view(disk: &SimDisk, from: u64) -> (Vec<u64>, Option<haul_core::Error>) {
    let mut reader = View::open_on(disk.mount()).reader(Seq(from));
    let mut seen = Vec::new();
    loop {
        match reader.read() {
            Ok(Some(record)) => {
                assert_eq!(record.payload, payload(record.seq.0));
                seen.push(record.seq.0);
            }
            Ok(None) => return (seen, None),
            Err(error) => return (seen, Some(error)),
        }
    }
}

/// The names of the segments, oldest first.
fn segments(disk: &SimDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".log")).collect()
}
