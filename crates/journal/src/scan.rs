//! Reading a segment record by record, and finding the next whole record behind damage.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::DiskFile;
use crate::format::{self, Kind, RECORD_HEADER, RecordHead, SEGMENT_HEADER, SegmentHead};
use crate::seq::Seq;

/// How much is read at once; a longer record is read whole.
pub(crate) const CHUNK: usize = 128 << 10;

/// What is at a place of a segment.
pub(crate) enum Step {
    /// A whole record, whose checksums are right and whose number is the expected one.
    Record(Found),
    /// The end, exactly.
    End,
    /// Something else.
    Bad(Why),
}

pub(crate) struct Found {
    pub(crate) head: RecordHead,
    pub(crate) payload: Bytes,
    pub(crate) offset: u64,
}

/// Why bytes are not the record that should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The segment ends within a record.
    Cut,
    /// The checksum of the header is wrong.
    Head,
    /// The header is right, the payload's checksum is not. `next` is where the record behind it stands.
    Payload { next: u64 },
    /// A whole record with another number than expected.
    Number(Seq),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("it ends within a record"),
            Self::Head => f.write_str("the checksum of a record's header is wrong"),
            Self::Payload { .. } => f.write_str("the checksum of a record's payload is wrong"),
            Self::Number(seq) => write!(f, "record {seq} stands here"),
        }
    }
}

/// Reads a segment from one record to the next.
pub(crate) struct Scanner {
    file: Arc<dyn DiskFile>,
    salt: u32,
    /// Where the next record stands.
    pub(crate) offset: u64,
    /// The number that the next data record must have.
    pub(crate) expected: Seq,
    chunk: Bytes,
    chunk_at: u64,
}

impl Scanner {
    /// From the first record behind the header.
    pub(crate) fn new(file: Arc<dyn DiskFile>, head: &SegmentHead) -> Self {
        Self {
            file,
            salt: head.salt,
            offset: SEGMENT_HEADER as u64,
            expected: head.base,
            chunk: Bytes::new(),
            chunk_at: 0,
        }
    }

    pub(crate) fn file(&self) -> &dyn DiskFile {
        &*self.file
    }

    /// Whether the bytes at hand reach behind the next record's header: a step would probably read nothing.
    pub(crate) fn has_more_at_hand(&self) -> bool {
        self.chunk_at + self.chunk.len() as u64 >= self.offset + RECORD_HEADER as u64
    }

    /// The next record of the first `limit` bytes. It goes on only over a good record.
    pub(crate) fn step(&mut self, limit: u64) -> io::Result<Step> {
        if self.offset >= limit {
            return Ok(Step::End);
        }
        let Some(head) = self.bytes(0, RECORD_HEADER, limit)? else {
            return Ok(self.bad(Why::Cut));
        };
        let mut raw = [0; RECORD_HEADER];
        raw.copy_from_slice(&head);
        let Some((head, len, crc)) = RecordHead::decode(&raw, self.salt) else {
            return Ok(self.bad(Why::Head));
        };
        let Some(payload) = self.bytes(RECORD_HEADER, len, limit)? else {
            return Ok(self.bad(Why::Cut));
        };
        let next = self.offset + (RECORD_HEADER + len) as u64;
        if format::crc(self.salt, &payload) != crc {
            return Ok(self.bad(Why::Payload { next }));
        }
        if head.seq != self.expected {
            return Ok(self.bad(Why::Number(head.seq)));
        }
        let offset = std::mem::replace(&mut self.offset, next);
        if head.kind == Kind::Data {
            self.expected = head.seq.next();
        }
        Ok(Step::Record(Found { head, payload, offset }))
    }

    /// Forgets what was read ahead: the file may have changed there.
    fn bad(&mut self, why: Why) -> Step {
        self.chunk = Bytes::new();
        Step::Bad(why)
    }

    /// `len` bytes from `skip` behind the current offset; `None` if they reach over `limit` or the end of the file.
    fn bytes(&mut self, skip: usize, len: usize, limit: u64) -> io::Result<Option<Bytes>> {
        let from = self.offset + skip as u64;
        if from + len as u64 > limit {
            return Ok(None);
        }
        let held = self.chunk_at + self.chunk.len() as u64;
        if from < self.chunk_at || from + len as u64 > held {
            let want = (len.max(CHUNK) as u64).min(limit - from);
            self.chunk = read(&*self.file, from, want as usize)?;
            self.chunk_at = from;
            if self.chunk.len() < len {
                return Ok(None);
            }
        }
        let at = (from - self.chunk_at) as usize;
        Ok(Some(self.chunk.slice(at..at + len)))
    }

    /// Looks behind the bad place at `offset` for a whole record that `wanted` accepts, and answers its offset and
    /// number. Numbers before the expected one do not come back, and none is above `most`.
    pub(crate) fn find(
        &self,
        why: Why,
        limit: u64,
        most: Option<Seq>,
        wanted: impl Fn(&RecordHead) -> bool,
    ) -> io::Result<Option<(u64, Seq)>> {
        let mut from = match why {
            Why::Payload { next } => next,
            Why::Number(_) => self.offset,
            Why::Cut | Why::Head => self.offset + 1,
        };
        let mut window = Bytes::new();
        let mut at = from;
        while from + RECORD_HEADER as u64 <= limit {
            let mut within = (from - at) as usize;
            if window.len() < within + RECORD_HEADER {
                window = read(&*self.file, from, CHUNK.min((limit - from) as usize))?;
                (at, within) = (from, 0);
                if window.len() < RECORD_HEADER {
                    break;
                }
            }
            let mut raw = [0; RECORD_HEADER];
            raw.copy_from_slice(&window[within..within + RECORD_HEADER]);
            if let Some((head, len, crc)) = RecordHead::decode(&raw, self.salt) {
                let behind = from + (RECORD_HEADER + len) as u64;
                let numbered = head.seq >= self.expected && most.is_none_or(|most| head.seq <= most);
                let plausible = numbered && behind <= limit;
                if plausible && wanted(&head) {
                    let payload = read(&*self.file, from + RECORD_HEADER as u64, len)?;
                    if format::crc(self.salt, &payload) == crc {
                        return Ok(Some((from, head.seq)));
                    }
                }
            }
            from += 1;
        }
        Ok(None)
    }

    /// Goes to a record that [`find`](Self::find) found.
    pub(crate) fn go_to(&mut self, (offset, seq): (u64, Seq)) {
        self.offset = offset;
        self.expected = seq;
        self.chunk = Bytes::new();
    }
}

/// At most `len` bytes at `offset`; fewer where the file ends.
fn read(file: &dyn DiskFile, offset: u64, len: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; len];
    let got = file.read_at(offset, &mut bytes)?;
    bytes.truncate(got);
    Ok(bytes.into())
}
