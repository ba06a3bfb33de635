//! Removal of old segments.

use std::time::Duration;

use haul_core::Result;

use crate::options::{Keep, Retention};
use crate::segment::{self, Meta, io_error};
use crate::seq::Seq;
use crate::stats::add;
use crate::writer::Writer;

/// What retention removed, and what kept it from removing more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Segments removed.
    pub segments: u64,
    /// Records in them.
    pub records: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// How many of the records the slowest cursor had not passed: not 0 only with [`Keep::Nothing`].
    pub unread: u64,
    /// The oldest record that is left, or the next one to come.
    pub first: Seq,
    /// The cursor that still needs what a limit asked to remove.
    pub held_by: Option<String>,
}

impl Writer {
    /// Retention on request. The outer error is a failed write, which closes the journal.
    pub(crate) fn retain_now(&mut self, policy: &Retention) -> Result<Result<Removed>> {
        if self.is_old(policy.max_age) {
            self.rotate()?;
        }
        Ok(self.remove_segments(policy))
    }

    /// Removes segments, one by one and each durably, so that a crash never leaves a hole. An error leaves the rest
    /// for another time and does not close the journal: no record is lost by it.
    pub(crate) fn remove_segments(&mut self, policy: &Retention) -> Result<Removed> {
        let outcome = self.try_remove_segments(policy);
        let counters = &self.shared.counters;
        match &outcome {
            Ok(removed) if removed.held_by.is_some() => add(&counters.removals_held, 1),
            Ok(_) => {}
            Err(_) => add(&counters.removals_failed, 1),
        }
        outcome
    }

    fn try_remove_segments(&mut self, policy: &Retention) -> Result<Removed> {
        let mut removed = Removed::default();
        if self.removal_unsynced {
            self.sync_removal()?;
        }
        let slowest = self.cursors.iter().min_by_key(|(_, position)| **position);
        let slowest = slowest.map(|(name, position)| (name.clone(), *position));
        let now = self.shared.disk.now().max(self.last_time);
        loop {
            let (oldest, second, total) = {
                let inside = self.shared.lock();
                let total: u64 = inside.segments.iter().map(|meta| meta.bytes).sum();
                removed.first = inside.segments.first().map_or(self.next, |meta| meta.base);
                match &inside.segments[..] {
                    [oldest, second, ..] => (oldest.clone(), second.clone(), total),
                    _ => return Ok(removed),
                }
            };
            let too_large = policy.max_bytes.is_some_and(|most| total > most);
            if !too_large && !self.too_old(policy, &oldest, &second, now)? {
                return Ok(removed);
            }
            if let Some((name, position)) = &slowest
                && *position < second.base
            {
                if policy.keep == Keep::Unread {
                    removed.held_by = Some(name.clone());
                    return Ok(removed);
                }
                removed.unread += second.base.0 - oldest.base.max(*position).0;
            }
            self.remove(&oldest)?;
            removed.segments += 1;
            removed.records += second.base.0 - oldest.base.0;
            removed.bytes += oldest.bytes;
            add(&self.shared.counters.removed_segments, 1);
            add(&self.shared.counters.removed_records, second.base.0 - oldest.base.0);
        }
    }

    fn too_old(&self, policy: &Retention, oldest: &Meta, second: &Meta, now: u64) -> Result<bool> {
        let Some(age) = policy.max_age else {
            return Ok(false);
        };
        let newest = match oldest.newest {
            Some(newest) => newest,
            None => segment::open(&*self.shared.disk, second)?.1.before,
        };
        Ok(Duration::from_micros(now.saturating_sub(newest)) > age)
    }

    fn remove(&mut self, meta: &Meta) -> Result<()> {
        let disk = &*self.shared.disk;
        match disk.remove(&meta.name()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let doing = format!("remove segment {} in {}", meta.name(), disk.describe());
                return Err(io_error(&error, doing));
            }
            _ => {}
        }
        self.shared.lock().segments.remove(0);
        self.removal_unsynced = true;
        self.sync_removal()
    }

    /// Makes a removal durable. If that fails the segment may come back after a crash, no more, so that it may be
    /// tried again.
    fn sync_removal(&mut self) -> Result<()> {
        let disk = &*self.shared.disk;
        disk.sync_dir().map_err(|error| {
            io_error(&error, format!("sync the removal of segments in {}", disk.describe()))
        })?;
        self.removal_unsynced = false;
        Ok(())
    }
}
