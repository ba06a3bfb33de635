use std::sync::atomic::{AtomicU64, Ordering};

/// What a journal did since it was opened, and how large it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records appended and on disk.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Commits of a cursor on disk.
    pub cursor_commits: u64,
    /// Syncs of segment data: each made durable whatever was written since the last.
    pub syncs: u64,
    /// Time spent in them, in microseconds.
    pub sync_micros: u64,
    /// Segments ended because they were full or old.
    pub rotations: u64,
    /// Segments removed by retention.
    pub removed_segments: u64,
    /// Records removed by retention.
    pub removed_records: u64,
    /// Times that retention could not remove a segment: the file system refused, or a header was damaged.
    pub removals_failed: u64,
    /// Times that retention left a segment because a cursor still needed it.
    pub removals_held: u64,
    /// Segments there are.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes queued or on their way to the disk.
    pub queued_bytes: u64,
    /// Records queued or on their way to the disk.
    pub queued_records: u64,
}

macro_rules! counters {
    ($($name:ident),*) => {
        /// The counters behind [`Stats`]; the writer alone adds to them.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64),* }

        impl Counters {
            pub(crate) fn read(&self) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Relaxed),)* ..Stats::default() }
            }
        }
    };
}

counters!(
    records,
    payload_bytes,
    cursor_commits,
    syncs,
    sync_micros,
    rotations,
    removed_segments,
    removed_records,
    removals_failed,
    removals_held
);

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
