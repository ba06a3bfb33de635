//! One client of a relay.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{LARGEST, Rules, UdpStats};
use crate::arrival;

/// How much later a datagram arrives that is held back.
const HELD: Duration = Duration::from_millis(5);

/// Datagrams that may be under way, both ways.
const UNDER_WAY: usize = 8192;

/// A client that is not heard of, and not spoken to, for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Which way a datagram goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Up,
    Down,
}

/// A datagram under way: when it arrives, its number, which way it goes, and its bytes.
type UnderWay = Reverse<(Instant, u64, Way, Vec<u8>)>;

pub(super) struct Flow {
    inside: Arc<UdpSocket>,
    client: SocketAddr,
    /// Of each way.
    dice: [SmallRng; 2],
    rules: watch::Receiver<Rules>,
    stats: watch::Sender<UdpStats>,
    under_way: BinaryHeap<UnderWay>,
    number: u64,
}

impl Flow {
    pub(super) fn new(
        inside: Arc<UdpSocket>,
        client: SocketAddr,
        dice: [SmallRng; 2],
        rules: watch::Receiver<Rules>,
        stats: watch::Sender<UdpStats>,
    ) -> Self {
        Self { inside, client, dice, rules, stats, under_way: BinaryHeap::new(), number: 0 }
    }

    /// Carries until the client is forgotten, and answers who it was.
    pub(super) async fn run(mut self, mut given: mpsc::Receiver<Vec<u8>>) -> SocketAddr {
        // Without a socket of its own the client is not heard, as by a NAT with no port left.
        let _ = self.carry(&mut given).await;
        self.client
    }

    async fn carry(&mut self, given: &mut mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
        let mut outside = UdpSocket::bind("127.0.0.1:0").await?;
        let mut moves = self.rules.borrow().moves;
        let mut buffer = vec![0; LARGEST];
        let mut forgotten = Instant::now() + FORGOTTEN;
        loop {
            let rules = self.rules.borrow_and_update().clone();
            if rules.moves != moves {
                moves = rules.moves;
                outside = UdpSocket::bind("127.0.0.1:0").await?;
            }
            if rules.dark {
                let lost = self.under_way.drain().count() as u64;
                self.stats.send_modify(|stats| stats.swallowed += lost);
            }
            let due = self.under_way.peek().map(|Reverse((due, ..))| *due);
            tokio::select! {
                told = self.rules.changed() => told.map_err(io::Error::other)?,
                () = arrival(due.unwrap_or(forgotten)) => match self.under_way.pop() {
                    Some(Reverse((_, _, way, bytes))) => self.give(&outside, rules.target, way, &bytes).await,
                    None => return Ok(()),
                },
                Some(bytes) = given.recv() => {
                    self.take(&rules, Way::Up, bytes);
                    forgotten = Instant::now() + FORGOTTEN;
                }
                received = outside.recv_from(&mut buffer) => if let Ok((length, _)) = received {
                    self.take(&rules, Way::Down, buffer[..length].to_vec());
                    forgotten = Instant::now() + FORGOTTEN;
                },
            }
        }
    }

    /// Puts a datagram on its way, or loses it. Each takes as many chances as any, so that the next one's are the same
    /// whatever the faults are.
    fn take(&mut self, rules: &Rules, way: Way, mut bytes: Vec<u8>) {
        let faults = &rules.faults;
        let dice = &mut self.dice[way as usize];
        let [lost, doubled, corrupted, held] = [faults.lost, faults.doubled, faults.corrupted, faults.held]
            .map(|chance| dice.random_bool(chance));
        let (place, change): (u32, u8) = (dice.random(), dice.random_range(1..=255));
        if rules.dark {
            return self.stats.send_modify(|stats| stats.swallowed += 1);
        }
        if lost {
            return self.stats.send_modify(|stats| stats.lost += 1);
        }
        let copies = if doubled { 2 } else { 1 };
        if self.under_way.len() + copies > UNDER_WAY {
            return self.stats.send_modify(|stats| stats.overflowed += 1);
        }
        let corrupted = corrupted && !bytes.is_empty();
        if corrupted {
            let at = place as usize % bytes.len();
            bytes[at] ^= change;
        }
        let due = Instant::now() + faults.delay + if held { HELD } else { Duration::ZERO };
        for _ in 0..copies {
            self.number += 1;
            self.under_way.push(Reverse((due, self.number, way, bytes.clone())));
        }
        self.stats.send_modify(|stats| {
            stats.doubled += u64::from(doubled);
            stats.corrupted += u64::from(corrupted);
            stats.held += u64::from(held);
        });
    }

    /// Gives a datagram to its side, which may be gone.
    async fn give(&self, outside: &UdpSocket, target: SocketAddr, way: Way, bytes: &[u8]) {
        let given = match way {
            Way::Up => outside.send_to(bytes, target).await,
            Way::Down => self.inside.send_to(bytes, self.client).await,
        };
        match given {
            Ok(_) => self.stats.send_modify(|stats| stats.carried += 1),
            Err(_) => self.stats.send_modify(|stats| stats.overflowed += 1),
        }
    }
}
