//! Reading an outbox without writing it, also while a program has it open. All calls block.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use haul_core::{Error, ErrorKind, Result};
use haul_journal::{Report, Seq, View};

use crate::letter::{self, Record};
use crate::place::{DEAD, PACKETS, SETTLED, key_of_cursor};
use crate::readers::{DeadLetters, PendingPackets};
use crate::record::Codec;
use crate::seal::Seal;
use crate::secret::SecretKey;

/// An outbox opened for reading only.
///
/// The newest packets it shows may not be synced yet, so that a crash of the machine can still take them back.
#[derive(Clone)]
pub struct OutboxView {
    dir: PathBuf,
    pub(crate) packets: View,
    pub(crate) dead: View,
    pub(crate) codec: Arc<Codec>,
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
