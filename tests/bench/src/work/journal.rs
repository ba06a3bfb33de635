//! Group commit: 64 producers that each wait for the disk, against a loop that writes 64 records and then syncs.

use std::cell::Cell;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use haul_core::Result;
use haul_journal::{Journal, Options, Stats};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::load::runtime;
use crate::measure::{Sample, cpu_seconds};

const PRODUCERS: usize = 64;
const SIZE: usize = 200;

/// Both sides, on one disk, and the syncs that they made.
pub(crate) struct Disk {
    folder: TempDir,
    journal: Cell<Syncs>,
    plain: Cell<Syncs>,
}

/// Records, and the syncs that made them durable.
#[derive(Clone, Copy, Default)]
struct Syncs {
    records: u64,
    syncs: u64,
}

impl Syncs {
    fn add(total: &Cell<Self>, records: u64, syncs: u64) {
        let so_far = total.get();
        total.set(Self { records: so_far.records + records, syncs: so_far.syncs + syncs });
    }

    fn per_sync(self) -> f64 {
        self.records as f64 / self.syncs.max(1) as f64
    }
}

impl Disk {
    /// Files go to a temporary folder in `folder`, which must be on a real disk.
    pub(crate) fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("the report's folder can be made");
        let folder = TempDir::new_in(folder).expect("the report's folder can be written");
        Self { folder, journal: Cell::default(), plain: Cell::default() }
    }

    /// How many syncs each side made.
    pub(crate) fn note(&self) -> String {
        let (journal, plain) = (self.journal.get(), self.plain.get());
        format!(
            "{} syncs of {:.1} records : {} syncs of {:.1}",
            journal.syncs,
            journal.per_sync(),
            plain.syncs,
            plain.per_sync(),
        )
    }

    /// The producers append to a journal: durable records per second.
    pub(crate) fn group_commit(&self, length: Duration) -> Sample {
        let folder = TempDir::new_in(self.folder.path()).expect("a folder of our own");
        let runtime = runtime();
        let cpu = cpu_seconds();
        let (stats, seconds) = runtime.block_on(produce(folder.path(), length)).expect("the disk takes it");
        Syncs::add(&self.journal, stats.records, stats.syncs);
        sample(stats.records, seconds, cpu)
    }

    /// The loop: durable records per second.
    pub(crate) fn plain_loop(&self, length: Duration) -> Sample {
        let mut file = tempfile::tempfile_in(self.folder.path()).expect("a folder of our own");
        let record = [7; SIZE];
        let (mut records, mut syncs) = (0, 0);
        let (cpu, begun) = (cpu_seconds(), Instant::now());
        while begun.elapsed() < length {
            for _ in 0..PRODUCERS {
                file.write_all(&record).expect("the disk takes it");
            }
            file.sync_data().expect("the disk takes it");
            records += PRODUCERS as u64;
            syncs += 1;
        }
        let seconds = begun.elapsed().as_secs_f64();
        Syncs::add(&self.plain, records, syncs);
        sample(records, seconds, cpu)
    }
}

fn sample(records: u64, seconds: f64, cpu: f64) -> Sample {
    Sample { value: records as f64 / seconds, cpu: (cpu_seconds() - cpu) / records.max(1) as f64 }
}

async fn produce(folder: &Path, length: Duration) -> Result<(Stats, f64)> {
    let journal = Journal::open(folder, Options::default())?;
    let begun = Instant::now();
    let mut producers = JoinSet::new();
    for _ in 0..PRODUCERS {
        let journal = journal.clone();
        producers.spawn(async move {
            let record = Bytes::from_static(&[7; SIZE]);
            while begun.elapsed() < length {
                journal.append(record.clone()).await?;
            }
            Ok(())
        });
    }
    producers.join_all().await.into_iter().collect::<Result<()>>()?;
    let seconds = begun.elapsed().as_secs_f64();
    let stats = journal.stats();
    journal.close().await?;
    Ok((stats, seconds))
}
