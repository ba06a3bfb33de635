//! What a gateway is doing, as `haul tap --status` shows it.

use std::collections::BTreeMap;

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
    /// What connections have carried, by the protocol that they were opened over.
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
    /// Opened since the start.
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

/// A route at one moment. Where it stands in the log says the log's sink of the same name. Counts are since it was opened,
/// at the start or a reload that changed it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// What it delivers to: its sink, and those that its layers name.
    pub receivers: Vec<ReceiverStatus>,
    /// What its layers know, the outermost first; layers that know nothing are not there.
    pub layers: Vec<LayerStatus>,
}

/// What a route delivers to, behind all layers. What a layer tries again counts again.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ReceiverStatus {
    /// Its URL without a password, and a number where a route names the same one twice.
    pub url: String,
    /// Deliveries that were begun, of one packet or many.
    pub deliveries: u64,
    /// Those under way now.
    pub under_way: usize,
    /// Packets that it accepted.
    pub accepted: u64,
    /// Packets that it failed or refused, and those of deliveries that failed as a whole.
    pub failed: u64,
    /// Deliveries whose answer was not waited for: they took too long, or the route ended.
    pub abandoned: u64,
    /// How long it took for its answers; deliveries that failed as a whole have none.
    pub times: DeliveryTimes,
    /// The last failure, also of one that is over.
    pub last_failure: Option<String>,
}

/// The upper ends of the ranges in which the times of deliveries are counted, in microseconds.
pub(crate) const DELIVERY_BOUNDS_US: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000];

/// How long deliveries took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeliveryTimes {
    /// The upper end of each range but the last, which has none, in microseconds.
    pub bounds_us: [u64; 12],
    /// The deliveries in each range.
    pub counts: [u64; 13],
    /// The time that all took together, in microseconds.
    pub sum_us: u64,
}

/// What a layer knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "layer", rename_all = "snake_case")]
#[non_exhaustive]
pub enum LayerStatus {
    /// A breaker.
    Breaker {
        /// `closed`, `open` or `half_open`.
        state: &'static str,
    },
    /// A queue.
    Queue {
        /// Deliveries that wait for their turn.
        waiting: usize,
    },
    /// A balance.
    Balance {
        /// Its members.
        members: usize,
        /// Those that are passed over for now, since they failed.
        passed_over: Vec<String>,
    },
    /// A fallback.
    Fallback {
        /// The position of the one that is delivered to now; 0 is the preferred one.
        active: usize,
        /// Its URL.
        url: String,
    },
    /// A limit that bounds deliveries at once.
    Limit {
        /// Deliveries that may be under way now.
        allowed: usize,
    },
    /// An outbox, once it is open: with the first packet.
    Outbox {
        /// Packets that are not delivered.
        pending: u64,
        /// Size in bytes on disk of what waits, in whole files.
        bytes: u64,
        /// Packets that the sink behind it accepted.
        delivered: u64,
        /// Times that a delivery was tried again.
        retries: u64,
        /// Packets that were refused for good since it was opened.
        dead: u64,
        /// Packets lost to its sink: damaged on disk.
        lost: u64,
        /// Packets removed to make room.
        dropped: u64,
        /// The failure that it is stuck at, or that of its disk.
        failure: Option<String>,
    },
}
