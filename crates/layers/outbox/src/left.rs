//! What is left in an outbox, by key.

use std::collections::BTreeMap;
use std::time::SystemTime;

use haul_core::{ErrorKind, Result};
use haul_journal::Seq;

use crate::view::OutboxView;

/// How many keys are told apart in [`Left`].
const KEYS: usize = 10_000;

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
}
