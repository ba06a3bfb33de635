//! The server's errors in haul's words, by the codes of PostgreSQL's appendix A.

use std::error::Error as StdError;
use std::io;

use haul_core::{Error, ErrorKind, Sent, Status};
use tokio_postgres::error::{DbError, Severity};

/// What went wrong with a statement that may have been sent.
pub(crate) fn failed(why: &tokio_postgres::Error) -> Error {
    match why.as_db_error() {
        Some(said) => refused(said),
        None if why.is_closed() || cause::<io::Error>(why).is_some() => {
            Error::new(ErrorKind::Closed, told(why))
        }
        None => Error::new(ErrorKind::Protocol, told(why)).with_status(Status::Transient),
    }
}

/// What went wrong while connecting: nothing was sent.
pub(crate) fn unconnected(why: &tokio_postgres::Error) -> Error {
    if let Some(said) = why.as_db_error() {
        return refused(said).with_sent(Sent::No);
    }
    if let Some(tls) = cause::<Error>(why) {
        return tls.clone();
    }
    let text = told(why);
    let kind = match () {
        () if why.is_closed() || cause::<io::Error>(why).is_some() => ErrorKind::Connect,
        // The client has no other word for these.
        () if text.contains("authentication") || text.contains("password") => ErrorKind::Unauthorized,
        () if text.contains("TLS") => ErrorKind::Tls,
        () => ErrorKind::Connect,
    };
    Error::new(kind, text).with_sent(Sent::No)
}

/// Whether it is the fault of one of the packets, so that the others of its statement may go in without it.
pub(crate) fn is_of_a_packet(why: &Error) -> bool {
    let kinds = [ErrorKind::Rejected, ErrorKind::Codec, ErrorKind::TooLarge];
    why.status() == Status::Permanent && kinds.contains(&why.kind())
}

/// The server answered that it did not do it: the transaction is undone, unless the server broke off over it.
fn refused(said: &DbError) -> Error {
    use ErrorKind as Kind;
    use Status::{Permanent, Transient};
    let code = said.code().code();
    let (kind, status) = match (code, code.get(..2).unwrap_or(code)) {
        // A wrong user or password; a right that is missing.
        (_, "28") | ("42501", _) => (Kind::Unauthorized, Permanent),
        // A database, schema, table or column that is not there.
        (_, "3D" | "3F") | ("42P01" | "42703", _) => (Kind::NotFound, Permanent),
        // It is shutting down, or was: what it did before is not known.
        ("57P01" | "57P02" | "57P05" | "40003", _) | (_, "08") => (Kind::Closed, Transient),
        // It is starting up, or has no place left.
        ("57P03" | "53300", _) => (Kind::Overloaded, Transient),
        // The deadline that we set.
        ("57014", _) => (Kind::Timeout, Transient),
        // A statement from before the table was altered, or that a pooler gave to another connection.
        ("0A000" | "26000" | "42P05", _) => (Kind::Rejected, Transient),
        // A standby; one that lost a race, or waits for who waits for it; no memory, no disk; its own defects.
        ("25006" | "55P03" | "55006", _) | (_, "40" | "53" | "58" | "XX") => (Kind::Overloaded, Transient),
        (_, "22") => (Kind::Codec, Permanent),
        (_, "54") => (Kind::TooLarge, Permanent),
        // The table is another than was thought.
        (_, "42") => (Kind::Config, Permanent),
        // A constraint, or what a trigger says.
        _ => (Kind::Rejected, Permanent),
    };
    let sent = if kind == Kind::Closed { Sent::Maybe } else { seen(said.parsed_severity()) };
    let hint = said.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    let error = Error::new(kind, format!("{}{hint}", said.message())).with("sqlstate", code);
    error.with_status(status).with_sent(sent)
}

/// What an error of this severity leaves open. A server that fails while it commits, as its log's disk is full, panics: after it
/// has recovered, the transaction may be there.
fn seen(severity: Option<Severity>) -> Sent {
    match severity {
        Some(Severity::Panic | Severity::Fatal) => Sent::Maybe,
        _ => Sent::No,
    }
}

/// The error of this type below.
fn cause<E: StdError + 'static>(why: &tokio_postgres::Error) -> Option<&E> {
    causes(why).find_map(|why| why.downcast_ref())
}

fn causes<'a>(why: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(why.source(), |why| StdError::source(*why))
}

/// An error with its causes.
fn told(why: &tokio_postgres::Error) -> String {
    causes(why).fold(why.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_breaks_off_may_have_committed_and_one_that_refuses_has_not() {
        for (severity, sent) in [
            (Some(Severity::Panic), Sent::Maybe),
            (Some(Severity::Fatal), Sent::Maybe),
            (Some(Severity::Error), Sent::No),
            (None, Sent::No),
        ] {
            assert_eq!(seen(severity), sent, "{severity:?}");
        }
    }
}
