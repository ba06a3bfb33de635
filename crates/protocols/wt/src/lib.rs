#![doc = include_str!("../README.md")]

mod certificates;
mod dialer;
mod h3;
mod link;
mod listener;
mod options;
mod request;

pub use dialer::Dialer;
pub use listener::{Server, listen};

use haul_core::{Registry, Task};

/// The schemes that this crate dials and listens on.
pub const SCHEMES: &[&str] = &["wt"];

/// HTTP/3, on which WebTransport stands (ALPN).
const ALPN: &str = "h3";

/// Streams that HTTP/3 itself needs in each direction: control, two of QPACK, and the session's request.
const OWN_STREAMS: u32 = 4;

/// What a dialer offers to speak, and a listener answers (draft-ietf-webtrans-http3-14 section 3.3).
const OFFERED: &str = "wt-available-protocols";
const SPOKEN: &str = "wt-protocol";

/// Adds dialer and listener to `registry`.
pub fn register(registry: &mut Registry) {
    registry.dialer(SCHEMES, Dialer::default()).listener(SCHEMES, listen);
}

fn spawn(task: Task) {
    tokio::spawn(task);
}
