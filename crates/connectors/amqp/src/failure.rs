//! The client's errors in haul's words.

use haul_core::{Error, ErrorKind, Sent, Status};
use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPHardError, AMQPSoftError};

/// What went wrong with something that may have been sent.
pub(crate) fn failed(why: &lapin::Error) -> Error {
    use lapin::ErrorKind as Client;
    let text = why.to_string();
    match why.kind() {
        Client::ProtocolError(said) => refused(said),
        Client::IOError(_)
        | Client::RuntimeShutdownError(_)
        | Client::MissingHeartbeatError
        | Client::InvalidChannel(_)
        | Client::InvalidChannelState(..)
        | Client::InvalidConnectionState(_) => Error::new(ErrorKind::Closed, text),
        Client::ChannelsLimitReached => Error::new(ErrorKind::Overloaded, text),
        Client::AuthProviderError(_) => Error::new(ErrorKind::Unauthorized, text),
        _ => Error::new(ErrorKind::Protocol, text),
    }
}

/// What went wrong while connecting: nothing was sent.
pub(crate) fn unconnected(why: &lapin::Error) -> Error {
    let error = failed(why).with_sent(Sent::No);
    match error.kind() {
        ErrorKind::Closed => Error::new(ErrorKind::Connect, why.to_string()).with_sent(Sent::No),
        _ => error,
    }
}

/// The server closed channel or connection and said why.
fn refused(said: &AMQPError) -> Error {
    use AMQPErrorKind::{Hard, Soft};
    use Status::{Permanent, Transient};
    let text = said.get_message().as_str();
    let (kind, status) = match said.kind() {
        Soft(AMQPSoftError::CONTENTTOOLARGE) => (ErrorKind::TooLarge, Permanent),
        Soft(AMQPSoftError::ACCESSREFUSED) => (ErrorKind::Unauthorized, Permanent),
        Soft(AMQPSoftError::NOTFOUND) | Hard(AMQPHardError::INVALIDPATH) => (ErrorKind::NotFound, Permanent),
        // A virtual host that is not there, or not for this user.
        Hard(AMQPHardError::NOTALLOWED) if text.contains("not found") => (ErrorKind::NotFound, Permanent),
        Hard(AMQPHardError::NOTALLOWED) => (ErrorKind::Unauthorized, Permanent),
        Soft(AMQPSoftError::RESOURCELOCKED) => (ErrorKind::Rejected, Transient),
        Soft(_) => (ErrorKind::Rejected, Permanent),
        Hard(AMQPHardError::NOTIMPLEMENTED) => (ErrorKind::Unsupported, Permanent),
        Hard(AMQPHardError::RESOURCEERROR) => (ErrorKind::Overloaded, Transient),
        // It stops, or stumbled.
        Hard(AMQPHardError::CONNECTIONFORCED | AMQPHardError::INTERNALERROR) => {
            (ErrorKind::Closed, Transient)
        }
        Hard(_) => (ErrorKind::Protocol, Permanent),
    };
    let error = Error::new(kind, format!("the server says: {text}"));
    error.with_status(status).with_sent(Sent::Maybe)
}
