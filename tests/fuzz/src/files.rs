//! Files in every format: the same records however the bytes are cut, and every byte is accounted for.

use std::time::SystemTime;

use bytes::BytesMut;
use haul_core::{ErrorKind, Packet};

use crate::Format;
use crate::pieces::{cut, take};
use crate::record::{Splitter, decode, encode};

const FORMATS: [Format; 3] = [Format::Jsonl, Format::Raw, Format::Length];

/// The bounds of records that are tried.
const BOUNDS: [usize; 3] = [1, 20, 16 << 20];

type Found = Result<Packet, ErrorKind>;

/// Format and bound, the cuts, and the bytes of the file.
pub(crate) fn run(mut data: &[u8]) {
    let (choice, seed) = (usize::from(take(&mut data)), take(&mut data));
    let format = FORMATS[choice % FORMATS.len()];
    let bound = BOUNDS[choice / FORMATS.len() % BOUNDS.len()];
    let whole = read(format, bound, &[data]);
    assert_eq!(read(format, bound, &cut(data, seed)), whole, "{format:?}");
    for packet in whole.into_iter().flatten() {
        let mut out = Vec::new();
        encode(format, &packet, SystemTime::UNIX_EPOCH, &mut out).expect("what was read is written");
        assert_eq!(read(format, usize::MAX, &[&out]), [Ok(packet)], "{format:?}");
    }
}

fn read(format: Format, bound: usize, pieces: &[&[u8]]) -> Vec<Found> {
    let mut splitter = Splitter::new(format, bound);
    let (mut buffer, mut found, mut passed, mut taken) = (BytesMut::new(), Vec::new(), 0, 0);
    let mut judge = |cut: (haul_core::Result<bytes::Bytes>, u64)| {
        taken += cut.1;
        found.push(cut.0.and_then(|record| {
            assert!(record.len() <= bound, "a record of {} bytes, at most {bound}", record.len());
            decode(format, record)
        }));
    };
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(cut) = splitter.next(&mut buffer, &mut passed) {
            judge(cut);
        }
    }
    if let Some(cut) = splitter.finish(&mut buffer) {
        judge(cut);
    }
    let all: usize = pieces.iter().map(|piece| piece.len()).sum();
    assert_eq!(taken + passed, all as u64, "bytes of the file are not accounted for");
    found.into_iter().map(|found| found.map_err(|why| why.kind())).collect()
}
