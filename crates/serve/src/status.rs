//! What a gateway is doing, as `haul tap --status` shows it.

use haul_core::{Endpoint, ListenerStats};
use serde::Serialize;

/// A gateway at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct GatewayStatus {
    /// Its process.
    pub pid: u32,
    /// Since when it runs, RFC 3339.
    pub since: String,
    /// Packets received.
    pub received: u64,
    /// Bytes of their payloads.
    pub received_bytes: u64,
    /// Packets stored.
    pub stored: u64,
    /// Packets refused.
    pub refused: u64,
    /// Bytes that wait for the disk.
    pub in_flight: usize,
    /// Those who watch.
    pub taps: usize,
    /// What it listens on.
    pub listeners: Vec<ListenerStatus>,
    /// The event log and its sinks.
    pub log: haul_event_log::Status,
}

/// A listener at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ListenerStatus {
    /// Where it listens, with the port that it was given, and without a password.
    pub url: String,
    /// Connections that finished their handshake.
    pub accepted: u64,
    /// Connections refused because too many were there.
    pub refused: u64,
    /// Handshakes that failed or took too long.
    pub failed: u64,
    /// Connections open now.
    pub open: usize,
    /// WebSockets among them, where the listener is of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub websockets: Option<usize>,
    /// The last failure.
    pub last_failure: Option<String>,
}

impl ListenerStatus {
    pub(crate) fn new(at: &Endpoint, stats: ListenerStats, websockets: Option<usize>) -> Self {
        Self {
            url: at.to_string(),
            accepted: stats.accepted,
            refused: stats.refused,
            failed: stats.failed,
            open: stats.open,
            websockets,
            last_failure: stats.last_failure.map(|why| why.to_string()),
        }
    }
}
