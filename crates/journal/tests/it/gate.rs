//! A disk whose syncs wait until they are allowed.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use haul_journal::sim::SimDisk;
use haul_journal::{Disk, DiskFile, Journal, Options};

use crate::payload;

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
pub(crate) struct Keeper {
    gate: Arc<Gate>,
    pub(crate) disk: SimDisk,
}

impl Keeper {
    pub(crate) fn open(&self) {
        self.gate.set(false);
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
pub(crate) async fn gated(options: Options) -> (Journal, Keeper, haul_journal::Pending) {
    let gate = Arc::new(Gate::default());
    let disk = SimDisk::new(1);
    let gated = Gated { disk: disk.mount(), gate: gate.clone() };
    let journal = Journal::open_on(Arc::new(gated), options).expect("open");
    gate.set(true);
    let first = journal.submit(payload(1)).await.expect("submit");
    gate.arrived(2);
    (journal, Keeper { gate, disk }, first)
}
