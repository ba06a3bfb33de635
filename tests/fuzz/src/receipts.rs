//! Receipts for strangers: whatever was refused, the answer is one JSON object on one line.

use std::time::{Duration, SystemTime};

use haul_core::{Error, ErrorKind, Status};

use crate::pieces::take;
use crate::receipt::{refused, rfc3339};

const KINDS: [ErrorKind; 4] =
    [ErrorKind::TooLarge, ErrorKind::Rejected, ErrorKind::Protocol, ErrorKind::Unauthorized];
const STATUSES: [Status; 3] = [Status::Transient, Status::Permanent, Status::Exhausted];

/// Kind and status, a time, and the message.
pub(crate) fn run(mut data: &[u8]) {
    let choice = usize::from(take(&mut data));
    let micros = (0..8).fold(0, |micros, _| micros << 8 | u64::from(take(&mut data)));
    let at = rfc3339(SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
    assert!(at.is_empty() || at.ends_with('Z'), "{at}");
    let message = String::from_utf8_lossy(data).into_owned();
    let (kind, status) = (KINDS[choice % KINDS.len()], STATUSES[choice / KINDS.len() % STATUSES.len()]);
    let why = Error::new(kind, message).with_status(status);
    let packet = refused(&why).expect("an error is written");
    let text = packet.as_text().expect("JSON is text");
    assert!(!text.contains('\n'), "{text}");
    let read: serde_json::Value = serde_json::from_str(text).expect("JSON is read");
    assert_eq!(read["message"], why.to_string());
    assert_eq!((read["receipt"].as_str(), read["kind"].as_str()), (Some("refused"), Some(kind.as_str())));
}
