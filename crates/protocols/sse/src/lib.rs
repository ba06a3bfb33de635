#![doc = include_str!("../README.md")]

mod client;
mod dialer;
mod event;
mod link;
mod listener;
mod mount;
mod options;
mod server;
mod subscriber;

pub use dialer::Dialer;
pub use listener::listen;
pub use mount::Mount;
pub use subscriber::Subscriber;

use bytes::BytesMut;
use haul_core::{Registry, Task};

/// The schemes that this crate dials and listens on.
pub const SCHEMES: &[&str] = &["sse", "sses"];

/// Adds dialer and listener to `registry`.
pub fn register(registry: &mut Registry) {
    registry.dialer(SCHEMES, Dialer::default()).listener(SCHEMES, listen);
}

fn spawn(task: Task) {
    tokio::spawn(task);
}

/// Gives memory back that nothing stands in: connections are idle most of the time.
fn give_back(bytes: &mut BytesMut) {
    if bytes.is_empty() {
        *bytes = BytesMut::new();
    }
}

/// What the two ends say beside the event stream.
mod words {
    /// The header by which haul peers agree on frames: `haul.v1`.
    pub(crate) const PROTOCOL: &str = "haul-protocol";
    /// The header, and the name in a query, of a session's token.
    pub(crate) const SESSION: &str = "haul-session";
    /// The header with the number of a POST, from 0.
    pub(crate) const NUMBER: &str = "haul-number";
    /// The header of a 503 that says: nothing is wrong, the application has yet to read; send it again.
    pub(crate) const BUSY: &str = "haul-busy";
    /// The event that says a session's token.
    pub(crate) const ANNOUNCE: &str = "haul-session";
    /// The event that says that the session was cut, and is not to be come back to.
    pub(crate) const CUT: &str = "haul-cut";
    /// The last event for strangers: `code message`.
    pub(crate) const CLOSE: &str = "haul-close";
    /// The type of event streams.
    pub(crate) const EVENT_STREAM: &str = "text/event-stream";
}
