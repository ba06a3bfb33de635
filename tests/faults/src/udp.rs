//! A relay of UDP datagrams.

mod flow;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::{Running, dice};
use flow::Flow;

/// Clients at once; the datagrams of others are not taken.
const MOST: usize = 4096;

/// Datagrams of one client that wait to be looked at.
const WAITING: usize = 1024;

/// The largest datagram.
const LARGEST: usize = 65_536;

/// What happens to each datagram, each way, by chances between 0 and 1 that are drawn from the relay's seed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UdpFaults {
    /// It is lost.
    pub lost: f64,
    /// It arrives twice.
    pub doubled: f64,
    /// One byte of it is changed.
    pub corrupted: f64,
    /// It is held back for 5 ms more, so that others overtake it.
    pub held: f64,
    /// How long a datagram takes. Those that are not held keep their order.
    pub delay: Duration,
}

/// What happened so far, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpStats {
    /// Clients that came.
    pub clients: u64,
    /// Datagrams that were given to the other side.
    pub carried: u64,
    /// Datagrams that were lost by chance.
    pub lost: u64,
    /// Datagrams that were doubled.
    pub doubled: u64,
    /// Datagrams that were changed.
    pub corrupted: u64,
    /// Datagrams that were held back.
    pub held: u64,
    /// Datagrams that came while it was dark.
    pub swallowed: u64,
    /// Datagrams for which there was no room.
    pub overflowed: u64,
}

/// What a relay was told.
#[derive(Clone, Debug)]
struct Rules {
    faults: UdpFaults,
    target: SocketAddr,
    dark: bool,
    /// How often clients were given new addresses.
    moves: u64,
}

/// Listens on a free port of loopback and carries each client's datagrams to a target and back, as its faults and its
/// holder say. Clients are told apart by their address, as by a NAT.
#[derive(Debug)]
pub struct UdpRelay {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    stats: watch::Receiver<UdpStats>,
    _running: Running,
}

impl UdpRelay {
    /// A relay to `target`. Errors: no free port. Must be called within a tokio runtime.
    pub async fn new(target: SocketAddr, seed: u64, faults: UdpFaults) -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let (rules, heard) = watch::channel(Rules { faults, target, dark: false, moves: 0 });
        let (tell, stats) = watch::channel(UdpStats::default());
        let task = tokio::spawn(serve(Arc::new(socket), seed, heard, tell));
        Ok(Self { address, rules, stats, _running: Running(task.abort_handle()) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Other faults from now on. What is under way stays so.
    pub fn set(&self, faults: UdpFaults) {
        self.rules.send_modify(|rules| rules.faults = faults);
    }

    /// Leads every client to another target from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        self.rules.send_modify(|rules| rules.target = target);
    }

    /// Carries nothing until [`light_up`](Self::light_up), and loses what is under way.
    pub fn go_dark(&self) {
        self.rules.send_modify(|rules| rules.dark = true);
    }

    /// Carries again.
    pub fn light_up(&self) {
        self.rules.send_modify(|rules| rules.dark = false);
    }

    /// From now on the target sees every client come from another port, as behind a NAT that forgot.
    pub fn rebind(&self) {
        self.rules.send_modify(|rules| rules.moves += 1);
    }

    /// What happened so far.
    pub fn stats(&self) -> UdpStats {
        *self.stats.borrow()
    }

    /// Waits until `enough` is so. It has no deadline of its own. Cancel-safe.
    pub async fn until(&self, enough: impl Fn(&UdpStats) -> bool) -> UdpStats {
        let mut stats = self.stats.clone();
        *stats.wait_for(|stats| enough(stats)).await.expect("the relay runs as long as this")
    }
}

/// Gives what comes to the client's flow. What the kernel refuses once (a peer that is gone) ends nothing.
async fn serve(
    inside: Arc<UdpSocket>,
    seed: u64,
    rules: watch::Receiver<Rules>,
    stats: watch::Sender<UdpStats>,
) {
    let mut flows = HashMap::new();
    let mut running = JoinSet::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        let received = tokio::select! {
            received = inside.recv_from(&mut buffer) => received,
            Some(ended) = running.join_next() => {
                if let Ok(client) = ended {
                    flows.remove(&client);
                }
                continue;
            }
        };
        let Ok((length, client)) = received else { continue };
        if !flows.contains_key(&client) && flows.len() < MOST {
            let (give, given) = mpsc::channel(WAITING);
            let number = stats.borrow().clients;
            let dice = [0, 1].map(|way| dice(seed, number, way));
            let flow = Flow::new(inside.clone(), client, dice, rules.clone(), stats.clone());
            running.spawn(flow.run(given));
            flows.insert(client, give);
            stats.send_modify(|stats| stats.clients += 1);
        }
        let given = flows.get(&client).is_some_and(|flow| flow.try_send(buffer[..length].to_vec()).is_ok());
        if !given {
            stats.send_modify(|stats| stats.overflowed += 1);
        }
    }
}
