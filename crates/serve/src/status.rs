//! What a gateway is doing, as `haul tap --status` shows it.

use std::collections::BTreeMap;

use haul_event_log::RouteStatus;
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
    /// What connections have carried, by protocol; a session counts with the one that it goes over just now.
    pub protocols: BTreeMap<&'static str, ProtocolStatus>,
    /// How many connections are in each state: `connected`, and `reconnecting` where a session has no link just now.
    pub states: BTreeMap<&'static str, usize>,
    /// How far away the peers are.
    pub rtt: RttStatus,
    /// What it listens on.
    pub listeners: Vec<ListenerStatus>,
    /// The event log and its sinks.
    pub log: haul_event_log::Status,
    /// What each route is made of, and how its parts do, by name.
    pub routes: Vec<RouteStatus>,
}

/// A listener at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ListenerStatus {
    /// Where it listens, with the port that it was given, and without a password.
    pub url: String,
    /// Connections that finished their handshake; over HTTP they are those of TCP, and sessions of WebTransport.
    pub accepted: u64,
    /// Connections refused because too many were there.
    pub refused: u64,
    /// Handshakes that failed or took too long.
    pub failed: u64,
    /// Connections open now.
    pub open: usize,
    /// What is served there, where that is more than one protocol: `wt`, `ws`, `sse`, `http`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<&'static str>,
    /// Certificates that were made for WebTransport for want of the operator's: SHA-256 in hex, the current one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificate_hashes: Vec<String>,
    /// The last failure.
    pub last_failure: Option<String>,
}

/// Connections of one protocol. For `http` they are the requests to `/events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProtocolStatus {
    /// Open now.
    pub open: usize,
    /// Opened since the start, those that moved away since included.
    pub opened: u64,
    /// Packets received, those included that are refused.
    pub received: u64,
    /// Bytes of their payloads.
    pub received_bytes: u64,
    /// Packets sent; receipts count where they are JSON.
    pub sent: u64,
    /// Bytes of their payloads, those included that are still to be sent.
    pub sent_bytes: u64,
}

/// The upper ends of the ranges in which round trips are counted, in microseconds.
pub(crate) const RTT_BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// The last round trip of each connection that is open, as far as one is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RttStatus {
    /// The upper end of each range but the last, which has none, in microseconds.
    pub bounds_us: [u64; 12],
    /// The connections in each range.
    pub counts: [usize; 13],
}

impl Default for RttStatus {
    fn default() -> Self {
        Self { bounds_us: RTT_BOUNDS_US, counts: [0; 13] }
    }
}
