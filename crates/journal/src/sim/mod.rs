//! A simulated disk for tests: it loses what was not synced, tears writes, and fails what it is told to fail.
//!
//! A [`SimDisk`] outlives the "machine" that uses it. [`mount`](SimDisk::mount) gives the [`Disk`] of one boot;
//! [`crash`](SimDisk::crash) cuts the power: what was not synced is kept, lost or torn at random (from a seed), what
//! was mounted before answers errors from then on, and the next mount sees what is left.
//!
//! ```
//! use haul_journal::{Journal, Options, sim::SimDisk};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> haul_core::Result<()> {
//! let disk = SimDisk::new(7);
//! let journal = Journal::open_on(disk.mount(), Options::default())?;
//! journal.append("kept").await?;
//! disk.crash();
//! let journal = Journal::open_on(disk.mount(), Options::default())?;
//! let record = journal.reader(journal.first())?.next().await?;
//! assert_eq!(record.expect("one record").payload, "kept");
//! # Ok(()) }
//! ```
//!
//! What it models: data is durable after a sync of the file, names after a sync of the directory, each on its own.
//! Of unsynced writes any blocks of 512 bytes, or a part of one, may reach the disk in any order, and the file may
//! have grown over blocks that did not, which then hold zeros or rubbish. Each unsynced creation, rename and removal
//! may be lost on its own. A failed write leaves a part of itself. A failed sync of a file leaves its data visible but
//! counts it as written, as Linux does, so that a later sync does not bring it to disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disk::Disk;

mod inode;
mod mounted;
mod random;

use inode::Inode;
use mounted::Mounted;
pub use random::Random;

/// An operation of a [`Disk`] that can be made to fail, and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Op {
    /// [`DiskFile::write_at`](crate::DiskFile::write_at)
    Write,
    /// [`DiskFile::sync`](crate::DiskFile::sync)
    Sync,
    /// [`DiskFile::truncate`](crate::DiskFile::truncate)
    Truncate,
    /// [`Disk::create`]
    Create,
    /// [`Disk::rename`]
    Rename,
    /// [`Disk::remove`]
    Remove,
    /// [`Disk::sync_dir`]
    SyncDir,
    /// [`DiskFile::read_at`](crate::DiskFile::read_at)
    Read,
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Sim>>);

struct Sim {
    random: Random,
    inodes: Vec<Inode>,
    /// The directory as it is seen.
    names: BTreeMap<String, usize>,
    /// The directory as it is on disk.
    durable: BTreeMap<String, usize>,
    /// What leads from the one to the other.
    pending: Vec<Entry>,
    boot: u64,
    locked: bool,
    failures: BTreeMap<Op, u64>,
    counts: BTreeMap<Op, u64>,
    reads_of: BTreeMap<String, u64>,
    /// Changes until the power goes.
    power: Option<u64>,
    ignore_sync: bool,
    capacity: Option<u64>,
    now: u64,
}

/// A change of the directory.
enum Entry {
    Link(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl SimDisk {
    /// An empty disk; `seed` decides what crashes keep.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Sim {
            random: Random::new(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            boot: 0,
            locked: false,
            failures: BTreeMap::new(),
            counts: BTreeMap::new(),
            reads_of: BTreeMap::new(),
            power: None,
            ignore_sync: false,
            capacity: None,
            now: 1_700_000_000_000_000,
        })))
    }

    /// The disk as the processes of this boot see it.
    pub fn mount(&self) -> Arc<dyn Disk> {
        Arc::new(Mounted { disk: self.clone(), boot: self.lock().boot })
    }

    /// Cuts the power and boots again.
    pub fn crash(&self) {
        let mut sim = self.lock();
        let sim = &mut *sim;
        sim.boot += 1;
        sim.locked = false;
        sim.power = None;
        sim.failures.clear();
        for inode in &mut sim.inodes {
            inode.crash(&mut sim.random);
        }
        let keep_all = sim.random.chance(4);
        for entry in std::mem::take(&mut sim.pending) {
            if keep_all || sim.random.chance(2) {
                entry.apply(&mut sim.durable);
            }
        }
        sim.names = sim.durable.clone();
    }

    /// The process ends without the power going: what was written stays to be seen, synced or not.
    pub fn kill(&self) {
        let mut sim = self.lock();
        sim.boot += 1;
        sim.locked = false;
        sim.power = None;
        sim.failures.clear();
    }

    /// Lets the power go with the `changes`-th change from now (a write, sync, truncation, creation, rename, removal
    /// or directory sync; 1 is the next): it and everything after it fails until [`crash`](Self::crash), and of a
    /// write or sync a part may be done.
    pub fn power_off_at(&self, changes: u64) {
        self.lock().power = Some(changes.max(1));
    }

    /// Fails the `nth` operation of this kind from now, once; 1 is the next.
    pub fn fail(&self, op: Op, nth: u64) {
        self.lock().failures.insert(op, nth.max(1));
    }

    /// Makes syncs of files and of the directory do nothing and answer `Ok`, to see that a test notices.
    pub fn ignore_sync(&self, ignore: bool) {
        self.lock().ignore_sync = ignore;
    }

    /// Bytes that fit; writes beyond fail as on a full disk. `None`: no limit.
    pub fn capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Moves the clock on; it stands still otherwise.
    pub fn advance(&self, time: Duration) {
        self.lock().now += u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    }

    /// Moves the clock back, as when a wrong one is set.
    pub fn turn_back(&self, time: Duration) {
        let sim = &mut *self.lock();
        sim.now = sim.now.saturating_sub(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many operations of this kind there were.
    pub fn count(&self, op: Op) -> u64 {
        self.lock().counts.get(&op).copied().unwrap_or(0)
    }

    /// How many reads there were of the file `name`.
    pub fn reads_of(&self, name: &str) -> u64 {
        self.lock().reads_of.get(name).copied().unwrap_or(0)
    }

    /// The names of the files, sorted.
    pub fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// The content of a file as it is seen.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let sim = self.lock();
        Some(sim.inodes[*sim.names.get(name)?].seen.clone())
    }

    /// Puts a file there, durably, in place of what had the name: to damage a journal, or to invent one.
    pub fn write(&self, name: &str, content: impl Into<Vec<u8>>) {
        let mut sim = self.lock();
        let at = sim.inodes.len();
        sim.inodes.push(Inode::durable(content.into()));
        sim.names.insert(name.into(), at);
        sim.durable.insert(name.into(), at);
    }

    /// Takes a file away, durably.
    pub fn erase(&self, name: &str) {
        let mut sim = self.lock();
        sim.names.remove(name);
        sim.durable.remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, Sim> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name, inode);
            }
            Self::Rename(from, to, inode) => {
                names.retain(|name, held| *name != from || *held != inode);
                names.insert(to, inode);
            }
            Self::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}

/// What becomes of an operation.
#[derive(PartialEq, Eq)]
enum Fate {
    Works,
    Fails,
    /// The power goes in the middle of it.
    Dies,
}

impl Sim {
    /// Counts an operation and decides its fate.
    fn begin(&mut self, op: Op, boot: u64) -> io::Result<Fate> {
        if boot != self.boot || self.power == Some(0) {
            return Err(io::Error::other("the power is off"));
        }
        *self.counts.entry(op).or_default() += 1;
        if let Some(power) = &mut self.power
            && op != Op::Read
        {
            *power -= 1;
            if *power == 0 {
                return Ok(Fate::Dies);
            }
        }
        if let Some(left) = self.failures.get_mut(&op) {
            *left -= 1;
            if *left == 0 {
                self.failures.remove(&op);
                return Ok(Fate::Fails);
            }
        }
        Ok(Fate::Works)
    }

    /// As `begin`, for what is done whole or not at all.
    fn whole(&mut self, op: Op, boot: u64) -> io::Result<()> {
        match self.begin(op, boot)? {
            Fate::Works => Ok(()),
            Fate::Fails => Err(io::Error::other(format!("{op:?} was made to fail"))),
            Fate::Dies => Err(io::Error::other("the power is off")),
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|at| self.inodes[*at].seen.len() as u64).sum()
    }
}
