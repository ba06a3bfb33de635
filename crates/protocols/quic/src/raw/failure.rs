//! quinn's errors in haul's words.

use std::ops::RangeInclusive;

use haul_core::{CloseReason, Error, ErrorKind, Status};
use quinn::{ConnectionError, ReadError, TransportErrorCode, VarInt, WriteError};

use super::Transport;

/// Why a connection ended.
pub fn lost(why: &ConnectionError) -> Error {
    match why {
        ConnectionError::ApplicationClosed(close) => {
            closed(close.error_code, &String::from_utf8_lossy(&close.reason))
        }
        ConnectionError::ConnectionClosed(close) => {
            transport(close.error_code, &String::from_utf8_lossy(&close.reason), Whose::Peer)
        }
        ConnectionError::TransportError(error) => transport(error.code, &error.reason, Whose::Ours),
        ConnectionError::TimedOut => Error::new(ErrorKind::Timeout, "the peer was silent for too long"),
        ConnectionError::Reset => Error::new(ErrorKind::Closed, "the peer no longer knows this connection"),
        ConnectionError::LocallyClosed => Error::new(ErrorKind::Closed, "the session is closed"),
        ConnectionError::VersionMismatch => {
            Error::new(ErrorKind::Protocol, "the peer speaks no QUIC version of ours")
        }
        ConnectionError::CidsExhausted => {
            Error::new(ErrorKind::Overloaded, "too many connections on one socket")
        }
    }
}

/// WebTransport's codes as codes of HTTP/3 (draft-ietf-webtrans-http3 section 4.3), from the first to the last.
const WEBTRANSPORT: RangeInclusive<u64> = 0x52e4_a40f_a8db..=0x52e5_ac98_3162;

/// A close code as WebTransport says it on the streams of HTTP/3.
pub fn webtransport(code: u16) -> VarInt {
    let code = u64::from(code);
    VarInt::from_u64(WEBTRANSPORT.start() + code + code / 0x1e).expect("all of them are below 2^62")
}

/// A code as it was meant.
fn plain(code: VarInt) -> u64 {
    let code = code.into_inner();
    if !WEBTRANSPORT.contains(&code) {
        return code;
    }
    let shifted = code - WEBTRANSPORT.start();
    shifted - shifted / 0x1f
}

/// The peer closed the session, and said why.
pub fn closed(code: VarInt, text: &str) -> Error {
    let code = plain(code);
    let message = match u16::try_from(code) {
        Ok(known) => format!("the peer closed the session: {}", CloseReason::new(known, text.to_owned())),
        Err(_) => format!("the peer closed the session: code {code:#x}, {text:?}"),
    };
    Error::new(ErrorKind::Closed, message).with("code", code)
}

#[derive(PartialEq)]
enum Whose {
    Ours,
    Peer,
}

fn transport(code: TransportErrorCode, reason: &str, whose: Whose) -> Error {
    let said = if reason.is_empty() { code.to_string() } else { reason.to_owned() };
    if code == TransportErrorCode::CONNECTION_REFUSED {
        let why = "the peer takes no more connections: it has its most, or shuts down";
        return Error::new(ErrorKind::Connect, why).with_status(Status::Transient);
    }
    // RFC 9001 section 4.8: a TLS alert.
    match u8::try_from(u64::from(code).wrapping_sub(0x100)) {
        Ok(alert) => Error::new(ErrorKind::Tls, tls(alert, &said, &whose)).with_status(Status::Permanent),
        Err(_) if whose == Whose::Peer => Error::new(ErrorKind::Closed, format!("the peer gave up: {said}")),
        Err(_) => Error::new(ErrorKind::Protocol, format!("the peer broke the rules of QUIC: {said}")),
    }
}

/// A TLS failure and what to do about it (alerts: RFC 8446 section 6.2).
fn tls(alert: u8, said: &str, whose: &Whose) -> String {
    let todo = match (alert, whose) {
        (120, _) => "no ALPN protocol in common: the other end is no haul, or of another version",
        (116, Whose::Peer) => "the peer requires a client certificate: set `cert=` and `key=`",
        (116, Whose::Ours) => "the client sent no certificate, and one is required",
        (42..=46 | 48, Whose::Peer) => "the peer refused this end's certificate",
        (42..=46 | 48 | 49 | 51, Whose::Ours) => {
            "the peer's certificate is not trusted: add its CA with `ca=`, pin it with `pin=`, or dial its name"
        }
        (112, _) => "the peer serves no such name: set `sni=` to one it has",
        _ => "the TLS handshake failed",
    };
    format!("{todo} ({said})")
}

/// Why a stream gives nothing more.
pub(crate) fn read(transport: &impl Transport, why: ReadError) -> Error {
    match why {
        ReadError::ConnectionLost(why) => transport.lost(&why),
        ReadError::Reset(code) => {
            let code = plain(code);
            Error::new(ErrorKind::Closed, format!("the peer cut the stream: code {code}")).with("code", code)
        }
        other => Error::new(ErrorKind::Closed, other.to_string()),
    }
}

/// Why a stream takes nothing more.
pub(crate) fn write(transport: &impl Transport, why: WriteError) -> Error {
    match why {
        WriteError::ConnectionLost(why) => transport.lost(&why),
        WriteError::Stopped(code) => {
            let code = plain(code);
            Error::new(ErrorKind::Closed, format!("the peer reads no more of the stream: code {code}"))
        }
        other => Error::new(ErrorKind::Closed, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_code_survives_the_detour_through_http3() {
        assert!((0..=u16::MAX).all(|code| plain(webtransport(code)) == u64::from(code)));
        assert_eq!(webtransport(0).into_inner(), 0x52e4_a40f_a8db);
        // The draft leaves out every code that HTTP/3 reserves for greasing.
        assert!((0..=u16::MAX).all(|code| !(webtransport(code).into_inner() - 0x21).is_multiple_of(0x1f)));
    }
}
