//! quinn's errors in haul's words.

use haul_core::{CloseReason, Error, ErrorKind, Status};
use quinn::{ConnectionError, ReadError, TransportErrorCode, VarInt, WriteError};

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
        ConnectionError::LocallyClosed => Error::new(ErrorKind::Closed, "the session was closed here"),
        ConnectionError::VersionMismatch => {
            Error::new(ErrorKind::Protocol, "the peer speaks no QUIC version of ours")
        }
        ConnectionError::CidsExhausted => {
            Error::new(ErrorKind::Overloaded, "too many connections on one socket")
        }
    }
}

/// The peer closed the session, and said why.
pub fn closed(code: VarInt, text: &str) -> Error {
    let code = code.into_inner();
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
pub(crate) fn read(why: ReadError) -> Error {
    match why {
        ReadError::ConnectionLost(why) => lost(&why),
        ReadError::Reset(code) => {
            Error::new(ErrorKind::Closed, format!("the peer cut the stream: code {code}")).with("code", code)
        }
        other => Error::new(ErrorKind::Closed, other.to_string()),
    }
}

/// Why a stream takes nothing more.
pub(crate) fn write(why: WriteError) -> Error {
    match why {
        WriteError::ConnectionLost(why) => lost(&why),
        WriteError::Stopped(code) => {
            Error::new(ErrorKind::Closed, format!("the peer reads no more of the stream: code {code}"))
        }
        other => Error::new(ErrorKind::Closed, other.to_string()),
    }
}
