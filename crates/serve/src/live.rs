//! The connections that are open, and what those of each protocol have carried.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use haul_core::{Sender, Stats};
use tokio::time::sleep;

use crate::status::{ProtocolStatus, RTT_BOUNDS_US, RttStatus};

/// How soon the round trip of a connection is measured, and how often.
const FIRST: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(10);

/// What requests to `/events` count as.
const HTTP: &str = "http";

#[derive(Default)]
pub(crate) struct Live(Mutex<Table>);

#[derive(Default)]
struct Table {
    last: u64,
    open: HashMap<u64, Sender>,
    /// Of what is over, and of requests, which have no connection.
    counted: BTreeMap<&'static str, ProtocolStatus>,
}

impl Live {
    /// Counts the connection of `sender` until the answer is dropped.
    pub(crate) fn enter(self: &Arc<Self>, sender: &Sender) -> Entered {
        let mut table = self.table();
        table.last += 1;
        let number = table.last;
        table.of(sender.info().protocol).opened += 1;
        table.open.insert(number, sender.clone());
        Entered { live: self.clone(), number }
    }

    /// Counts a request to `/events` until the answer is dropped.
    pub(crate) fn request(self: &Arc<Self>) -> Requested {
        let mut table = self.table();
        let http = table.of(HTTP);
        (http.open, http.opened) = (http.open + 1, http.opened + 1);
        drop(table);
        Requested(self.clone())
    }

    /// What is open, how it stands, and how far away its peers are.
    pub(crate) fn status(&self) -> LiveStatus {
        let table = self.table();
        let mut status = LiveStatus { protocols: table.counted.clone(), ..LiveStatus::default() };
        for sender in table.open.values() {
            let stats = sender.stats();
            let protocol = status.protocols.entry(sender.info().protocol).or_default();
            protocol.open += 1;
            protocol.add(&stats);
            *status.states.entry(sender.state().name()).or_default() += 1;
            if let Some(rtt) = stats.rtt {
                let bucket = RTT_BOUNDS_US.partition_point(|bound| u128::from(*bound) < rtt.as_micros());
                status.rtt.counts[bucket] += 1;
            }
        }
        status
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn of(&mut self, protocol: &'static str) -> &mut ProtocolStatus {
        self.counted.entry(protocol).or_default()
    }
}

/// The part of a gateway's status that is about connections.
#[derive(Default)]
pub(crate) struct LiveStatus {
    pub(crate) protocols: BTreeMap<&'static str, ProtocolStatus>,
    pub(crate) states: BTreeMap<&'static str, usize>,
    pub(crate) rtt: RttStatus,
}

impl ProtocolStatus {
    fn add(&mut self, stats: &Stats) {
        self.received += stats.packets_received;
        self.received_bytes += stats.bytes_received;
        self.sent += stats.packets_sent;
        self.sent_bytes += stats.bytes_queued;
    }
}

/// A connection that is counted as open.
pub(crate) struct Entered {
    live: Arc<Live>,
    number: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut table = self.live.table();
        let Some(sender) = table.open.remove(&self.number) else { return };
        table.of(sender.info().protocol).add(&sender.stats());
        drop(table);
        // Last: it closes the connection if nobody else holds it.
        drop(sender);
    }
}

/// A request that is counted as open.
pub(crate) struct Requested(Arc<Live>);

impl Requested {
    /// It brought so many packets.
    pub(crate) fn brought(&self, packets: usize, bytes: usize) {
        let mut table = self.0.table();
        let http = table.of(HTTP);
        http.received += packets as u64;
        http.received_bytes += bytes as u64;
    }
}

impl Drop for Requested {
    fn drop(&mut self) {
        self.0.table().of(HTTP).open -= 1;
    }
}

/// Measures round trips from time to time, as long as it is polled.
pub(crate) async fn measure(sender: &Sender) -> std::convert::Infallible {
    sleep(FIRST).await;
    while sender.info().pings {
        // The answer is in the statistics. A peer that gives none is asked again when it does.
        let _ = sender.ping().await;
        sleep(AGAIN).await;
    }
    std::future::pending().await
}
