//! Where readers learn which segments there are and how far they may read.

use std::sync::Arc;

use haul_core::Result;

use crate::disk::{Disk, DiskFile};
use crate::segment::{self, Meta, io_error};
use crate::seq::Seq;
use crate::shared::Shared;

#[derive(Clone)]
pub(crate) enum Catalog {
    /// Of a journal that is open in this process: what is durable.
    Live(Arc<Shared>),
    /// Of a directory that perhaps another process writes: what is whole.
    Directory(Arc<dyn Disk>),
}

/// How far a segment may be read.
pub(crate) struct Extent {
    pub(crate) limit: u64,
    /// The segment behind it; `None` if it is the last.
    pub(crate) next: Option<Meta>,
    /// The number behind its last record, if it is the last and that is known.
    pub(crate) end: Option<Seq>,
}

impl Extent {
    /// The number with which the next segment begins: none of this one is above it.
    pub(crate) fn most(&self) -> Option<Seq> {
        self.next.as_ref().map(|next| next.base)
    }
}

impl Catalog {
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        match self {
            Self::Live(shared) => &shared.disk,
            Self::Directory(disk) => disk,
        }
    }

    /// All segments, oldest first.
    pub(crate) fn list(&self) -> Result<Vec<Meta>> {
        match self {
            Self::Live(shared) => Ok(shared.lock().segments.clone()),
            Self::Directory(disk) => segment::list(&**disk),
        }
    }

    /// How far the open segment `number` may be read now. What comes behind it is asked for before its length, so
    /// that a segment with a successor is seen whole.
    pub(crate) fn extent(&self, number: u64, file: &dyn DiskFile) -> Result<Extent> {
        let (own, next, end) = match self {
            Self::Live(shared) => {
                let inside = shared.lock();
                let at = inside.segments.partition_point(|meta| meta.number < number);
                let own = inside.segments.get(at).filter(|meta| meta.number == number);
                let next = inside.segments.get(at + usize::from(own.is_some())).cloned();
                (own.map(|meta| meta.bytes), next, Some(inside.next))
            }
            Self::Directory(disk) => {
                let mut all = segment::list(&**disk)?.into_iter();
                (None, all.find(|meta| meta.number > number), None)
            }
        };
        let limit = match own {
            Some(bytes) => bytes,
            None => file.len().map_err(|error| {
                io_error(
                    &error,
                    format!("ask for the length of segment {number} in {}", self.disk().describe()),
                )
            })?,
        };
        let end = end.filter(|_| next.is_none());
        Ok(Extent { limit, next, end })
    }

    /// Whether the end of the last segment may be in the middle of being written.
    pub(crate) fn may_be_unfinished(&self) -> bool {
        matches!(self, Self::Directory(_))
    }
}
