//! Reading an outbox without writing it, also while a program has it open. All calls block.

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Packet, Result};
use haul_journal::{Report, Seq, View, ViewReader};

use crate::letter::{self, DeadLetter, Record};
use crate::place::{DEAD, PACKETS, SETTLED, key_of_cursor};
use crate::record::Codec;
use crate::seal::Seal;
use crate::secret::SecretKey;

/// How many keys are told apart in [`Left`].
const KEYS: usize = 10_000;

/// An outbox opened for reading only.
///
/// The newest packets it shows may not be synced yet, so that a crash of the machine can still take them back.
#[derive(Clone)]
pub struct OutboxView {
    dir: PathBuf,
    packets: View,
    dead: View,
    codec: Arc<Codec>,
}

/// A packet that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingPacket {
    /// Its number.
    pub seq: u64,
    /// When it was stored.
    pub stored: SystemTime,
    /// What orders it.
    pub key: String,
    /// The packet.
    pub packet: Packet,
}

/// What is left in an outbox.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Left {
    /// Packets that wait.
    pub packets: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// When the oldest was stored.
    pub oldest: Option<SystemTime>,
    /// The keys that they have, by name; of more than 10,000, those whose packets are oldest. None where they are sealed
    /// and no key was given.
    pub keys: Vec<KeyInfo>,
    /// Packets of other keys.
    pub others: u64,
    /// Dead letters.
    pub dead: u64,
    /// Size in bytes on disk, dead letters included.
    pub disk: u64,
}

/// A key in lists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// The key.
    pub key: String,
    /// Its packets that wait.
    pub packets: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// The number of the oldest.
    pub first: u64,
    /// When that was stored.
    pub oldest: SystemTime,
}

impl OutboxView {
    /// The outbox in the folder `dir`. Without the `key` of a sealed one, packets can be counted and not read.
    ///
    /// Errors: `NotFound` if there is none; `Io`.
    pub fn open(dir: impl AsRef<Path>, key: Option<&SecretKey>) -> Result<Self> {
        let dir = dir.as_ref();
        let folder = |name: &str| {
            View::open(dir.join(name))
                .map_err(|why| why.while_doing(format!("read the outbox in {}", dir.display())))
        };
        Ok(Self {
            dir: dir.to_owned(),
            packets: folder(PACKETS)?,
            dead: folder(DEAD)?,
            codec: Arc::new(Codec { seal: key.map(Seal::new).transpose()? }),
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The number of the first packet that waits.
    pub fn position(&self) -> Result<u64> {
        let of_packets = |(name, at): (String, Seq)| key_of_cursor(&name).map(|_| at);
        let at = self.packets.cursors()?.into_iter().filter_map(of_packets).max();
        Ok(at.or(self.packets.first()?).unwrap_or(Seq::FIRST).0)
    }

    /// The packets that wait, oldest first.
    pub fn pending(&self) -> Result<PendingPackets> {
        let reader = self.packets.reader(Seq(self.position()?));
        Ok(PendingPackets { reader, codec: self.codec.clone(), failed: None })
    }

    /// The dead letters that are not settled, oldest first.
    pub fn dead(&self) -> Result<DeadLetters> {
        let settled = self.dead.cursors()?.into_iter().find(|(name, _)| name == SETTLED);
        let from = match settled {
            Some((_, at)) => at,
            None => self.dead.first()?.unwrap_or(Seq::FIRST),
        };
        let mut marks = self.dead.reader(from);
        let mut settled = HashSet::new();
        loop {
            match marks.read() {
                Ok(Some(record)) if letter::is_mark(&record.payload) => {
                    if let Record::Settled(id) = letter::decode(&self.codec, record.seq.0, record.payload)? {
                        settled.insert(id);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(why) if why.kind() == ErrorKind::Io => return Err(why),
                // It is told when the letters are read.
                Err(_) => marks.skip(),
            }
        }
        Ok(DeadLetters { reader: self.dead.reader(from), codec: self.codec.clone(), settled, failed: None })
    }

    /// Counts what is left, from a scan of it. Errors: `Io`; damage is passed over.
    pub fn left(&self) -> Result<Left> {
        let mut left = Left::default();
        let mut keys: BTreeMap<String, KeyInfo> = BTreeMap::new();
        let mut reader = self.packets.reader(Seq(self.position()?));
        loop {
            let record = match reader.read() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(why) if why.kind() == ErrorKind::Io => return Err(why),
                Err(_) => {
                    reader.skip();
                    continue;
                }
            };
            let (bytes, stored) = (record.payload.len() as u64, record.time());
            left.packets += 1;
            left.bytes += bytes;
            left.oldest.get_or_insert(stored);
            let Ok((key, _)) = self.codec.decode(record.payload) else {
                left.others += 1;
                continue;
            };
            let full = keys.len() >= KEYS;
            match keys.get_mut(&key) {
                Some(info) => {
                    info.packets += 1;
                    info.bytes += bytes;
                }
                None if full => left.others += 1,
                None => {
                    let (first, oldest) = (record.seq.0, stored);
                    keys.insert(key.clone(), KeyInfo { key, packets: 1, bytes, first, oldest });
                }
            }
        }
        left.keys = keys.into_values().collect();
        left.dead = self.dead()?.count()?;
        for view in [&self.packets, &self.dead] {
            left.disk += view.segments()?.iter().map(|segment| segment.bytes).sum::<u64>();
        }
        Ok(left)
    }

    /// Reads everything and lists all that is wrong; nothing is changed. What is sealed is opened where there is a key.
    pub fn verify(&self) -> Result<Verified> {
        let mut wrong = Vec::new();
        let (packets, dead) = (self.packets.verify()?, self.dead.verify()?);
        wrong.extend(packets.damage.iter().map(|damage| format!("packets: {damage}")));
        wrong.extend(dead.damage.iter().map(|damage| format!("dead letters: {damage}")));
        let sealed = |why: &Error| why.kind() == ErrorKind::Unauthorized && self.codec.seal.is_none();
        let mut unread = 0;
        let mut pending = self.pending()?;
        loop {
            match pending.read() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(why) => match pending.failed() {
                    Some(_) if sealed(&why) => unread += 1,
                    Some(seq) => wrong.push(format!("packet {seq}: {why}")),
                    // What the journal itself sees as damage is in its report.
                    None => pending.skip(),
                },
            }
        }
        let mut letters = self.dead()?;
        loop {
            match letters.read() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(why) => match letters.failed {
                    Some(_) if sealed(&why) => unread += 1,
                    Some(id) => wrong.push(format!("dead letter {id}: {why}")),
                    None => letters.skip(),
                },
            }
        }
        Ok(Verified { packets, dead, wrong, unread })
    }
}

impl std::fmt::Debug for OutboxView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboxView").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// What [`OutboxView::verify`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verified {
    /// The packets' files.
    pub packets: Report,
    /// The dead letters' files.
    pub dead: Report,
    /// Everything that is wrong. An unfinished end is not: it is being written, or opening cuts it off.
    pub wrong: Vec<String>,
    /// Records that are sealed, and were not looked into as no key was given.
    pub unread: u64,
}

/// Reads packets that wait, in order.
pub struct PendingPackets {
    reader: ViewReader,
    codec: Arc<Codec>,
    failed: Option<u64>,
}

impl PendingPackets {
    /// The next one; `None` if there is no more at the moment.
    ///
    /// Errors: `Gap` once where packets are missing; `Codec` for damage, again at each call until [`skip`](Self::skip),
    /// and once for a record that is no packet; `Unauthorized` once for one that another key sealed; `Io`.
    pub fn read(&mut self) -> Result<Option<PendingPacket>> {
        self.failed = None;
        let Some(record) = self.reader.read()? else {
            return Ok(None);
        };
        let (seq, stored) = (record.seq.0, record.time());
        let (key, packet) = self.codec.decode(record.payload).map_err(|why| {
            self.failed = Some(seq);
            why.while_doing(format!("read packet {seq}"))
        })?;
        Ok(Some(PendingPacket { seq, stored, key, packet }))
    }

    /// The number of the record that the last error was about, if it was whole.
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

impl std::fmt::Debug for PendingPackets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingPackets").finish_non_exhaustive()
    }
}

/// Reads dead letters in order.
pub struct DeadLetters {
    reader: ViewReader,
    codec: Arc<Codec>,
    settled: HashSet<u64>,
    failed: Option<u64>,
}

impl DeadLetters {
    /// The next one; `None` if there is no more at the moment. Errors: as [`PendingPackets::read`].
    pub fn read(&mut self) -> Result<Option<DeadLetter>> {
        Ok(self.next()?.map(|(letter, _)| letter))
    }

    /// The same with the packet's own record.
    pub(crate) fn next(&mut self) -> Result<Option<(DeadLetter, Bytes)>> {
        self.failed = None;
        loop {
            let Some(record) = self.reader.read()? else {
                return Ok(None);
            };
            let id = record.seq.0;
            if letter::is_mark(&record.payload) || self.settled.contains(&id) {
                continue;
            }
            let read = letter::decode(&self.codec, id, record.payload).map_err(|why| {
                self.failed = Some(id);
                why.while_doing(format!("read dead letter {id}"))
            })?;
            if let Record::Letter(letter, record) = read {
                return Ok(Some((*letter, record)));
            }
        }
    }

    /// Counts them, also those that cannot be read.
    fn count(&mut self) -> Result<u64> {
        let mut count = 0;
        loop {
            match self.reader.read() {
                Ok(Some(record)) if letter::is_mark(&record.payload) => {}
                Ok(Some(record)) => count += u64::from(!self.settled.contains(&record.seq.0)),
                Ok(None) => return Ok(count),
                Err(why) if why.kind() == ErrorKind::Io => return Err(why),
                Err(_) => self.reader.skip(),
            }
        }
    }

    /// Goes past the damage that the last error reported.
    pub fn skip(&mut self) {
        if self.failed.is_none() {
            self.reader.skip();
        }
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
}
