//! Fuzz targets: each takes any bytes, gives them to what reads bytes that others wrote, and panics where that breaks a
//! promise. `cargo xtask fuzz` runs them under libFuzzer; `tests/corpus.rs` runs what was found as tests.
//!
//! What a crate keeps to itself is taken from its source by path, so that the very parser is fuzzed and its crate
//! exports nothing for it.

mod config;
mod endpoint;
mod event_stream;
mod events;
mod files;
mod frames;
mod handshake_client;
mod handshake_server;
mod journal;
mod pieces;
mod receipts;
mod streams;
mod websocket;

/// What haul-ws reads frames with.
#[allow(dead_code)]
#[path = "../../../crates/protocols/ws/src/frame.rs"]
mod frame;
/// What haul-ws shakes hands with.
#[allow(dead_code)]
#[path = "../../../crates/protocols/ws/src/handshake/mod.rs"]
mod handshake;

/// What haul-sse reads event streams with.
#[allow(dead_code, unused_imports)]
#[path = "../../../crates/protocols/sse/src/event/mod.rs"]
mod sse;

/// What haul-file reads records with.
#[allow(dead_code)]
#[path = "../../../crates/connectors/file/src/record.rs"]
mod record;
use haul_file::Format;

/// What haul-event-log reads its journal's records with.
#[allow(dead_code, unreachable_pub, clippy::wrong_self_convention)]
#[path = "../../../crates/event-log/src/event.rs"]
mod event;
#[allow(dead_code)]
#[path = "../../../crates/event-log/src/record.rs"]
mod event_record;

/// What haul-serve answers strangers with.
#[allow(dead_code, unreachable_pub)]
#[path = "../../../crates/serve/src/receipt.rs"]
mod receipt;

/// A reader of foreign bytes, and the promises it makes about them.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its folder in `corpus/`.
    pub name: &'static str,
    /// Gives it these bytes. Panics where it breaks a promise.
    pub run: fn(&[u8]),
}

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    Target { name: "config", run: config::run },
    Target { name: "endpoint", run: endpoint::run },
    Target { name: "event-stream", run: event_stream::run },
    Target { name: "events", run: events::run },
    Target { name: "files", run: files::run },
    Target { name: "frames", run: frames::run },
    Target { name: "handshake-client", run: handshake_client::run },
    Target { name: "handshake-server", run: handshake_server::run },
    Target { name: "journal", run: journal::run },
    Target { name: "receipts", run: receipts::run },
    Target { name: "streams", run: streams::run },
    Target { name: "websocket", run: websocket::run },
];

/// The target called `name`.
///
/// # Panics
/// If there is none.
pub fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    *found.unwrap_or_else(|| panic!("there is no fuzz target {name:?}"))
}
