//! The client's errors in haul's words.

use std::error::Error as _;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind, RequestError, RequestErrorKind};
use async_nats::{ConnectError, ConnectErrorKind, jetstream, rustls};
use haul_core::{Error, ErrorKind, Sent, Status};

/// What went wrong while connecting: nothing was sent.
pub(crate) fn unconnected(why: &ConnectError) -> Error {
    let (kind, status) = match why.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            (ErrorKind::Unauthorized, Status::Permanent)
        }
        ConnectErrorKind::ServerParse => (ErrorKind::Config, Status::Permanent),
        ConnectErrorKind::TimedOut => (ErrorKind::Timeout, Status::Transient),
        ConnectErrorKind::Tls => (ErrorKind::Tls, Status::Permanent),
        ConnectErrorKind::Io if is_tls(why) => (ErrorKind::Tls, Status::Permanent),
        ConnectErrorKind::Io | ConnectErrorKind::Dns | ConnectErrorKind::MaxReconnects => {
            (ErrorKind::Connect, Status::Transient)
        }
    };
    Error::new(kind, why.to_string()).with_status(status).with_sent(Sent::No)
}

/// Whether the handshake failed for what one end said in it, and not for the network.
fn is_tls(why: &ConnectError) -> bool {
    let io = why.source().and_then(|why| why.downcast_ref::<std::io::Error>());
    io.and_then(|io| io.get_ref()).is_some_and(|why| why.is::<rustls::Error>())
}

/// What went wrong before a packet went out.
pub(crate) fn unpublished(why: &PublishError) -> Error {
    let kind = match why.kind() {
        PublishErrorKind::MaxPayloadExceeded => ErrorKind::TooLarge,
        PublishErrorKind::TimedOut => ErrorKind::Timeout,
        _ => ErrorKind::Closed,
    };
    Error::new(kind, why.to_string()).with_sent(Sent::No)
}

/// What was said, or not, about a packet that went out.
pub(crate) fn unacknowledged(why: &PublishError) -> Error {
    if let Some(said) = why.source().and_then(|why| why.downcast_ref::<jetstream::Error>()) {
        return refused(said);
    }
    match why.kind() {
        PublishErrorKind::TimedOut => Error::new(ErrorKind::Timeout, "not acknowledged in time"),
        PublishErrorKind::BrokenPipe => {
            Error::new(ErrorKind::Closed, "the connection was lost before the acknowledgement")
        }
        _ => Error::new(ErrorKind::Protocol, why.to_string()).with_status(Status::Transient),
    }
}

/// What went wrong with a question to JetStream, none of which stores anything.
pub(crate) fn unanswered(why: &RequestError) -> Error {
    let (kind, status) = match why.kind() {
        RequestErrorKind::NoResponders => {
            let why = "the server has no JetStream: start it with -js, or deliver with jetstream=false";
            return Error::new(ErrorKind::Unsupported, why).with_sent(Sent::No);
        }
        RequestErrorKind::TimedOut => (ErrorKind::Timeout, Status::Transient),
        RequestErrorKind::InvalidSubject => (ErrorKind::Config, Status::Permanent),
        RequestErrorKind::Other => (ErrorKind::Closed, Status::Transient),
    };
    Error::new(kind, why.to_string()).with_status(status).with_sent(Sent::No)
}

/// JetStream answered that it did not do it.
pub(crate) fn refused(said: &jetstream::Error) -> Error {
    let (kind, status) = match (said.error_code(), said.code()) {
        (ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM, _) => {
            (ErrorKind::TooLarge, Status::Permanent)
        }
        (ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT, _) => {
            (ErrorKind::Unsupported, Status::Permanent)
        }
        (ErrorCode::ACCOUNT_RESOURCES_EXCEEDED, _) | (_, 503) => (ErrorKind::Overloaded, Status::Transient),
        (_, 404) => (ErrorKind::NotFound, Status::Permanent),
        _ => (ErrorKind::Rejected, Status::Permanent),
    };
    Error::new(kind, format!("the server answered: {said}")).with_status(status).with_sent(Sent::No)
}
