//! What went wrong, in haul's words.

use std::collections::HashMap;
use std::error::Error as StdError;

use haul_core::{Error, ErrorKind, Sent, Status};
use http::StatusCode;
use serde::Deserialize;

/// Why there was no answer.
pub(crate) fn unanswered(why: &hyper_util::client::legacy::Error) -> Error {
    let said = chain(why);
    if !why.is_connect() {
        return Error::new(ErrorKind::Closed, said).with_sent(Sent::Maybe);
    }
    let kind = if is_tls(why) { ErrorKind::Tls } else { ErrorKind::Connect };
    Error::new(kind, said).with_sent(Sent::No)
}

/// What an answer says that is no success ("Status", API reference).
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Refusal {
    error: Said,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Said {
    status: String,
    message: String,
    details: Vec<Detail>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    log_entry_errors: HashMap<usize, EntryError>,
}

#[derive(Deserialize, Clone)]
struct EntryError {
    code: i32,
    #[serde(default)]
    message: String,
}

impl Refusal {
    pub(crate) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// The entries that were refused; all others of the request were taken. `None` if the request was refused whole.
    pub(crate) fn entries(&self) -> Option<HashMap<usize, Error>> {
        let parts = self.error.details.iter().find(|detail| !detail.log_entry_errors.is_empty())?;
        let error = |why: &EntryError| {
            let (kind, status, sent) = of_code(why.code);
            let text = format!("the server refused the entry, code {}: {}", why.code, why.message);
            Error::new(kind, text).with_status(status).with_sent(sent)
        };
        Some(parts.log_entry_errors.iter().map(|(place, why)| (*place, error(why))).collect())
    }

    /// The refusal of all entries.
    pub(crate) fn whole(&self, status: StatusCode) -> Error {
        let Said { status: name, message, .. } = &self.error;
        let text = format!("the server answered {status} {name}: {message}");
        let (kind, passing, sent) = match status.as_u16() {
            401 | 403 => of_code(16),
            404 => of_code(5),
            408 => of_code(4),
            413 => (ErrorKind::TooLarge, Status::Permanent, Sent::No),
            429 => of_code(8),
            500 | 502 | 504 => of_code(13),
            503 => of_code(14),
            400..500 => of_code(3),
            _ => (ErrorKind::Protocol, Status::Transient, Sent::Maybe),
        };
        Error::new(kind, text).with_status(passing).with_sent(sent)
    }
}

/// Google's codes of errors (google.rpc.Code).
fn of_code(code: i32) -> (ErrorKind, Status, Sent) {
    match code {
        4 => (ErrorKind::Timeout, Status::Transient, Sent::Maybe),
        5 => (ErrorKind::NotFound, Status::Permanent, Sent::No),
        7 | 16 => (ErrorKind::Unauthorized, Status::Permanent, Sent::No),
        8 => (ErrorKind::RateLimited, Status::Transient, Sent::No),
        10 | 14 => (ErrorKind::Overloaded, Status::Transient, Sent::No),
        1 | 2 | 13 | 15 => (ErrorKind::Overloaded, Status::Transient, Sent::Maybe),
        _ => (ErrorKind::Rejected, Status::Permanent, Sent::No),
    }
}

fn is_tls(why: &(dyn StdError + 'static)) -> bool {
    why.is::<rustls::Error>() || beneath(why).is_some_and(is_tls)
}

/// All that an error and those beneath it say.
fn chain(why: &(dyn StdError + 'static)) -> String {
    let mut said = why.to_string();
    let mut next = beneath(why);
    while let Some(why) = next {
        let more = why.to_string();
        if !said.ends_with(&more) {
            said = format!("{said}: {more}");
        }
        next = beneath(why);
    }
    said
}

/// The error beneath. One of input or output keeps what it was made of to itself.
fn beneath<'a>(why: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match why.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inside) => Some(inside),
        None => why.source(),
    }
}
