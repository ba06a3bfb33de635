//! Reading without writing, also while another process writes.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use haul_core::{Error, Result};

use crate::catalog::Catalog;
use crate::disk::{Disk, RealDisk};
use crate::inspect::{self, Report, SegmentInfo};
use crate::seq::Seq;
use crate::walk::{Record, Walk};

/// A journal opened for reading only, without its lock: for tools that look at a log while a gateway writes it.
///
/// It shows whole records. The newest of them may not be synced yet, so that a crash of the machine can still take
/// them back; what follows them in the file may be half written and is not shown until it is whole. All calls block.
#[derive(Clone)]
pub struct View {
    catalog: Catalog,
}

impl View {
    /// The journal in the directory `dir`. `NotFound` if there is no such directory.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        match RealDisk::existing(dir) {
            Ok(disk) => Ok(Self::open_on(Arc::new(disk))),
            Err(error) => Err(Error::from(error).while_doing(format!("open journal {}", dir.display()))),
        }
    }

    /// The journal on `disk`.
    pub fn open_on(disk: Arc<dyn Disk>) -> Self {
        Self { catalog: Catalog::Directory(disk) }
    }

    /// Reads from record `from` on. If that was removed already, the first read answers `Gap`.
    pub fn reader(&self, from: Seq) -> ViewReader {
        ViewReader(Walk::new(self.catalog.clone(), from))
    }

    /// The number of the oldest record, or of the next one to come; `None` if nothing was ever written.
    pub fn first(&self) -> Result<Option<Seq>> {
        Ok(self.catalog.list()?.first().map(|meta| meta.base))
    }

    /// The segments, oldest first. Reads the beginning of each and the whole last one.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>> {
        inspect::segments(&self.catalog)
    }

    /// The cursors and their positions, by name. Reads the last segment.
    pub fn cursors(&self) -> Result<Vec<(String, Seq)>> {
        Ok(inspect::cursors(&self.catalog)?.into_iter().collect())
    }

    /// Reads everything and lists all that is wrong.
    pub fn verify(&self) -> Result<Report> {
        inspect::verify(&self.catalog)
    }
}

/// Reads the whole records of a [`View`] in order. Errors are as for [`Reader`](crate::Reader).
pub struct ViewReader(Walk);

impl ViewReader {
    /// The next record; `None` if there is no more at the moment. To follow a journal that another process writes,
    /// call it again after a while (a quarter of a second is usual): no event crosses processes.
    pub fn read(&mut self) -> Result<Option<Record>> {
        if self.0.ready.is_empty() {
            self.0.fill()?;
        }
        Ok(self.0.ready.pop_front())
    }

    /// Goes past the damage that the last error reported, as [`Reader::skip`](crate::Reader::skip).
    pub fn skip(&mut self) {
        self.0.skip();
    }

    /// The numbers that the last `Gap` error left out, if records are missing.
    pub fn gap(&self) -> Option<RangeInclusive<u64>> {
        self.0.gap.clone()
    }

    /// The number of the record that comes next, unless there is a gap.
    pub fn position(&self) -> Seq {
        self.0.position()
    }
}
