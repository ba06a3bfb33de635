use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};

use super::inode::{Inode, Pending};
use super::{Entry, Fate, Op, SimDisk};

/// The disk as one boot sees it.
pub(super) struct Mounted {
    pub(super) disk: SimDisk,
    pub(super) boot: u64,
}

impl Mounted {
    fn find(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let sim = self.disk.lock();
        if sim.boot != self.boot {
            return Err(io::Error::other("the power is off"));
        }
        let inode = *sim.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(name, inode))
    }

    fn file(&self, name: &str, inode: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.disk.clone(), boot: self.boot, name: name.to_owned(), inode })
    }
}

impl Disk for Mounted {
    fn describe(&self) -> String {
        "sim".into()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk.names())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut sim = self.disk.lock();
        sim.whole(Op::Create, self.boot)?;
        let inode = sim.inodes.len();
        sim.inodes.push(Inode::default());
        sim.names.insert(name.to_owned(), inode);
        sim.pending.push(Entry::Link(name.to_owned(), inode));
        drop(sim);
        Ok(self.file(name, inode))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.find(name)
    }

    fn open_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.find(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut sim = self.disk.lock();
        sim.whole(Op::Rename, self.boot)?;
        let inode = sim.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        sim.names.insert(to.to_owned(), inode);
        sim.pending.push(Entry::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut sim = self.disk.lock();
        if !sim.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        sim.whole(Op::Remove, self.boot)?;
        sim.names.remove(name);
        sim.pending.push(Entry::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut sim = self.disk.lock();
        sim.whole(Op::SyncDir, self.boot)?;
        if !sim.ignore_sync {
            let sim = &mut *sim;
            for entry in std::mem::take(&mut sim.pending) {
                entry.apply(&mut sim.durable);
            }
        }
        Ok(())
    }

    fn lock(&self, _name: &str) -> io::Result<Box<dyn Send + Sync>> {
        let mut sim = self.disk.lock();
        if sim.boot != self.boot {
            return Err(io::Error::other("the power is off"));
        }
        if std::mem::replace(&mut sim.locked, true) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "another has it open"));
        }
        Ok(Box::new(Unlock { disk: self.disk.clone(), boot: self.boot }))
    }

    fn now(&self) -> u64 {
        self.disk.lock().now
    }
}

struct Unlock {
    disk: SimDisk,
    boot: u64,
}

impl Drop for Unlock {
    fn drop(&mut self) {
        let mut sim = self.disk.lock();
        if sim.boot == self.boot {
            sim.locked = false;
        }
    }
}

struct SimFile {
    disk: SimDisk,
    boot: u64,
    name: String,
    inode: usize,
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut sim = self.disk.lock();
        sim.whole(Op::Read, self.boot)?;
        *sim.reads_of.entry(self.name.clone()).or_default() += 1;
        let seen = &sim.inodes[self.inode].seen;
        let from = seen.len().min(offset as usize);
        let len = buf.len().min(seen.len() - from);
        buf[..len].copy_from_slice(&seen[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut sim = self.disk.lock();
        let sim = &mut *sim;
        let fate = sim.begin(Op::Write, self.boot)?;
        let grows = (offset + data.len() as u64).saturating_sub(sim.inodes[self.inode].seen.len() as u64);
        let full = sim.capacity.is_some_and(|capacity| sim.used() + grows > capacity);
        let part = match fate {
            Fate::Works if !full => data.len(),
            _ => sim.random.below(data.len() as u64 + 1) as usize,
        };
        let data = data[..part].to_vec();
        sim.inodes[self.inode].change(Pending::Write(offset, data));
        match fate {
            Fate::Works if full => Err(io::ErrorKind::StorageFull.into()),
            Fate::Works => Ok(()),
            Fate::Fails => Err(io::Error::other("the write was made to fail")),
            Fate::Dies => Err(io::Error::other("the power is off")),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut sim = self.disk.lock();
        let sim = &mut *sim;
        let fate = sim.begin(Op::Sync, self.boot)?;
        let inode = &mut sim.inodes[self.inode];
        match fate {
            Fate::Works if sim.ignore_sync => Ok(()),
            Fate::Works => {
                inode.sync();
                Ok(())
            }
            Fate::Fails => {
                inode.lose(&mut sim.random);
                Err(io::Error::other("the sync was made to fail"))
            }
            Fate::Dies => Err(io::Error::other("the power is off")),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().inodes[self.inode].seen.len() as u64)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut sim = self.disk.lock();
        sim.whole(Op::Truncate, self.boot)?;
        sim.inodes[self.inode].change(Pending::Truncate(len));
        Ok(())
    }
}
