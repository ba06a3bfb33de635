//! What hyper's errors mean for haul.

use std::error::Error as StdError;
use std::io;

use haul_core::{Error, ErrorKind, Sent, Status};
use hyper_util::client::legacy;

/// Why an exchange failed. `begun` says whether a connection took the request up.
pub(crate) fn exchange(why: &legacy::Error, begun: bool) -> Error {
    let sent = if begun && !why.is_connect() { Sent::Maybe } else { Sent::No };
    let error = explain(why).unwrap_or_else(|| {
        // hyper-util names no cause when it refuses a request by itself.
        Error::new(ErrorKind::Config, why.to_string())
    });
    // A peer that refused a stream says that it did not look at it (RFC 9113 section 8.7).
    if refused_stream(why) { error.with_sent(Sent::No) } else { error.with_sent(sent) }
}

/// Why a body broke off.
pub(crate) fn body(why: &hyper::Error) -> Error {
    let error = explain(why).unwrap_or_else(|| Error::new(ErrorKind::Closed, why.to_string()));
    error.with_sent(Sent::Maybe)
}

/// Says what the chain of errors from `why` on means; the first that is known decides.
fn explain(why: &(dyn StdError + 'static)) -> Option<Error> {
    let mut next = Some(why);
    let mut by_hyper = None;
    while let Some(error) = next {
        if let Some(own) = error.downcast_ref::<Error>() {
            return Some(own.clone());
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(from_io(io));
        }
        if let Some(h2) = error.downcast_ref::<h2::Error>()
            && let Some(told) = from_h2(h2)
        {
            return Some(told);
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>() {
            by_hyper = by_hyper.or_else(|| from_hyper(hyper));
        }
        next = error.source();
    }
    by_hyper
}

fn from_io(why: &io::Error) -> Error {
    if let Some(own) = why.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return own.clone();
    }
    match why.kind() {
        // Chunks and trailers that are none.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Error::new(ErrorKind::Protocol, why.to_string())
        }
        kind => Error::from(io::Error::new(kind, why.to_string())),
    }
}

fn from_hyper(why: &hyper::Error) -> Option<Error> {
    let (kind, what) = match why {
        _ if why.is_parse_too_large() => {
            (ErrorKind::TooLarge, "the head of the answer is larger than max_head")
        }
        _ if why.is_parse() => (ErrorKind::Protocol, "the answer is not HTTP"),
        _ if why.is_incomplete_message() => {
            (ErrorKind::Closed, "the peer closed before its answer was complete")
        }
        _ if why.is_canceled() || why.is_closed() => (ErrorKind::Closed, "the connection ended"),
        _ if why.is_timeout() => (ErrorKind::Timeout, "the connection gave no sign"),
        _ if why.is_user() => (ErrorKind::Internal, "the request could not be written"),
        // Its cause says more.
        _ => return (why.source().is_none()).then(|| Error::new(ErrorKind::Closed, why.to_string())),
    };
    Some(Error::new(kind, format!("{what} ({why})")))
}

fn from_h2(why: &h2::Error) -> Option<Error> {
    if let Some(io) = why.get_io() {
        return Some(from_io(io));
    }
    let (kind, status) = match why.reason()? {
        h2::Reason::REFUSED_STREAM => (ErrorKind::Overloaded, Status::Transient),
        h2::Reason::ENHANCE_YOUR_CALM => (ErrorKind::RateLimited, Status::Transient),
        h2::Reason::HTTP_1_1_REQUIRED => (ErrorKind::Unsupported, Status::Permanent),
        h2::Reason::NO_ERROR | h2::Reason::CANCEL | h2::Reason::INTERNAL_ERROR => {
            (ErrorKind::Closed, Status::Transient)
        }
        _ => (ErrorKind::Protocol, Status::Permanent),
    };
    Some(Error::new(kind, why.to_string()).with_status(status))
}

fn refused_stream(why: &legacy::Error) -> bool {
    let mut next = why.source();
    while let Some(error) = next {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.is_remote() && h2.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        next = error.source();
    }
    false
}
