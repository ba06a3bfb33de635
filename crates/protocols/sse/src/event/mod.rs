//! The format of event streams (WHATWG HTML, section 9.2 "Server-sent events").

mod parse;
mod scan;
mod write;

pub(crate) use scan::{Bounds, Scanner};
pub(crate) use write::{check, put_field, put_payload};

use std::time::Duration;

/// An event that was dispatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its type; `message` where none was given.
    pub(crate) name: String,
    pub(crate) data: String,
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
