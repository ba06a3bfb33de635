//! Looking at whole segments: lists and checks. All calls block.

use haul_core::{ErrorKind, Result};

use crate::catalog::Catalog;
use crate::damage::Damage;
use crate::format::Kind;
use crate::recover::{Replay, Torn};
use crate::scan::{Scanner, Step};
use crate::segment::{self, Cursors, Meta, io_error};
use crate::seq::Seq;

/// One segment, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// The file.
    pub name: String,
    /// Its first record, or the next one to come if it is empty.
    pub first: Seq,
    /// The number behind its last record.
    pub next: Seq,
    /// Its length in bytes.
    pub bytes: u64,
    /// When its first record was written, in microseconds since 1970; `None` if it is empty.
    pub first_micros: Option<u64>,
    /// When its last record was written.
    pub last_micros: Option<u64>,
    /// Whether it is the one that is appended to.
    pub active: bool,
}

/// What [`verify`](crate::Journal::verify) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Segments read.
    pub segments: u64,
    /// Whole records.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Every place where something is wrong, oldest first; empty if all is well.
    pub damage: Vec<Damage>,
    /// The end of the last segment, if it does not end with a whole record: it is being written at the moment, or
    /// is the torn tail of a crash, which opening cuts off.
    pub unfinished: Option<Torn>,
}

pub(crate) fn verify(catalog: &Catalog) -> Result<Report> {
    let mut report = Report::default();
    let mut before: Option<(u64, Seq)> = None;
    for meta in catalog.list()? {
        let (file, head) = match segment::open(&**catalog.disk(), &meta) {
            Ok(opened) => opened,
            Err(_) if !catalog.list()?.iter().any(|other| other.number == meta.number) => continue,
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => {
                report.damage.push(damage(&meta, 0, meta.base, error.message().to_owned()));
                before = None;
                continue;
            }
        };
        if let Some((number, expected)) = before
            && (number + 1, expected) != (meta.number, meta.base)
        {
            let what = format!(
                "segment {number} ends before record {expected}, and this is segment {} from record {}",
                meta.number, meta.base
            );
            report.damage.push(damage(&meta, 0, expected, what));
        }
        let mut scanner = Scanner::new(file, &head);
        check(catalog, &meta, &mut scanner, &mut report)?;
        report.segments += 1;
        before = Some((meta.number, scanner.expected));
    }
    Ok(report)
}

fn damage(meta: &Meta, offset: u64, expected: Seq, what: String) -> Damage {
    Damage { segment: meta.name(), offset, expected, next: None, what }
}

fn check(catalog: &Catalog, meta: &Meta, scanner: &mut Scanner, report: &mut Report) -> Result<()> {
    let reading = |error: std::io::Error| io_error(&error, format!("read segment {}", meta.name()));
    let extent = catalog.extent(meta.number, scanner.file())?;
    report.bytes += extent.limit;
    loop {
        let why = match scanner.step(extent.limit).map_err(reading)? {
            Step::End => return Ok(()),
            Step::Record(found) => {
                report.records += u64::from(found.head.kind == Kind::Data);
                continue;
            }
            Step::Bad(why) => why,
        };
        let group = scanner.find(why, extent.limit, extent.most(), |head| head.group).map_err(reading)?;
        if extent.next.is_none() && catalog.may_be_unfinished() && group.is_none() {
            report.unfinished = Some(Torn {
                segment: meta.name(),
                offset: scanner.offset,
                bytes: extent.limit - scanner.offset,
            });
            return Ok(());
        }
        let next = scanner.find(why, extent.limit, extent.most(), |_| true).map_err(reading)?;
        let mut found = damage(meta, scanner.offset, scanner.expected, why.to_string());
        found.next = next.map(|(_, seq)| seq);
        report.damage.push(found);
        match next {
            Some(next) => scanner.go_to(next),
            None => {
                // Only what the next segment says is known about the end of this one.
                scanner.expected = extent.next.map_or(scanner.expected, |next| next.base);
                return Ok(());
            }
        }
    }
}

pub(crate) fn segments(catalog: &Catalog) -> Result<Vec<SegmentInfo>> {
    let all = catalog.list()?;
    let mut infos = Vec::with_capacity(all.len());
    for (at, meta) in all.iter().enumerate() {
        let (file, head) = match segment::open(&**catalog.disk(), meta) {
            Ok(opened) => opened,
            Err(_) if !catalog.list()?.contains(meta) => continue,
            Err(error) => return Err(error),
        };
        let limit = catalog.extent(meta.number, &*file)?.limit;
        let mut scanner = Scanner::new(file, &head);
        let mut replay = Replay::new(head.before);
        let successor = all.get(at + 1);
        // Of a full segment its beginning is read, of the last one all.
        while successor.is_none() || replay.oldest.is_none() {
            match scanner
                .step(limit)
                .map_err(|error| io_error(&error, format!("read segment {}", meta.name())))?
            {
                Step::Record(found) => replay.take(&found)?,
                _ => break,
            }
        }
        let next = successor.map_or(scanner.expected, |next| next.base);
        let last = match successor {
            Some(next) => segment::open(&**catalog.disk(), next)?.1.before,
            None => replay.last_time,
        };
        infos.push(SegmentInfo {
            name: meta.name(),
            first: meta.base,
            next,
            bytes: limit,
            first_micros: replay.oldest,
            last_micros: (next > meta.base).then_some(last),
            active: successor.is_none(),
        });
    }
    Ok(infos)
}

/// The cursors that the last segment of a directory tells.
pub(crate) fn cursors(catalog: &Catalog) -> Result<Cursors> {
    let Some(last) = catalog.list()?.pop() else {
        return Ok(Cursors::new());
    };
    let (file, head) = segment::open(&**catalog.disk(), &last)?;
    let limit = catalog.extent(last.number, &*file)?.limit;
    let mut scanner = Scanner::new(file, &head);
    let mut replay = Replay::new(0);
    while let Step::Record(found) =
        scanner.step(limit).map_err(|error| io_error(&error, format!("read segment {}", last.name())))?
    {
        replay.take(&found)?;
    }
    Ok(replay.cursors)
}
