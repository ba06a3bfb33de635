//! Reason codes of MQTT 5.0 (section 2.4) in haul's words.

use haul_core::{Error, ErrorKind, Sent, Status};

/// The broker took it, and nobody subscribes.
pub(crate) const NO_SUBSCRIBERS: u8 = 0x10;

/// From here on, a reason code is a failure.
pub(crate) const FAILURE: u8 = 0x80;

/// The broker answered that it did not do it.
pub(crate) fn refused(reason: u8) -> Error {
    use ErrorKind::{
        Closed, Config, Overloaded, Protocol, RateLimited, Rejected, TooLarge, Unauthorized, Unsupported,
    };
    use Status::{Permanent, Transient};
    let (kind, status, name) = match reason {
        0x80 => (Rejected, Transient, "unspecified error"),
        0x81 => (Protocol, Permanent, "malformed packet"),
        0x82 => (Protocol, Permanent, "protocol error"),
        0x83 => (Rejected, Permanent, "implementation specific error"),
        0x84 => (Unsupported, Permanent, "unsupported protocol version: it does not speak MQTT 5"),
        0x85 => (Config, Permanent, "client identifier not valid"),
        0x86 => (Unauthorized, Permanent, "bad user name or password"),
        0x87 => (Unauthorized, Permanent, "not authorized"),
        0x88 => (Overloaded, Transient, "server unavailable"),
        0x89 => (Overloaded, Transient, "server busy"),
        0x8a => (Unauthorized, Permanent, "banned"),
        0x8b => (Closed, Transient, "server shutting down"),
        0x8c => (Unauthorized, Permanent, "bad authentication method"),
        0x8d => (Closed, Transient, "keep alive timeout"),
        0x8e => (Closed, Transient, "session taken over: another client has this client_id"),
        0x8f => (Config, Permanent, "topic filter invalid"),
        0x90 => (Rejected, Permanent, "topic name invalid"),
        0x91 => (Protocol, Transient, "packet identifier in use"),
        0x92 => (Protocol, Transient, "packet identifier not found"),
        0x93 => (Protocol, Transient, "receive maximum exceeded"),
        0x95 => (TooLarge, Permanent, "packet too large"),
        0x96 => (RateLimited, Transient, "message rate too high"),
        0x97 => (Overloaded, Transient, "quota exceeded"),
        0x98 => (Closed, Transient, "administrative action"),
        0x99 => (Rejected, Permanent, "payload format invalid"),
        0x9a => (Unsupported, Permanent, "retain not supported"),
        0x9b => (Unsupported, Permanent, "QoS not supported"),
        0x9c => (Rejected, Transient, "use another server"),
        0x9d => (Rejected, Permanent, "server moved"),
        0x9e => (Unsupported, Permanent, "shared subscriptions not supported"),
        0x9f => (RateLimited, Transient, "connection rate exceeded"),
        0xa0 => (Closed, Transient, "maximum connect time"),
        0xa1 => (Unsupported, Permanent, "subscription identifiers not supported"),
        0xa2 => (Unsupported, Permanent, "wildcard subscriptions not supported"),
        _ => (Rejected, Permanent, "a reason that MQTT 5.0 does not name"),
    };
    let why = format!("the broker answered: {name} (0x{reason:02x})");
    Error::new(kind, why).with_status(status).with_sent(Sent::No)
}

/// What came from the broker is no MQTT 5.
pub(crate) fn broken(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Protocol, format!("the broker broke the protocol: {why}"))
        .with_status(Status::Transient)
}

/// The socket failed.
pub(crate) fn lost(why: &std::io::Error) -> Error {
    Error::new(ErrorKind::Closed, format!("the connection was lost: {why}"))
}
