use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::disk::Disk;
use crate::options::Options;
use crate::queue::Queue;
use crate::recover::Recovery;
use crate::segment::{Cursors, Meta};
use crate::seq::Seq;
use crate::stats::Counters;

/// What the handles, the readers and the writer share.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) queue: Queue,
    pub(crate) counters: Counters,
    pub(crate) recovery: Recovery,
    /// The number behind the last durable record. It closes when the writer has ended.
    pub(crate) durable: watch::Receiver<Seq>,
    inside: Mutex<Inside>,
}

/// What is durable, written by the writer alone.
pub(crate) struct Inside {
    /// Never empty; the last one is active.
    pub(crate) segments: Vec<Meta>,
    pub(crate) next: Seq,
    pub(crate) cursors: Cursors,
}

impl Shared {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        options: Options,
        recovery: Recovery,
        durable: watch::Receiver<Seq>,
        inside: Inside,
    ) -> Self {
        Self {
            disk,
            queue: Queue::new(&options),
            options,
            counters: Counters::default(),
            recovery,
            durable,
            inside: Mutex::new(inside),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn first(&self) -> Seq {
        self.lock().segments.first().map_or(Seq::FIRST, |meta| meta.base)
    }
}
