//! Receipts for strangers: one JSON object per packet.

use std::time::SystemTime;

use haul_core::{Error, Packet, Result, Status};
use haul_event_log::Stored;
use serde::Serialize;

#[derive(Serialize)]
#[serde(tag = "receipt", rename_all = "lowercase")]
enum Json<'a> {
    Stored {
        seq: u64,
        session: &'a str,
        at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    Refused {
        kind: &'a str,
        status: &'a str,
        message: String,
    },
}

/// `{"receipt":"stored","seq":1,"session":"default","at":"...","id":"..."}`.
pub(crate) fn stored(stored: &Stored, session: &str) -> Result<Packet> {
    Packet::json(&Json::Stored {
        seq: stored.seq,
        session,
        at: rfc3339(stored.at),
        id: stored.id.map(|id| id.to_string()),
    })
}

/// `{"receipt":"refused","kind":"too_large","status":"permanent","message":"..."}`.
pub(crate) fn refused(why: &Error) -> Result<Packet> {
    Packet::json(&Json::Refused {
        kind: why.kind().as_str(),
        status: match why.status() {
            Status::Transient => "transient",
            Status::Permanent => "permanent",
            Status::Exhausted => "exhausted",
        },
        message: why.to_string(),
    })
}

/// A time as RFC 3339 has it, in UTC, to the microsecond.
pub fn rfc3339(at: SystemTime) -> String {
    match jiff::Timestamp::try_from(at) {
        Ok(at) => format!("{at:.6}"),
        // Before the year -9999 or after 9999.
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_time_is_utc_with_microseconds() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001);
        assert_eq!(rfc3339(at), "2023-11-14T22:13:20.000001Z");
    }

    #[test]
    fn a_refusal_says_what_kind_and_whether_to_try_again() {
        let why = Error::new(haul_core::ErrorKind::TooLarge, "too much");
        let text = refused(&why).unwrap();
        let expected =
            r#"{"receipt":"refused","kind":"too_large","status":"permanent","message":"too much"}"#;
        assert_eq!(text.as_text(), Some(expected));
    }
}
