//! Records of the event log: any bytes are an event or an error, and an event is written as it is read.

use bytes::Bytes;
use haul_core::ErrorKind;

use crate::event_record::{decode, encode};

pub(crate) fn run(data: &[u8]) {
    let event = match decode(Bytes::copy_from_slice(data)) {
        Ok(event) => event,
        Err(why) => {
            let kinds = [ErrorKind::Codec, ErrorKind::Protocol, ErrorKind::Unsupported];
            assert!(kinds.contains(&why.kind()), "{why}");
            return;
        }
    };
    match encode(event.clone()) {
        Ok(bytes) => {
            let again = decode(bytes.clone()).expect("what was written is read");
            assert_eq!(encode(again).expect("it was written before"), bytes);
        }
        // Longer than any that was ever taken.
        Err(why) => assert_eq!(why.kind(), ErrorKind::TooLarge, "{why}"),
    }
}
