//! Opening: lists the segments, reads the active one, cuts a torn tail off it.

use haul_core::{Error, ErrorKind, Result};

use crate::damage::Damage;
use crate::disk::Disk;
use crate::format::{self, Kind};
use crate::scan::{Found, Scanner, Step};
use crate::segment::{self, Active, Cursors, Meta, io_error};
use crate::seq::Seq;

/// What opening found and mended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The unfinished end that was cut off the active segment, if there was one: nothing in it was acknowledged.
    pub torn: Option<Torn>,
    /// Damage in the active segment in front of records that were acknowledged. It is left as it is: appending goes
    /// on behind it, and a reader that comes to it answers an error. Cursor positions committed there are lost, so
    /// that a cursor may stand earlier than it was.
    pub damage: Vec<Damage>,
}

/// The end of a segment that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub segment: String,
    /// Where it was cut, in bytes.
    pub offset: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
}

/// All that the writer begins with.
pub(crate) struct Recovered {
    pub(crate) segments: Vec<Meta>,
    pub(crate) active: Active,
    pub(crate) next: Seq,
    pub(crate) last_time: u64,
    pub(crate) cursors: Cursors,
    pub(crate) report: Recovery,
}

pub(crate) fn recover(disk: &dyn Disk) -> Result<Recovered> {
    let dir = disk.describe();
    let mut segments = segment::list(disk)?;
    match disk.remove(segment::TEMPORARY) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io_error(&error, format!("remove {} in {dir}", segment::TEMPORARY)));
        }
        _ => {}
    }
    let Some(last) = segments.pop() else {
        return first(disk);
    };
    // A rename that a crashed process saw may not be on disk yet.
    disk.sync_dir().map_err(|error| io_error(&error, format!("sync {dir}")))?;
    for meta in &mut segments {
        let file = disk.open_read(&meta.name());
        let len = file.and_then(|file| file.len());
        meta.bytes = len.map_err(|error| io_error(&error, format!("open {} in {dir}", meta.name())))?;
    }
    let mut recovered = active(disk, &last, &segments)
        .map_err(|error| error.while_doing(format!("recover segment {} in {dir}", last.name())))?;
    segments.push(recovered.active.meta(recovered.last_time));
    recovered.segments = segments;
    Ok(recovered)
}

fn first(disk: &dyn Disk) -> Result<Recovered> {
    let cursors = Cursors::new();
    let active = segment::create(disk, 1, Seq::FIRST, 0, &cursors)?;
    Ok(Recovered {
        segments: vec![active.meta(0)],
        active,
        next: Seq::FIRST,
        last_time: 0,
        cursors,
        report: Recovery::default(),
    })
}

/// Reads the active segment to its end and makes that end durable.
fn active(disk: &dyn Disk, meta: &Meta, older: &[Meta]) -> Result<Recovered> {
    let doing = |what: &'static str| move |error: std::io::Error| io_error(&error, what);
    let file = disk.open(&meta.name()).map_err(doing("open it"))?;
    let head = segment::read_head(&*file, meta).map_err(|error| {
        error.while_doing(
            "it cannot be appended to: restore it from a copy, or move it away and lose its records",
        )
    })?;
    let len = file.len().map_err(doing("ask for its length"))?;
    let mut scanner = Scanner::new(file.clone(), &head);
    let mut state = Replay::new(head.before);
    let mut report = Recovery::default();
    loop {
        let why = match scanner.step(len).map_err(doing("read it"))? {
            Step::End => break,
            Step::Record(found) => {
                state.take(&found)?;
                continue;
            }
            Step::Bad(why) => why,
        };
        // Whatever was written after a sync proves that everything before it had been on disk.
        let find = |wanted: fn(&format::RecordHead) -> bool| scanner.find(why, len, None, wanted);
        if find(|head| head.group).map_err(doing("read it"))?.is_none() {
            let offset = scanner.offset;
            report.torn = Some(Torn { segment: meta.name(), offset, bytes: len - offset });
            file.truncate(offset).map_err(doing("cut its torn tail off"))?;
            break;
        }
        let Some(next) = find(|_| true).map_err(doing("read it"))? else {
            return Err(Error::new(ErrorKind::Io, "it changed while it was read"));
        };
        report.damage.push(Damage {
            segment: meta.name(),
            offset: scanner.offset,
            expected: scanner.expected,
            next: Some(next.1),
            what: why.to_string(),
        });
        scanner.go_to(next);
    }
    if state.start.is_none() {
        state.cursors = cursors_before(disk, older, state.cursors)?;
    }
    settle(&scanner, state.group)?;
    Ok(Recovered {
        segments: Vec::new(),
        next: scanner.expected,
        last_time: state.last_time,
        active: Active {
            file,
            name: meta.name(),
            head,
            bytes: scanner.offset,
            start: state.start.unwrap_or(format::SEGMENT_HEADER as u64),
            oldest: state.oldest,
        },
        cursors: state.cursors,
        report,
    })
}

/// Writes the last group once more and syncs. Its sync may have failed before the process ended; the operating
/// system then shows the bytes, takes them for written, and a mere sync would not bring them to disk.
fn settle(scanner: &Scanner, group: u64) -> Result<()> {
    let file = scanner.file();
    let rewrite = || {
        let mut at = group;
        let mut bytes = vec![0; 256 << 10];
        while at < scanner.offset {
            let want = bytes.len().min((scanner.offset - at) as usize);
            let got = file.read_at(at, &mut bytes[..want])?;
            if got < want {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            file.write_at(at, &bytes[..got])?;
            at += got as u64;
        }
        file.sync()
    };
    rewrite().map_err(|error| io_error(&error, "write its last records once more"))
}

/// The cursors as the newest of `older` leaves them, overlaid with those of `newer`: for a damaged snapshot.
fn cursors_before(disk: &dyn Disk, older: &[Meta], newer: Cursors) -> Result<Cursors> {
    let Some(meta) = older.last() else {
        return Ok(newer);
    };
    let (file, head) = segment::open(disk, meta)?;
    let mut scanner = Scanner::new(file, &head);
    let mut state = Replay::new(0);
    while let Step::Record(found) =
        scanner.step(meta.bytes).map_err(|error| io_error(&error, format!("read {}", meta.name())))?
    {
        state.take(&found)?;
    }
    state.cursors.extend(newer);
    Ok(state.cursors)
}

/// What the records of a segment add up to.
pub(crate) struct Replay {
    pub(crate) cursors: Cursors,
    pub(crate) oldest: Option<u64>,
    pub(crate) last_time: u64,
    /// Where the first record behind the snapshot stands.
    start: Option<u64>,
    /// Where the last group begins.
    group: u64,
}

impl Replay {
    pub(crate) fn new(last_time: u64) -> Self {
        Self {
            cursors: Cursors::new(),
            oldest: None,
            last_time,
            start: None,
            group: format::SEGMENT_HEADER as u64,
        }
    }

    pub(crate) fn take(&mut self, found: &Found) -> Result<()> {
        if found.head.group {
            self.group = found.offset;
        }
        let understood = match found.head.kind {
            Kind::Data => {
                self.oldest.get_or_insert(found.head.time);
                self.last_time = self.last_time.max(found.head.time);
                Some(())
            }
            Kind::Snapshot => format::decode_snapshot(&found.payload).map(|cursors| {
                self.cursors = cursors.into_iter().collect();
                self.start = Some(found.offset + (format::RECORD_HEADER + found.payload.len()) as u64);
            }),
            Kind::Cursor => format::decode_cursor(&found.payload).map(|(name, position)| {
                self.cursors.insert(name, position);
            }),
            Kind::Forget => format::decode_name(&found.payload).map(|name| {
                self.cursors.remove(&name);
            }),
        };
        understood.ok_or_else(|| {
            Error::new(
                ErrorKind::Codec,
                format!(
                    "the cursor record at byte {} has right checksums but not the form of version {}: a defect of \
                     the haul that wrote it",
                    found.offset,
                    format::VERSION
                ),
            )
        })
    }
}
