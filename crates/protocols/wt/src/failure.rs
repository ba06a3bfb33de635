//! wtransport's errors in haul's words.

use haul_core::{Error, ErrorKind, Status};
use haul_quic::raw::failure;
use wtransport::error::{ConnectingError, ConnectionError, StreamOpeningError};

/// Why a session ended, or did not begin.
pub(crate) fn lost(why: &ConnectionError) -> Error {
    let text = why.to_string();
    match why {
        ConnectionError::ApplicationClosed(close) => closed(close),
        ConnectionError::TimedOut => failure::lost(&quinn::ConnectionError::TimedOut),
        ConnectionError::LocallyClosed => failure::lost(&quinn::ConnectionError::LocallyClosed),
        ConnectionError::CidsExhausted => failure::lost(&quinn::ConnectionError::CidsExhausted),
        // What is left of QUIC's own error is its text.
        _ if text.contains("refused to accept a new connection") => {
            let why = "the peer takes no more connections: it has its most, or shuts down";
            Error::new(ErrorKind::Connect, why).with_status(Status::Transient)
        }
        _ if text.contains("error 120") || text.contains("code: 376") => Error::new(
            ErrorKind::Tls,
            format!("the other end speaks no HTTP/3 on this port: no ALPN protocol in common ({text})"),
        ),
        _ if text.contains("error 116") => Error::new(
            ErrorKind::Tls,
            format!("the peer requires a client certificate: set `cert=` and `key=` ({text})"),
        ),
        _ if text.contains("invalid peer certificate") => Error::new(
            ErrorKind::Tls,
            format!(
                "the peer's certificate is not trusted: add its CA with `ca=`, pin it with `pin=`, or dial its name \
                 ({text})"
            ),
        ),
        _ if text.contains("cryptographic handshake failed") => Error::new(ErrorKind::Tls, text),
        ConnectionError::ConnectionClosed(_) => Error::new(ErrorKind::Closed, text),
        _ => Error::new(ErrorKind::Protocol, text),
    }
}

/// The peer closed the session with a code and a text.
pub(crate) fn closed(close: &wtransport::error::ApplicationClose) -> Error {
    let code = quinn::VarInt::from_u64(close.code().into_inner()).unwrap_or(quinn::VarInt::MAX);
    failure::closed(code, &String::from_utf8_lossy(close.reason()))
}

/// Why no session came up.
pub(crate) fn connecting(why: ConnectingError) -> Error {
    match why {
        ConnectingError::ConnectionError(why) => lost(&why),
        ConnectingError::SessionRejected => Error::new(
            ErrorKind::Rejected,
            "the server answers no WebTransport there: it may serve another path, or want other headers",
        ),
        ConnectingError::InvalidUrl(_)
        | ConnectingError::ReservedHeader(_)
        | ConnectingError::InvalidServerName(_)
        | ConnectingError::InvalidRemoteAddress(_) => Error::new(ErrorKind::Config, why.to_string()),
        other => Error::new(ErrorKind::Connect, other.to_string()),
    }
}

/// Why a stream could not be opened.
pub(crate) fn opening(why: StreamOpeningError) -> Error {
    Error::new(ErrorKind::Closed, why.to_string())
}
