//! From record to record, over all segments, past nothing unseen.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Result};

use crate::catalog::{Catalog, Extent};
use crate::format::Kind;
use crate::scan::{CHUNK, Scanner, Step, Why};
use crate::segment::{self, Meta, io_error};
use crate::seq::Seq;
use crate::stuck::{Stuck, Then};

/// One record of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: Seq,
    /// When it was written, in microseconds since 1970; never less than that of the record before it.
    pub micros: u64,
    /// What was appended. It shares the memory of a block of about 128 KiB: copy it to keep it for long.
    pub payload: Bytes,
}

impl Record {
    /// When it was written.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.micros)
    }
}

/// The blocking part of every reader.
pub(crate) struct Walk {
    pub(crate) catalog: Catalog,
    /// Whole records, in order, ready to be given.
    pub(crate) ready: VecDeque<Record>,
    /// The number that the next record read from disk must have.
    pub(crate) want: Seq,
    pub(crate) at: Option<At>,
    pub(crate) stuck: Option<Stuck>,
    skip: bool,
    /// What the last `Gap` error left out.
    pub(crate) gap: Option<RangeInclusive<u64>>,
}

pub(crate) struct At {
    pub(crate) meta: Meta,
    pub(crate) scanner: Scanner,
}

impl Walk {
    pub(crate) fn new(catalog: Catalog, from: Seq) -> Self {
        Self { catalog, ready: VecDeque::new(), want: from, at: None, stuck: None, skip: false, gap: None }
    }

    /// Leaves the damage of the last error behind, at the next `fill`.
    pub(crate) fn skip(&mut self) {
        self.skip = self.stuck.is_some();
    }

    /// The number of the record that is given next.
    pub(crate) fn position(&self) -> Seq {
        self.ready.front().map_or(self.want, |record| record.seq)
    }

    /// Reads more into `ready`; nothing more is there if it stays empty.
    pub(crate) fn fill(&mut self) -> Result<()> {
        if let Some(stuck) = self.stuck.take() {
            if !self.skip {
                let error = stuck.error.clone();
                self.stuck = Some(stuck);
                return Err(error);
            }
            self.skip = false;
            return self.pass(stuck);
        }
        loop {
            let Some(at) = &mut self.at else {
                match self.locate()? {
                    true => continue,
                    false => return Ok(()),
                }
            };
            let extent = self.catalog.extent(at.meta.number, at.scanner.file())?;
            let mut bytes = 0;
            let bad = loop {
                match step(at, extent.limit)? {
                    Step::End => break None,
                    Step::Bad(why) => break Some(why),
                    Step::Record(found) => {
                        if found.head.kind == Kind::Data && found.head.seq >= self.want {
                            bytes += found.payload.len();
                            self.want = found.head.seq.next();
                            self.ready.push_back(Record {
                                seq: found.head.seq,
                                micros: found.head.time,
                                payload: found.payload,
                            });
                        }
                        let enough = bytes >= CHUNK || !at.scanner.has_more_at_hand();
                        if enough && !self.ready.is_empty() {
                            return Ok(());
                        }
                    }
                }
            };
            if !self.ready.is_empty() {
                return Ok(());
            }
            let more = match (bad, extent.next) {
                (None, None) => false,
                (None, Some(next)) => self.go_on(next)?,
                (Some(why), next) => self.bad(why, Extent { next, ..extent })?,
            };
            if !more {
                return Ok(());
            }
        }
    }

    /// Finds the segment that holds the wanted record. `false` if there is no segment at all.
    fn locate(&mut self) -> Result<bool> {
        let all = self.catalog.list()?;
        let Some(oldest) = all.first() else {
            return Ok(false);
        };
        if oldest.base > self.want {
            let gap = self.gap_to(oldest.base, "retention removed them");
            self.want = oldest.base;
            return Err(gap);
        }
        let holding = all.iter().rfind(|meta| meta.base <= self.want);
        self.open(holding.unwrap_or(oldest).clone())?;
        Ok(true)
    }

    pub(crate) fn open(&mut self, meta: Meta) -> Result<()> {
        match segment::open(&**self.catalog.disk(), &meta) {
            Ok((file, head)) => {
                let scanner = Scanner::new(file, &head);
                self.at = Some(At { meta, scanner });
                Ok(())
            }
            Err(error) => {
                self.at = None;
                // Retention may have removed it since it was listed: then the oldest begins behind it.
                if !self.catalog.list()?.iter().any(|other| other.number == meta.number) {
                    return Ok(());
                }
                if error.kind() == ErrorKind::Io {
                    return Err(error);
                }
                let then = Then::After(meta.number);
                Err(self.stick(&meta, (0, self.want), error.message().to_owned(), then))
            }
        }
    }

    /// Goes on in the segment behind the one that was read to its end.
    fn go_on(&mut self, next: Meta) -> Result<bool> {
        let Some(at) = self.at.take() else {
            return Ok(true);
        };
        let expected = at.scanner.expected;
        let place = (at.scanner.offset, expected);
        if next.base == expected || (next.base > expected && next.base <= self.want) {
            self.open(next)?;
            return Ok(true);
        }
        if next.number == at.meta.number + 1 && next.base > expected {
            let what = format!("it ends although the next segment begins with record {}", next.base);
            return Err(self.stick(&at.meta, place, what, Then::Open(next)));
        }
        if next.base > expected {
            if self.catalog.list()?.first() == Some(&next) {
                return Ok(true);
            }
            let what = format!("the segments between it and {} are missing", next.name());
            return Err(self.stick(&at.meta, place, what, Then::Open(next)));
        }
        let what = format!("it begins with record {} although that was read already", next.base);
        Err(self.stick(&next, (0, expected), what, Then::Open(next.clone())))
    }

    /// Something else than a record. `true` if it does not matter and reading can go on, `false` if it is the
    /// unfinished end of the last segment.
    fn bad(&mut self, why: Why, extent: Extent) -> Result<bool> {
        let Some(at) = &mut self.at else {
            return Ok(true);
        };
        let reading = |error: std::io::Error| io_error(&error, format!("read segment {}", at.meta.name()));
        if extent.next.is_none() && self.catalog.may_be_unfinished() {
            let later = at.scanner.find(why, extent.limit, extent.most(), |head| head.group);
            if later.map_err(reading)?.is_none() {
                return Ok(false);
            }
            // What stands before a later group is finished, and may have been finished only since it was read.
            if !matches!(step(at, extent.limit)?, Step::Bad(_)) {
                self.at = None;
                return Ok(true);
            }
        }
        let reading = |error: std::io::Error| io_error(&error, format!("read segment {}", at.meta.name()));
        let next = at.scanner.find(why, extent.limit, extent.most(), |_| true).map_err(reading)?;
        if at.scanner.expected < self.want {
            // On the way to the wanted record: what lies before it does not matter.
            match (next, extent.next) {
                (Some(next), _) if next.1 <= self.want => {
                    at.scanner.go_to(next);
                    return Ok(true);
                }
                (None, Some(segment)) if segment.base <= self.want => {
                    self.open(segment)?;
                    return Ok(true);
                }
                _ => {}
            }
        }
        let place = (at.scanner.offset, at.scanner.expected);
        let meta = at.meta.clone();
        let error = self.stick(&meta, place, why.to_string(), Then::Find(why));
        if let Some(stuck) = &mut self.stuck {
            stuck.damage.next = next.map(|(_, seq)| seq);
        }
        Err(error)
    }

    pub(crate) fn gap_to(&mut self, to: Seq, why: &str) -> Error {
        let dir = self.catalog.disk().describe();
        if to <= self.want {
            self.gap = None;
            return Error::new(ErrorKind::Gap, format!("read {dir}: no record is missing: {why}"));
        }
        let (first, last) = (self.want.0, to.0 - 1);
        self.gap = Some(first..=last);
        Error::new(ErrorKind::Gap, format!("read {dir}: records {first} to {last} are missing: {why}"))
    }
}

fn step(at: &mut At, limit: u64) -> Result<Step> {
    at.scanner.step(limit).map_err(|error| io_error(&error, format!("read segment {}", at.meta.name())))
}
