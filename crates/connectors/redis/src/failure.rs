//! The client's errors in haul's words.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use haul_core::{Error, ErrorKind, Sent, Status};
use redis::{RedisError, ServerErrorKind};

/// What went wrong with a command that may have been sent.
pub(crate) fn failed(why: &RedisError) -> Error {
    use redis::ErrorKind as Redis;
    let (kind, status, sent) = match why.kind() {
        _ if why.is_connection_refusal() => (ErrorKind::Connect, Status::Transient, Sent::No),
        Redis::AuthenticationFailed => (ErrorKind::Unauthorized, Status::Permanent, Sent::No),
        Redis::InvalidClientConfig | Redis::Client | Redis::EmptySentinelList => {
            (ErrorKind::Config, Status::Permanent, Sent::No)
        }
        Redis::MasterNameNotFoundBySentinel
        | Redis::NoValidReplicasFoundBySentinel
        | Redis::ClusterConnectionNotFound => (ErrorKind::Connect, Status::Transient, Sent::No),
        Redis::Server(said) => return refused(said, why),
        // The code of an answer that the client does not know by name.
        Redis::Extension => return refused(ServerErrorKind::ResponseError, why),
        Redis::Io if why.is_timeout() => (ErrorKind::Timeout, Status::Transient, Sent::Maybe),
        Redis::Io => (ErrorKind::Closed, Status::Transient, Sent::Maybe),
        _ => (ErrorKind::Protocol, Status::Transient, Sent::Maybe),
    };
    Error::new(kind, why.to_string()).with_status(status).with_sent(sent)
}

/// What went wrong while connecting: nothing was sent.
pub(crate) fn unconnected(why: &RedisError) -> Error {
    let error = failed(why).with_sent(Sent::No);
    match error.kind() {
        ErrorKind::Closed if is_tls(why) => Error::new(ErrorKind::Tls, why.to_string()).with_sent(Sent::No),
        ErrorKind::Closed => Error::new(ErrorKind::Connect, why.to_string()).with_sent(Sent::No),
        _ => error,
    }
}

/// Whether the handshake failed for what one end said in it, and not for the network.
fn is_tls(why: &(dyn StdError + 'static)) -> bool {
    why.is::<rustls::Error>() || beneath(why).is_some_and(is_tls)
}

/// The error beneath. What is shared, or of input and output, keeps what it was made of to itself.
fn beneath<'a>(why: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    if let Some(shared) = why.downcast_ref::<Arc<dyn StdError + Send + Sync>>() {
        return Some(&**shared);
    }
    match why.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inside) => Some(inside),
        None => why.source(),
    }
}

/// The server answered that it did not do it.
fn refused(said: ServerErrorKind, why: &RedisError) -> Error {
    use ServerErrorKind as Said;
    let (kind, status) = match (said, why.code().unwrap_or_default()) {
        (Said::NoPerm, _) | (_, "NOAUTH" | "WRONGPASS" | "NOPERM") => {
            (ErrorKind::Unauthorized, Status::Permanent)
        }
        (Said::BusyLoading | Said::MasterDown | Said::ClusterDown | Said::TryAgain | Said::ReadOnly, _)
        | (_, "OOM" | "NOREPLICAS" | "MISCONF") => (ErrorKind::Overloaded, Status::Transient),
        (_, "NOGROUP") => (ErrorKind::NotFound, Status::Transient),
        _ => (ErrorKind::Rejected, Status::Permanent),
    };
    Error::new(kind, why.to_string()).with_status(status).with_sent(Sent::No)
}
