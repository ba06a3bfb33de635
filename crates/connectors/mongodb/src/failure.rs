//! The client's errors in haul's words, by the codes of MongoDB's `error_codes.yml`.

use haul_core::{Error, ErrorKind, Sent, Status};
use mongodb::error::{
    Error as MongoError, ErrorKind as Mongo, IndexedWriteError, SYSTEM_OVERLOADED_ERROR, WriteConcernError,
};

/// What went wrong with a command that may have been sent.
pub(crate) fn failed(why: &MongoError) -> Error {
    use ErrorKind as Kind;
    let text = why.kind.to_string();
    let (kind, status, sent) = match &*why.kind {
        Mongo::Command(said) => return refused(said.code, &said.code_name, &said.message),
        Mongo::Authentication { .. } => (Kind::Unauthorized, Status::Permanent, Sent::No),
        Mongo::InvalidTlsConfig { .. } => (Kind::Tls, Status::Permanent, Sent::No),
        // The client itself does not like a document.
        Mongo::InvalidArgument { .. } => (Kind::Rejected, Status::Permanent, Sent::No),
        Mongo::IncompatibleServer { .. } => (Kind::Config, Status::Permanent, Sent::No),
        // The client has no other word for it.
        Mongo::ServerSelection { .. } if text.contains("invalid peer certificate") => {
            (Kind::Tls, Status::Permanent, Sent::No)
        }
        Mongo::ServerSelection { .. } | Mongo::DnsResolve { .. } => {
            (Kind::Connect, Status::Transient, Sent::No)
        }
        // It could not connect, and says so by this label alone.
        Mongo::Io(_) if why.contains_label(SYSTEM_OVERLOADED_ERROR) => {
            (Kind::Connect, Status::Transient, Sent::No)
        }
        // Of the latter, some when the server fell silent, with a command under way.
        Mongo::Io(_) | Mongo::ConnectionPoolCleared { .. } => (Kind::Closed, Status::Transient, Sent::Maybe),
        Mongo::Shutdown => (Kind::Closed, Status::Transient, Sent::No),
        _ => (Kind::Protocol, Status::Transient, Sent::Maybe),
    };
    Error::new(kind, text).with_status(status).with_sent(sent)
}

/// The server did not take this document.
pub(crate) fn not_taken(why: &IndexedWriteError) -> Error {
    refused(why.code, why.code_name.as_deref().unwrap_or_default(), &why.message).with_sent(Sent::No)
}

/// The documents are there, but not as safely as was asked for.
pub(crate) fn not_safe(why: &WriteConcernError) -> Error {
    refused(why.code, &why.code_name, &why.message).with_sent(Sent::Maybe)
}

/// Whether it is the fault of one of the packets, so that the others of its insert may go in without it.
pub(crate) fn is_of_a_packet(why: &Error) -> bool {
    let kinds = [ErrorKind::Rejected, ErrorKind::Codec, ErrorKind::TooLarge];
    why.status() == Status::Permanent && kinds.contains(&why.kind())
}

/// Whether a document with one of its unique values is there already.
pub(crate) fn is_duplicate(why: &IndexedWriteError) -> bool {
    matches!(why.code, 11000 | 11001 | 12582)
}

fn refused(code: i32, name: &str, message: &str) -> Error {
    use ErrorKind as Kind;
    use Status::{Permanent, Transient};
    let (kind, status, sent) = match code {
        // A wrong user or password; a right that is missing.
        11 | 13 | 18 | 8000 => (Kind::Unauthorized, Permanent, Sent::No),
        26 => (Kind::NotFound, Permanent, Sent::No),
        // No primary, or not yet.
        10107 | 13435 | 13436 | 10058 => (Kind::Overloaded, Transient, Sent::No),
        // It was told to stop, or is a primary no more: what it did before is not known.
        91 | 189 | 11600 | 11601 | 11602 => (Kind::Closed, Transient, Sent::Maybe),
        // A deadline, the client's or the server's own.
        24 | 50 | 64 | 262 => (Kind::Timeout, Transient, Sent::Maybe),
        // Between servers; its own defects; a lost race.
        1 | 6 | 7 | 8 | 46 | 89 | 112 | 9001 => (Kind::Overloaded, Transient, Sent::Maybe),
        14031 => (Kind::Overloaded, Transient, Sent::Maybe),
        16500 => (Kind::RateLimited, Transient, Sent::Maybe),
        // Names of databases and collections, commands, and write concerns that cannot be.
        9 | 14 | 20 | 59 | 72 | 73 | 79 | 100 | 166 => (Kind::Config, Permanent, Sent::No),
        10334 | 17419 | 17420 => (Kind::TooLarge, Permanent, Sent::No),
        // BSON that it does not take: nested too deep, or with such names.
        15 | 22 | 52 | 56 | 57 => (Kind::Codec, Permanent, Sent::No),
        // A validator, an index, or what was not thought of.
        _ => (Kind::Rejected, Permanent, Sent::No),
    };
    let error = Error::new(kind, message.to_owned()).with("code", code);
    let error = if name.is_empty() { error } else { error.with("name", name) };
    error.with_status(status).with_sent(sent)
}
