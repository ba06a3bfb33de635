//! `haul.v1` frames: any bytes are a frame or an error, and a frame is written as it is read.

use bytes::Bytes;
use haul_core::wire::{self, Frame, WriteBuf};
use haul_core::{ErrorKind, Result};

use crate::pieces::drain;

/// Up to here an error's message goes onto the wire whole.
const MESSAGE: usize = 1024;

pub(crate) fn run(data: &[u8]) {
    let read = match wire::decode(Bytes::copy_from_slice(data)) {
        Ok(frame) => frame,
        Err(why) => {
            assert!(matches!(why.kind(), ErrorKind::Protocol | ErrorKind::Codec), "{why}");
            return;
        }
    };
    let bytes = written(&read, wire::encode);
    let again = wire::decode(bytes.clone()).expect("what was written is read");
    if data.len() <= MESSAGE {
        assert_eq!(format!("{again:?}"), format!("{read:?}"));
    }
    assert_eq!(written(&again, wire::encode), bytes, "{again:?}");
    let prefixed = written(&read, wire::encode_prefixed);
    assert_eq!(prefixed[..4], u32::try_from(bytes.len()).expect("it is short").to_be_bytes());
    assert_eq!(prefixed[4..], bytes);
}

fn written(frame: &Frame, encode: fn(&Frame, &mut WriteBuf) -> Result<()>) -> Bytes {
    let mut out = WriteBuf::default();
    encode(frame, &mut out).expect("what was read is written");
    drain(out)
}
