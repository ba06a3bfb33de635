//! The format of event streams (WHATWG HTML, section 9.2 "Server-sent events").

mod parse;
mod scan;
mod write;

pub(crate) use scan::{Bounds, Scanner};
pub(crate) use write::{check, put_field, put_payload};

use std::time::Duration;

use bytes::Bytes;

/// An event that was dispatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its type; `None` for `message`, which is that of events without one.
    pub(crate) name: Option<String>,
    /// UTF-8.
    pub(crate) data: Bytes,
}

/// What an event stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// With the last event id as it is after it.
    Event(Event),
    /// The peer is there.
    Comment,
    /// How long to wait before connecting again.
    Retry(Duration),
}
