//! A relay of TCP connections.

mod carry;
mod pour;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Running;

/// Connections that are carried at once; more wait in the kernel.
const MOST: usize = 4096;

/// What happens to each connection, as bytes pass. Places in the stream are drawn from the relay's seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpFaults {
    /// The connection is cut, and how, when either way has carried this many bytes, or up to twice as many.
    pub cut_after: Option<(u64, Cut)>,
    /// One byte of each way is changed after this many bytes, or up to twice as many, and so on.
    pub corrupt_after: Option<u64>,
    /// What is written at once has at most so many bytes, and at least one.
    pub split: Option<usize>,
    /// How long bytes take, each way. Their order stays.
    pub delay: Duration,
    /// Bytes per second, each way of each connection.
    pub rate: Option<u64>,
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It ends, after what was carried before.
    End,
    /// It is reset: what was carried and not read is lost, too.
    Reset,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpStats {
    /// Connections that came.
    pub accepted: u64,
    /// Connections that are carried now.
    pub open: u64,
    /// Connections that the relay cut.
    pub cut: u64,
    /// Connections that it did not take.
    pub refused: u64,
    /// Bytes that it changed.
    pub corrupted: u64,
    /// Bytes that it carried, both ways.
    pub bytes: u64,
}

/// What a relay was told.
#[derive(Clone)]
struct Rules {
    faults: TcpFaults,
    target: SocketAddr,
    stalled: bool,
    refusing: bool,
    /// How often everything was cut, and how the last time.
    cuts: u64,
    how: Cut,
}

/// Listens on a free port of loopback and carries each connection to a target, as its faults and its holder say.
#[derive(Debug)]
pub struct TcpRelay {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    stats: watch::Receiver<TcpStats>,
    _running: Running,
}

impl TcpRelay {
    /// A relay to `target`. Errors: no free port. Must be called within a tokio runtime.
    pub async fn new(target: SocketAddr, seed: u64, faults: TcpFaults) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let rules = Rules { faults, target, stalled: false, refusing: false, cuts: 0, how: Cut::Reset };
        let (rules, heard) = watch::channel(rules);
        let (tell, stats) = watch::channel(TcpStats::default());
        let task = tokio::spawn(serve(listener, seed, heard, tell));
        Ok(Self { address, rules, stats, _running: Running(task.abort_handle()) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Other faults from now on, for the connections that stand, too. Places that were drawn stay.
    pub fn set(&self, faults: TcpFaults) {
        self.rules.send_modify(|rules| rules.faults = faults);
    }

    /// Leads new connections to another target.
    pub fn lead_to(&self, target: SocketAddr) {
        self.rules.send_modify(|rules| rules.target = target);
    }

    /// Cuts every connection that stands.
    pub fn cut(&self, how: Cut) {
        self.rules.send_modify(|rules| {
            rules.cuts += 1;
            rules.how = how;
        });
    }

    /// Carries nothing until [`go_on`](Self::go_on): connections stand and are silent, new ones too.
    pub fn stall(&self) {
        self.rules.send_modify(|rules| rules.stalled = true);
    }

    /// Carries again, and takes connections again.
    pub fn go_on(&self) {
        self.rules.send_modify(|rules| (rules.stalled, rules.refusing) = (false, false));
    }

    /// Resets new connections until [`go_on`](Self::go_on), as a host where nobody listens does.
    pub fn refuse(&self) {
        self.rules.send_modify(|rules| rules.refusing = true);
    }

    /// What happened so far.
    pub fn stats(&self) -> TcpStats {
        *self.stats.borrow()
    }

    /// Waits until `enough` is so. It has no deadline of its own. Cancel-safe.
    pub async fn until(&self, enough: impl Fn(&TcpStats) -> bool) -> TcpStats {
        let mut stats = self.stats.clone();
        *stats.wait_for(|stats| enough(stats)).await.expect("the relay runs as long as this")
    }
}

async fn serve(
    listener: TcpListener,
    seed: u64,
    rules: watch::Receiver<Rules>,
    stats: watch::Sender<TcpStats>,
) {
    let mut carried = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if carried.len() < MOST => accepted,
            Some(_) = carried.join_next() => continue,
        };
        // One that was gone before it was taken.
        let Ok((near, _)) = accepted else { continue };
        let number = stats.borrow().accepted;
        stats.send_modify(|stats| stats.accepted += 1);
        let (rules, stats) = (rules.clone(), stats.clone());
        carried.spawn(async move {
            let (target, refusing) = {
                let rules = rules.borrow();
                (rules.target, rules.refusing)
            };
            let far = if refusing { None } else { TcpStream::connect(target).await.ok() };
            let Some(far) = far else {
                carry::reset(&near);
                return stats.send_modify(|stats| stats.refused += 1);
            };
            stats.send_modify(|stats| stats.open += 1);
            carry::carry(near, far, seed, number, rules, &stats).await;
            stats.send_modify(|stats| stats.open -= 1);
        });
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules")
            .field("faults", &self.faults)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
