//! How a route does at one moment.

use serde::Serialize;

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
pub(super) const DELIVERY_BOUNDS_US: [u64; 12] =
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
    /// An outbox, once it is open: a second after the start at the latest.
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
