//! Reading a log without writing it, also while another process writes.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::SystemTime;

use haul_core::{Error, Result};
use haul_journal::{Report, Seq, View, ViewReader};

use crate::dead::{self, DeadLetter};
use crate::event::Event;
use crate::log::CURSOR;
use crate::record;

/// The directory of the events within the log's.
pub(crate) const EVENTS: &str = "events";

/// The directory of the dead letters within the log's.
pub(crate) const DEAD: &str = "dead";

/// An event with its number in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// Its number: events count from 1, without holes.
    pub seq: u64,
    /// The event.
    pub event: Event,
}

/// Which events to read; the default is all.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The number to begin at; 0 is the oldest.
    pub from: u64,
    /// The last number, if there is an end.
    pub to: Option<u64>,
    /// One session alone.
    pub session: Option<String>,
    /// Received at this time or later.
    pub since: Option<SystemTime>,
    /// Received before this time.
    pub until: Option<SystemTime>,
}

impl Query {
    fn wants(&self, event: &Event) -> bool {
        self.session.as_ref().is_none_or(|session| *session == event.session)
            && self.since.is_none_or(|since| event.received >= since)
            && self.until.is_none_or(|until| event.received < until)
    }
}

/// A session in lists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The session, as its senders named it; [`session_name`](crate::session_name) makes it fit to print.
    pub session: String,
    /// Its events.
    pub events: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Number of the first.
    pub first: u64,
    /// Number of the last.
    pub last: u64,
    /// When the first was received.
    pub first_at: SystemTime,
    /// When the last was received.
    pub last_at: SystemTime,
}

/// A route in lists: a sink, attached or not, that has a place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteInfo {
    /// Its name.
    pub name: String,
    /// Number of the first event that it has not got.
    pub position: u64,
    /// Events that it has not got.
    pub events: u64,
    /// Size in bytes of the files that retention keeps for it.
    pub bytes: u64,
}

/// A log opened for reading only: for tools that look at it while a gateway writes it. All calls block.
///
/// The newest events it shows may not be synced yet, so that a crash of the machine can still take them back.
#[derive(Clone)]
pub struct LogView {
    events: View,
    dead: Option<View>,
}

impl LogView {
    /// The log in the directory `dir`. Errors: `NotFound` if there is none; `Io`.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let events = View::open(dir.join(EVENTS))
            .map_err(|why| why.while_doing(format!("read the event log in {}", dir.display())))?;
        let dead = dir.join(DEAD);
        let dead = dead.is_dir().then(|| View::open(dead)).transpose()?;
        Ok(Self { events, dead })
    }

    /// Reads the events that `query` asks for, in order.
    pub fn read(&self, query: Query) -> Result<Events> {
        let oldest = self.events.first()?.unwrap_or(Seq::FIRST);
        let from = match query.from {
            0 => oldest,
            from => Seq(from),
        };
        Ok(Events { reader: self.events.reader(from), query, failed: None })
    }

    /// The number that the next event will have.
    pub fn next(&self) -> Result<u64> {
        let last = self.events.segments()?.pop();
        Ok(last.map_or(Seq::FIRST, |segment| segment.next).0)
    }

    /// The sessions, by id, from a scan of all there is.
    ///
    /// Errors: the first damage found, `Io`.
    pub fn sessions(&self) -> Result<Vec<SessionInfo>> {
        let mut sessions: BTreeMap<String, SessionInfo> = BTreeMap::new();
        let mut events = self.read(Query::default())?;
        while let Some(Recorded { seq, event }) = events.read()? {
            let bytes = event.packet.len() as u64;
            match sessions.get_mut(&event.session) {
                Some(info) => {
                    info.events += 1;
                    info.bytes += bytes;
                    (info.last, info.last_at) = (seq, event.received);
                }
                None => {
                    let info = SessionInfo {
                        session: event.session.clone(),
                        events: 1,
                        bytes,
                        first: seq,
                        last: seq,
                        first_at: event.received,
                        last_at: event.received,
                    };
                    sessions.insert(event.session, info);
                }
            }
        }
        Ok(sessions.into_values().collect())
    }

    /// The routes that have a place in the log, attached or not, by name.
    pub fn routes(&self) -> Result<Vec<RouteInfo>> {
        let segments = self.events.segments()?;
        let next = segments.last().map_or(Seq::FIRST, |segment| segment.next);
        let route = |(cursor, position): (String, Seq)| {
            let name = cursor.strip_prefix(CURSOR)?.to_owned();
            let holds =
                segments.iter().filter(|segment| segment.next > position && segment.next > segment.first);
            let bytes = holds.map(|segment| segment.bytes).sum();
            Some(RouteInfo { name, position: position.0, events: next.0.saturating_sub(position.0), bytes })
        };
        Ok(self.events.cursors()?.into_iter().filter_map(route).collect())
    }

    /// The dead letters, oldest first.
    pub fn dead(&self) -> Result<DeadLetters> {
        let Some(view) = &self.dead else {
            return Ok(DeadLetters(None));
        };
        let from = view.first()?.unwrap_or(Seq::FIRST);
        Ok(DeadLetters(Some(view.reader(from))))
    }

    /// Reads everything and lists all that is wrong.
    pub fn verify(&self) -> Result<Verified> {
        let mut verified = Verified {
            events: self.events.verify()?,
            dead: self.dead.as_ref().map(View::verify).transpose()?,
            unreadable: Vec::new(),
        };
        let mut events = self.read(Query::default())?;
        loop {
            match events.read() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(verified),
                Err(why) => {
                    // What the journal itself sees as damage is in its report.
                    if let Some(seq) = events.failed() {
                        verified.unreadable.push((seq, why));
                    }
                    events.skip();
                }
            }
        }
    }
}

impl std::fmt::Debug for LogView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogView").finish_non_exhaustive()
    }
}

/// What [`LogView::verify`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verified {
    /// The events' files.
    pub events: Report,
    /// The dead letters' files, if there are any.
    pub dead: Option<Report>,
    /// Whole records that are no events, with their numbers.
    pub unreadable: Vec<(u64, Error)>,
}

impl Verified {
    /// Whether nothing is wrong. An unfinished end is not wrong: it is being written, or opening cuts it off.
    pub fn is_sound(&self) -> bool {
        let dead = self.dead.as_ref().is_none_or(|dead| dead.damage.is_empty());
        self.events.damage.is_empty() && dead && self.unreadable.is_empty()
    }
}

/// Reads events in order.
pub struct Events {
    reader: ViewReader,
    query: Query,
    /// The number of the record that could not be decoded last.
    failed: Option<u64>,
}

impl Events {
    /// The next event; `None` if there is no more at the moment. To follow a log that another process writes, call it
    /// again after a while.
    ///
    /// Errors: `Gap` once where events are missing; `Codec` for damage, again at each call until
    /// [`skip`](Self::skip), and once for a record that is no event; `Io`.
    pub fn read(&mut self) -> Result<Option<Recorded>> {
        self.failed = None;
        loop {
            if self.query.to.is_some_and(|to| self.reader.position().0 > to) {
                return Ok(None);
            }
            let Some(record) = self.reader.read()? else {
                return Ok(None);
            };
            let seq = record.seq.0;
            if self.query.to.is_some_and(|to| seq > to) {
                return Ok(None);
            }
            let event = record::decode(record.payload).map_err(|why| {
                self.failed = Some(seq);
                why.while_doing(format!("read event {seq}"))
            })?;
            if self.query.wants(&event) {
                return Ok(Some(Recorded { seq, event }));
            }
        }
    }

    /// The number of the record that the last error was about, if it was whole but no event.
    pub fn failed(&self) -> Option<u64> {
        self.failed
    }

    /// Goes past the damage that the last error reported.
    pub fn skip(&mut self) {
        if self.failed.is_none() {
            self.reader.skip();
        }
    }

    /// The numbers that the last `Gap` error left out.
    pub fn gap(&self) -> Option<RangeInclusive<u64>> {
        self.reader.gap()
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("query", &self.query).finish_non_exhaustive()
    }
}

/// Reads dead letters in order.
pub struct DeadLetters(Option<ViewReader>);

impl DeadLetters {
    /// The next one; `None` if there is no more at the moment. Errors: `Codec` for damage, `Io`.
    pub fn read(&mut self) -> Result<Option<DeadLetter>> {
        let Some(reader) = &mut self.0 else {
            return Ok(None);
        };
        reader.read()?.map(|record| dead::decode(record.payload)).transpose()
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
}
