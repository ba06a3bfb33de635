//! What waits and what was refused, one by one.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use haul_core::{ErrorKind, Packet, Result};
use haul_journal::ViewReader;

use crate::letter::{self, DeadLetter, Record};
use crate::record::Codec;

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

/// Reads packets that wait, in order.
pub struct PendingPackets {
    pub(crate) reader: ViewReader,
    pub(crate) codec: Arc<Codec>,
    pub(crate) failed: Option<u64>,
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
    pub(crate) reader: ViewReader,
    pub(crate) codec: Arc<Codec>,
    pub(crate) settled: HashSet<u64>,
    pub(crate) failed: Option<u64>,
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
    pub(crate) fn count(&mut self) -> Result<u64> {
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
