//! Appends records, rotates, syncs. Everything here blocks, and runs where that is allowed.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use haul_core::{Level, Result, Sent};

use crate::active::{Active, Output, failure, period, sync_directory};
use crate::{FileConfig, Fsync, siblings};

pub(crate) type Wrap = Arc<dyn Fn(File) -> Box<dyn Output> + Send + Sync>;

pub(crate) struct Writer {
    config: Arc<FileConfig>,
    wrap: Wrap,
    active: Option<Active>,
    /// When the oldest write happened that is not yet synced.
    dirty_since: Option<Instant>,
    /// A failure that no answer has told yet: of a sync after the answer, of the removal of an old file.
    untold: Option<haul_core::Error>,
}

/// Records, one after the other, and where each ends.
#[derive(Default)]
pub(crate) struct Records {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<usize>,
}

impl Records {
    pub(crate) fn extend(&mut self, other: &Self) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| start + end));
    }

    fn start(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.ends[at - 1] }
    }
}

impl Writer {
    pub(crate) fn new(config: Arc<FileConfig>, wrap: Wrap) -> Self {
        Self { config, wrap, active: None, dirty_since: None, untold: None }
    }

    /// Appends `records`, with one write and one sync for each file that they fall into. After a failure nothing
    /// later is tried: all that is left has that error.
    pub(crate) fn append(&mut self, records: &Records) -> Vec<Result<Level>> {
        let level = match self.config.fsync {
            Fsync::Always => Level::Stored,
            Fsync::Every(_) | Fsync::Never => Level::Sent,
        };
        let mut outcomes = Vec::with_capacity(records.ends.len());
        while outcomes.len() < records.ends.len() {
            match self.append_some(records, outcomes.len()) {
                Ok(count) => outcomes.extend((0..count).map(|_| Ok(level))),
                Err(why) => outcomes.resize(records.ends.len(), Err(why)),
            }
        }
        outcomes
    }

    /// Opens the file, and tells what was not told yet.
    pub(crate) fn ready(&mut self) -> Result<()> {
        match self.untold.take() {
            Some(why) => Err(why),
            None => self.open().map(|_| ()),
        }
    }

    /// Syncs what is not, unless that is left to the operating system.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.sync()?;
        self.untold.take().map_or(Ok(()), Err)
    }

    /// When the next sync is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.config.fsync {
            Fsync::Every(interval) => {
                self.dirty_since.map(|since| since + interval.max(Duration::from_millis(1)))
            }
            Fsync::Always | Fsync::Never => None,
        }
    }

    /// The sync that was due; its failure is told by the next answer.
    pub(crate) fn sync_later(&mut self) {
        if let Err(why) = self.sync() {
            self.untold = Some(why);
        }
    }

    fn append_some(&mut self, records: &Records, from: usize) -> Result<usize> {
        if let Some(why) = self.untold.take() {
            return Err(why.while_doing("not written, because something before it failed"));
        }
        let start = records.start(from);
        let now = period(self.config.rotate, SystemTime::now());
        let first = (records.ends[from] - start) as u64;
        let max = self.config.max_size.unwrap_or(u64::MAX);
        let active = self.open()?;
        if active.len > 0 && (active.len.saturating_add(first) > max || active.period != now) {
            self.rotate()?;
        }
        let path = self.config.path.clone();
        let active = self.open()?;
        let room = max.saturating_sub(active.len);
        let fits = records.ends[from..].iter().take_while(|end| (**end - start) as u64 <= room).count();
        let count = fits.max(1);
        let chunk = &records.bytes[start..records.ends[from + count - 1]];
        if let Err(why) = active.output.append(chunk) {
            let why = failure("write to", &path, why);
            active.cut = Some(active.len);
            // Cut back now, so that no half record is left; if that fails, before the next write.
            return Err(match active.refresh() {
                Ok(()) => why,
                Err(cut) => why.with("cutting back failed too", cut).with_sent(Sent::Maybe),
            });
        }
        active.len += chunk.len() as u64;
        active.period = now;
        active.dirty = true;
        self.dirty_since.get_or_insert_with(Instant::now);
        if self.config.fsync == Fsync::Always {
            self.sync()?;
        }
        Ok(count)
    }

    /// The open file; opens it anew if it was renamed or removed by others.
    fn open(&mut self) -> Result<&mut Active> {
        let path = &self.config.path;
        if let Some(active) = &self.active {
            let there = siblings::metadata(path).map_err(|why| failure("look at", path, why))?;
            if there.is_none_or(|there| siblings::Identity::of(&there) != active.identity) {
                self.sync()?;
                self.active = None;
            }
        }
        let path = &self.config.path;
        if self.active.is_none() {
            let (active, made) = Active::open(&self.config, |file| (self.wrap)(file))?;
            if made && self.config.fsync != Fsync::Never {
                sync_directory(path).map_err(|why| failure("sync the directory of", path, why))?;
            }
            self.active = Some(active);
        }
        let active = self.active.as_mut().expect("opened above");
        active.refresh().map_err(|why| failure("mend", path, why))?;
        Ok(active)
    }

    fn sync(&mut self) -> Result<()> {
        self.dirty_since = None;
        let Some(active) = self.active.as_mut().filter(|active| active.dirty) else { return Ok(()) };
        if self.config.fsync == Fsync::Never {
            return Ok(());
        }
        active.dirty = false;
        if let Err(why) = active.output.sync() {
            // The kernel may have dropped the pages: what was written cannot be synced any more through this file.
            self.active = None;
            return Err(failure("sync", &self.config.path, why).with_sent(Sent::Maybe));
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        self.sync()?;
        let path = &self.config.path;
        siblings::rotate(path, SystemTime::now()).map_err(|why| failure("rotate", path, why))?;
        self.active = None;
        if self.config.fsync != Fsync::Never {
            sync_directory(path).map_err(|why| failure("sync the directory of", path, why))?;
        }
        if let Some(keep) = self.config.keep
            && let Err(why) = siblings::retain(path, keep)
        {
            self.untold = Some(failure("remove the oldest rotated file of", path, why));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
