//! The connections that are open, and what those of each protocol have carried.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use haul_core::Sender;
use haul_session::Acceptor;
use tokio::time::sleep;

use crate::status::{ProtocolStatus, RTT_BOUNDS_US, RttStatus};

/// How soon the round trip of a connection is measured, and how often.
const FIRST: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(10);

/// What requests to `/events` count as.
const HTTP: &str = "http";

pub(crate) struct Live {
    table: Mutex<Table>,
    /// Knows what sessions go over.
    acceptor: Acceptor,
}

#[derive(Default)]
struct Table {
    last: u64,
    open: HashMap<u64, Open>,
    counted: BTreeMap<&'static str, ProtocolStatus>,
}

struct Open {
    sender: Sender,
    /// What it went over when it was last looked at.
    protocol: &'static str,
    /// What it had carried by then.
    carried: Carried,
}

impl Live {
    /// Nothing is open; sessions are those of `acceptor`.
    pub(crate) fn new(acceptor: Acceptor) -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), acceptor })
    }

    /// Counts the connection of `sender` until the answer is dropped.
    pub(crate) fn enter(self: &Arc<Self>, sender: &Sender) -> Entered {
        let mut table = self.table();
        table.last += 1;
        let number = table.last;
        let protocol = sender.info().protocol;
        let of = table.of(protocol);
        (of.open, of.opened) = (of.open + 1, of.opened + 1);
        table.open.insert(number, Open { sender: sender.clone(), protocol, carried: Carried::default() });
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
        let mut table = self.table();
        let Table { open, counted, .. } = &mut *table;
        let mut status = LiveStatus::default();
        for open in open.values_mut() {
            open.look(&self.acceptor, counted);
            *status.states.entry(open.sender.state().name()).or_default() += 1;
            if let Some(rtt) = open.sender.stats().rtt {
                let bucket = RTT_BOUNDS_US.partition_point(|bound| u128::from(*bound) < rtt.as_micros());
                status.rtt.counts[bucket] += 1;
            }
        }
        status.protocols.clone_from(counted);
        status
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Open {
    /// What it carried since it was last looked at counts for what it went over then.
    fn look(&mut self, acceptor: &Acceptor, counted: &mut BTreeMap<&'static str, ProtocolStatus>) {
        let carried = Carried::by(&self.sender);
        let of = counted.entry(self.protocol).or_default();
        of.received += carried.received - self.carried.received;
        of.received_bytes += carried.received_bytes - self.carried.received_bytes;
        of.sent += carried.sent - self.carried.sent;
        of.sent_bytes += carried.sent_bytes - self.carried.sent_bytes;
        self.carried = carried;
        if let Some(now) = acceptor.protocol(self.sender.info()).filter(|now| *now != self.protocol) {
            of.open -= 1;
            counted.entry(now).or_default().open += 1;
            self.protocol = now;
        }
    }
}

/// Packets and bytes of one connection.
#[derive(Default)]
struct Carried {
    received: u64,
    received_bytes: u64,
    sent: u64,
    sent_bytes: u64,
}

impl Carried {
    fn by(sender: &Sender) -> Self {
        let stats = sender.stats();
        Self {
            received: stats.packets_received,
            received_bytes: stats.bytes_received,
            sent: stats.packets_sent,
            sent_bytes: stats.bytes_queued,
        }
    }
}

/// A connection that is counted as open.
pub(crate) struct Entered {
    live: Arc<Live>,
    number: u64,
}

impl Entered {
    /// Follows the connection from protocol to protocol, and measures its round trip from time to time, as long as it is
    /// polled.
    pub(crate) async fn watch(&self, sender: &Sender) -> Infallible {
        tokio::select! {
            never = self.follow(sender) => never,
            never = measure(sender) => never,
        }
    }

    /// A session that moves leaves its state, and comes back to it.
    async fn follow(&self, sender: &Sender) -> Infallible {
        let mut state = sender.watch();
        while state.changed().await.is_some() {
            let mut table = self.live.table();
            let Table { open, counted, .. } = &mut *table;
            if let Some(open) = open.get_mut(&self.number) {
                open.look(&self.live.acceptor, counted);
            }
        }
        std::future::pending().await
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut table = self.live.table();
        let Some(mut open) = table.open.remove(&self.number) else { return };
        open.look(&self.live.acceptor, &mut table.counted);
        table.of(open.protocol).open -= 1;
        drop(table);
        // Last: it closes the connection if nobody else holds it.
        drop(open);
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
async fn measure(sender: &Sender) -> Infallible {
    sleep(FIRST).await;
    while sender.info().pings {
        // The answer is in the statistics. A peer that gives none is asked again when it does.
        let _ = sender.ping().await;
        sleep(AGAIN).await;
    }
    std::future::pending().await
}
