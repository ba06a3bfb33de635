//! The bytes on disk; `docs/wire/journal.md` describes them.

use haul_core::{Error, ErrorKind, Result};

use crate::seq::Seq;

pub(crate) const MAGIC: [u8; 8] = *b"haul.jnl";
pub(crate) const VERSION: u32 = 1;
/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER: usize = 56;
/// Bytes of a record's header.
pub(crate) const RECORD_HEADER: usize = 32;
/// The largest payload that the format carries, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 1 << 30;
/// The longest name of a cursor, in bytes.
pub(crate) const MAX_NAME: usize = 255;
/// How many cursors a journal has at most.
pub(crate) const MAX_CURSORS: usize = 256;

const GROUP: u8 = 1;

/// What stands at the start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    /// The first value of every CRC in the segment, so that bytes of another segment are never taken for its own.
    pub(crate) salt: u32,
    pub(crate) number: u64,
    pub(crate) base: Seq,
    /// When it was made, in microseconds since 1970.
    pub(crate) created: u64,
    /// The time of the newest record before it; 0 if there is none.
    pub(crate) before: u64,
}

impl SegmentHead {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_be_bytes());
        out[12..16].copy_from_slice(&self.salt.to_be_bytes());
        out[16..24].copy_from_slice(&self.number.to_be_bytes());
        out[24..32].copy_from_slice(&self.base.0.to_be_bytes());
        out[32..40].copy_from_slice(&self.created.to_be_bytes());
        out[40..48].copy_from_slice(&self.before.to_be_bytes());
        let crc = crc(0, &out[..52]);
        out[52..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads a header; the error says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = |why: &'static str| Err(Error::new(ErrorKind::Codec, why));
        if bytes.len() < SEGMENT_HEADER {
            return damaged("the file is shorter than a segment's header");
        }
        if bytes[..8] != MAGIC {
            return damaged("it does not begin with \"haul.jnl\": not a segment");
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("format version {version}; this haul reads version {VERSION}"),
            ));
        }
        if u32_at(bytes, 52) != crc(0, &bytes[..52]) {
            return damaged("the header's checksum is wrong");
        }
        if u32_at(bytes, 48) != 0 {
            return damaged("the header's reserved bytes are not zero");
        }
        Ok(Self {
            salt: u32_at(bytes, 12),
            number: u64_at(bytes, 16),
            base: Seq(u64_at(bytes, 24)),
            created: u64_at(bytes, 32),
            before: u64_at(bytes, 40),
        })
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A payload of the user.
    Data,
    /// All cursors; the first record of every segment.
    Snapshot,
    /// A cursor has a new position.
    Cursor,
    /// A cursor is removed.
    Forget,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Snapshot => 1,
            Self::Cursor => 2,
            Self::Forget => 3,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Data,
            1 => Self::Snapshot,
            2 => Self::Cursor,
            3 => Self::Forget,
            _ => return None,
        })
    }
}

/// What stands before a record's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHead {
    pub(crate) kind: Kind,
    /// Everything before it in the segment was synced before it was written.
    pub(crate) group: bool,
    /// Of data, its number; of others, the number that the next data record gets.
    pub(crate) seq: Seq,
    /// Microseconds since 1970.
    pub(crate) time: u64,
}

impl RecordHead {
    pub(crate) fn encode(&self, salt: u32, payload: &[u8], out: &mut Vec<u8>) {
        let len = u32::try_from(payload.len()).expect("max_record keeps payloads below 1 GiB");
        let mut head = [0; RECORD_HEADER];
        head[4..8].copy_from_slice(&crc(salt, payload).to_be_bytes());
        head[8..12].copy_from_slice(&len.to_be_bytes());
        head[12] = self.kind.code();
        head[13] = if self.group { GROUP } else { 0 };
        head[16..24].copy_from_slice(&self.seq.0.to_be_bytes());
        head[24..].copy_from_slice(&self.time.to_be_bytes());
        let crc = crc(salt, &head[4..]);
        head[..4].copy_from_slice(&crc.to_be_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(payload);
    }

    /// Reads a header: itself, the length of the payload and its checksum. `None` if it is damaged.
    pub(crate) fn decode(bytes: &[u8; RECORD_HEADER], salt: u32) -> Option<(Self, usize, u32)> {
        let kind = Kind::from_code(bytes[12])?;
        let len = u32_at(bytes, 8) as usize;
        if bytes[13] > GROUP || bytes[14] != 0 || bytes[15] != 0 || len > MAX_PAYLOAD {
            return None;
        }
        if u32_at(bytes, 0) != crc(salt, &bytes[4..]) {
            return None;
        }
        let head =
            Self { kind, group: bytes[13] == GROUP, seq: Seq(u64_at(bytes, 16)), time: u64_at(bytes, 24) };
        Some((head, len, u32_at(bytes, 4)))
    }
}

/// The payload of a [`Kind::Cursor`] record.
pub(crate) fn encode_cursor(name: &str, position: Seq) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + name.len());
    out.extend_from_slice(&position.0.to_be_bytes());
    out.extend_from_slice(name.as_bytes());
    out
}

pub(crate) fn decode_cursor(payload: &[u8]) -> Option<(String, Seq)> {
    let (position, name) = payload.split_at_checked(8)?;
    Some((decode_name(name)?, Seq(u64_at(position, 0))))
}

pub(crate) fn decode_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    (1..=MAX_NAME).contains(&name.len()).then(|| name.to_owned())
}

/// The payload of a [`Kind::Snapshot`] record.
pub(crate) fn encode_snapshot<'a>(cursors: impl ExactSizeIterator<Item = (&'a String, &'a Seq)>) -> Vec<u8> {
    let count = u16::try_from(cursors.len()).expect("MAX_CURSORS keeps the count below 65,536");
    let mut out = count.to_be_bytes().to_vec();
    for (name, position) in cursors {
        out.push(u8::try_from(name.len()).expect("MAX_NAME keeps names below 256 bytes"));
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&position.0.to_be_bytes());
    }
    out
}

pub(crate) fn decode_snapshot(payload: &[u8]) -> Option<Vec<(String, Seq)>> {
    let (count, mut rest) = payload.split_at_checked(2)?;
    let count = u16::from_be_bytes([count[0], count[1]]);
    let mut cursors = Vec::new();
    for _ in 0..count {
        let (len, tail) = rest.split_first()?;
        let (name, tail) = tail.split_at_checked(usize::from(*len))?;
        let (position, tail) = tail.split_at_checked(8)?;
        cursors.push((decode_name(name)?, Seq(u64_at(position, 0))));
        rest = tail;
    }
    rest.is_empty().then_some(cursors)
}

/// CRC-32 (IEEE 802.3) of `bytes`, begun with `salt` instead of 0.
pub(crate) fn crc(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/wire/journal.md");
    const TIME: u64 = 1_700_000_000_000_000;
    const SALT: u32 = 0x0102_0304;

    /// The bytes of the example `name` in the description of the format.
    fn example(name: &str) -> Vec<u8> {
        let start = format!("```hex {name}\n");
        let (_, rest) = PAGE.split_once(&start).expect("the example is in the page");
        let (block, _) = rest.split_once("```").expect("the block ends");
        let digits: Vec<u8> = block.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
        pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn record(kind: Kind, group: bool, payload: &[u8]) -> Vec<u8> {
        let head = RecordHead { kind, group, seq: Seq(7), time: TIME };
        let mut out = Vec::new();
        head.encode(SALT, payload, &mut out);
        let mut raw = [0; RECORD_HEADER];
        raw.copy_from_slice(&out[..RECORD_HEADER]);
        let decoded = RecordHead::decode(&raw, SALT);
        assert_eq!(decoded, Some((head, payload.len(), crc(SALT, payload))));
        assert_eq!(RecordHead::decode(&raw, SALT + 1), None, "the salt is not heeded");
        out
    }

    #[test]
    fn the_bytes_are_those_of_the_description() {
        let head =
            SegmentHead { salt: SALT, number: 2, base: Seq(7), created: TIME, before: TIME - 1_000_000 };
        let cursors = [("forward".to_owned(), Seq(5)), ("x".to_owned(), Seq(7))].into();
        let snapshot = |cursors: &std::collections::BTreeMap<String, Seq>| encode_snapshot(cursors.iter());
        for (name, bytes) in [
            ("segment", head.encode().to_vec()),
            ("data", record(Kind::Data, true, b"hello")),
            ("empty", record(Kind::Data, false, b"")),
            ("snapshot", record(Kind::Snapshot, true, &snapshot(&cursors))),
            ("cursor", record(Kind::Cursor, false, &encode_cursor("forward", Seq(6)))),
            ("forget", record(Kind::Forget, false, b"forward")),
        ] {
            assert_eq!(hex(&bytes), hex(&example(name)), "{name}");
        }
        assert_eq!(SegmentHead::decode(&example("segment")).expect("a header"), head);
        assert_eq!(decode_snapshot(&snapshot(&cursors)), Some(cursors.into_iter().collect()));
        assert_eq!(decode_cursor(&encode_cursor("é", Seq(9))), Some(("é".to_owned(), Seq(9))));
    }

    #[test]
    fn the_checksum_is_the_usual_crc_32() {
        assert_eq!(crc(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(crc(crc(0, b"1234"), b"56789"), 0xcbf4_3926);
    }

    #[test]
    fn payloads_of_another_form_are_refused() {
        for payload in [&[0, 1][..], &[0, 0, 9], &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1], &[0, 1, 9, b'x'], &[0]] {
            assert_eq!(decode_snapshot(payload), None, "{payload:?}");
        }
        assert_eq!(decode_cursor(&[0; 8]), None, "no name");
        assert_eq!(decode_cursor(&[0; 3]), None, "no position");
        assert_eq!(decode_name(&[0xff]), None, "not UTF-8");
        assert_eq!(decode_name(&[b'x'; 256]), None, "too long");
    }
}
