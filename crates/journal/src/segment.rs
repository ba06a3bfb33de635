//! Segments: their names, what is known of each, and how one is made.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

use haul_core::{Error, ErrorKind, Result, Status};

use crate::disk::{Disk, DiskFile};
use crate::format::{self, Kind, RecordHead, SegmentHead};
use crate::seq::Seq;

/// The name of the file that the process which writes holds locked.
pub(crate) const LOCK: &str = "lock";
/// The name of a segment that is being made.
pub(crate) const TEMPORARY: &str = "segment.tmp";

/// The cursors and their positions.
pub(crate) type Cursors = BTreeMap<String, Seq>;

/// What is known of a segment without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) number: u64,
    pub(crate) base: Seq,
    /// Its length in bytes, as far as it is durable.
    pub(crate) bytes: u64,
    /// The time of its newest record, or of one before it, if known.
    pub(crate) newest: Option<u64>,
}

impl Meta {
    pub(crate) fn name(&self) -> String {
        name(self.number, self.base)
    }
}

pub(crate) fn name(number: u64, base: Seq) -> String {
    format!("{number:08}-{:020}.log", base.0)
}

fn parse_name(text: &str) -> Option<(u64, Seq)> {
    let (number, base) = text.strip_suffix(".log")?.split_once('-')?;
    let (number, base) = (number.parse().ok()?, Seq(base.parse().ok()?));
    (name(number, base) == text).then_some((number, base))
}

/// The segments in `disk`, oldest first, with lengths as 0: nothing is opened. `Codec` if their names cannot be of one
/// journal: records of a file that does not belong there could be neither read nor told to be missing.
pub(crate) fn list(disk: &dyn Disk) -> Result<Vec<Meta>> {
    let names = disk.list().map_err(|error| io_error(&error, format!("list {}", disk.describe())))?;
    let mut all: Vec<Meta> = names
        .iter()
        .filter_map(|name| parse_name(name))
        .map(|(number, base)| Meta { number, base, bytes: 0, newest: None })
        .collect();
    all.sort_by_key(|meta| (meta.number, meta.base));
    let stray = all.windows(2).find(|pair| pair[0].number == pair[1].number || pair[0].base > pair[1].base);
    match stray {
        None => Ok(all),
        Some(pair) => Err(Error::new(
            ErrorKind::Codec,
            format!(
                "list {}: segments {} and {} are not of one journal: move away the one that does not belong there",
                disk.describe(),
                pair[0].name(),
                pair[1].name()
            ),
        )),
    }
}

/// Opens a segment for reading and reads its header.
pub(crate) fn open(disk: &dyn Disk, meta: &Meta) -> Result<(Arc<dyn DiskFile>, SegmentHead)> {
    let name = meta.name();
    let doing = || format!("open segment {} in {}", name, disk.describe());
    let file = disk.open_read(&name).map_err(|error| io_error(&error, doing()))?;
    let head = read_head(&*file, meta).map_err(|error| error.while_doing(doing()))?;
    Ok((file, head))
}

/// Reads the header of a segment and checks it against the name.
pub(crate) fn read_head(file: &dyn DiskFile, meta: &Meta) -> Result<SegmentHead> {
    let mut bytes = [0; format::SEGMENT_HEADER];
    let got = file.read_at(0, &mut bytes).map_err(|error| io_error(&error, "read the header"))?;
    let head = SegmentHead::decode(&bytes[..got])?;
    if (head.number, head.base) != (meta.number, meta.base) {
        return Err(Error::new(
            ErrorKind::Codec,
            format!(
                "the header says segment {} from record {}: the file was renamed",
                head.number, head.base
            ),
        ));
    }
    Ok(head)
}

/// A segment that is being written.
pub(crate) struct Active {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) name: String,
    pub(crate) head: SegmentHead,
    /// Bytes written.
    pub(crate) bytes: u64,
    /// Bytes that the header and the snapshot take.
    pub(crate) start: u64,
    /// The time of its first data record.
    pub(crate) oldest: Option<u64>,
}

impl Active {
    pub(crate) fn meta(&self, newest: u64) -> Meta {
        Meta { number: self.head.number, base: self.head.base, bytes: self.bytes, newest: Some(newest) }
    }
}

/// Makes a segment durably: written under a temporary name, synced, renamed, and the directory synced. A segment
/// that has its name is therefore whole up to its first record, whatever happened.
pub(crate) fn create(
    disk: &dyn Disk,
    number: u64,
    base: Seq,
    before: u64,
    cursors: &Cursors,
) -> Result<Active> {
    let name = name(number, base);
    let head = SegmentHead { salt: salt(), number, base, created: disk.now(), before };
    let mut bytes = head.encode().to_vec();
    let snapshot = RecordHead { kind: Kind::Snapshot, group: true, seq: base, time: head.created };
    snapshot.encode(head.salt, &format::encode_snapshot(cursors.iter()), &mut bytes);
    let make = || {
        let file = disk.create(TEMPORARY)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        disk.rename(TEMPORARY, &name)?;
        disk.sync_dir()?;
        io::Result::Ok(file)
    };
    let file =
        make().map_err(|error| io_error(&error, format!("make segment {name} in {}", disk.describe())))?;
    Ok(Active { file, name, head, bytes: bytes.len() as u64, start: bytes.len() as u64, oldest: None })
}

/// A number that no other segment is likely to have.
fn salt() -> u32 {
    let random = RandomState::new().hash_one(std::process::id());
    (random >> 32) as u32 ^ random as u32
}

/// An `Io` error that says what was being done and what to do.
pub(crate) fn io_error(error: &io::Error, doing: impl std::fmt::Display) -> Error {
    use io::ErrorKind as Io;
    let advice = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => ": free space there",
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ": let this user write there",
        _ => "",
    };
    Error::new(ErrorKind::Io, format!("{doing}: {error}{advice}")).with_status(Status::Exhausted)
}
