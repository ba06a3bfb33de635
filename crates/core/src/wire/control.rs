//! The bodies of control and receipt frames.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes};

use super::codec::malformed;
use super::{Frame, MAX_NOTE, MAX_PING};
use crate::{CloseReason, Error, ErrorKind, Level, PacketId, Receipt, Result, Sent, Status};

#[derive(Clone, Copy)]
pub(super) enum Control {
    Ping = 1,
    Pong = 2,
    Finish = 3,
    Close = 4,
    Note = 5,
}

const REFUSED: u8 = 0xff;
const LEVELS: [Level; 4] = [Level::Discarded, Level::Sent, Level::Acknowledged, Level::Stored];
const STATUSES: [Status; 3] = [Status::Transient, Status::Permanent, Status::Exhausted];

/// `4 | code u16 | message`
pub(super) fn encode_close(reason: &CloseReason, out: &mut Vec<u8>) {
    out.push(Control::Close as u8);
    out.extend_from_slice(&reason.code.to_be_bytes());
    out.extend_from_slice(reason.message.as_bytes());
}

pub(super) fn decode(mut body: Bytes) -> Result<Frame> {
    let kind = body.try_get_u8().map_err(|_| malformed("a control frame without a type"))?;
    match kind {
        1 | 2 if body.len() > MAX_PING => {
            Err(malformed(format!("a ping or pong of {} bytes; at most {MAX_PING}", body.len())))
        }
        1 => Ok(Frame::Ping(body)),
        2 => Ok(Frame::Pong(body)),
        3 if body.is_empty() => Ok(Frame::Finish),
        3 => Err(malformed("a finish with a body")),
        4 => {
            let code = body.try_get_u16().map_err(|_| malformed("a close without a code"))?;
            if body.len() > 123 {
                return Err(malformed(format!("a close reason of {} bytes; at most 123", body.len())));
            }
            Ok(Frame::Close(CloseReason::new(code, text(&body)?)))
        }
        5 if body.len() > MAX_NOTE => {
            Err(malformed(format!("a note of {} bytes; at most {MAX_NOTE}", body.len())))
        }
        5 => Ok(Frame::Note(text(&body)?)),
        _ => Err(malformed(format!("unknown control type {kind}"))),
    }
}

/// `level u8 | at u64 us | reference`, or
/// `0xff | status u8 | sent u8 | retry after u64 ms, 0 for none | length u8 | kind | message`
pub(super) fn encode_outcome(outcome: &Result<Receipt>, out: &mut Vec<u8>) {
    match outcome {
        Ok(receipt) => {
            out.push(position(&LEVELS, &receipt.level));
            let at = receipt.at.duration_since(UNIX_EPOCH).unwrap_or_default();
            out.extend_from_slice(&u64::try_from(at.as_micros()).unwrap_or(u64::MAX).to_be_bytes());
            out.extend_from_slice(receipt.reference.as_deref().unwrap_or_default().as_bytes());
        }
        Err(error) => {
            out.extend_from_slice(&[
                REFUSED,
                position(&STATUSES, &error.status()),
                (error.sent() == Sent::Maybe).into(),
            ]);
            let wait = error.retry_after().map_or(0, |wait| wait.as_millis().max(1));
            out.extend_from_slice(&u64::try_from(wait).unwrap_or(u64::MAX).to_be_bytes());
            let kind = error.kind().as_str();
            out.push(kind.len() as u8);
            out.extend_from_slice(kind.as_bytes());
            let message = error.message();
            out.extend_from_slice(&message.as_bytes()[..message.floor_char_boundary(1024)]);
        }
    }
}

pub(super) fn decode_outcome(id: PacketId, mut body: Bytes) -> Result<Result<Receipt>> {
    let cut = |_| malformed("a receipt cut short");
    let level = body.try_get_u8().map_err(cut)?;
    if level != REFUSED {
        let level =
            *LEVELS.get(usize::from(level)).ok_or_else(|| malformed(format!("unknown level {level}")))?;
        let at = Duration::from_micros(body.try_get_u64().map_err(cut)?);
        let at = UNIX_EPOCH.checked_add(at).unwrap_or_else(SystemTime::now);
        let reference = text(&body)?;
        let reference = (!reference.is_empty()).then(|| reference.into());
        return Ok(Ok(Receipt { level, id: Some(id), reference, at }));
    }
    let status = body.try_get_u8().map_err(cut)?;
    let status =
        *STATUSES.get(usize::from(status)).ok_or_else(|| malformed(format!("unknown status {status}")))?;
    let sent = match body.try_get_u8().map_err(cut)? {
        0 => Sent::No,
        1 => Sent::Maybe,
        other => return Err(malformed(format!("unknown sent {other}"))),
    };
    let wait = body.try_get_u64().map_err(cut)?;
    let len = usize::from(body.try_get_u8().map_err(cut)?);
    if body.len() < len {
        return Err(malformed("a receipt cut short"));
    }
    // A kind of a later version is a refusal all the same.
    let kind = ErrorKind::from_name(&text(&body.split_to(len))?).unwrap_or(ErrorKind::Rejected);
    let error = Error::new(kind, text(&body)?).with_status(status).with_sent(sent);
    Ok(Err(if wait == 0 { error } else { error.with_retry_after(Duration::from_millis(wait)) }))
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| malformed("its text is not UTF-8"))
}

fn position<T: PartialEq>(all: &[T], one: &T) -> u8 {
    all.iter().position(|other| other == one).expect("the table has every value") as u8
}
