#![doc = include_str!("../README.md")]

mod namespace;
mod tcp;
mod udp;

pub use namespace::Namespace;
pub use tcp::{Cut, TcpFaults, TcpRelay, TcpStats};
pub use udp::{UdpFaults, UdpRelay, UdpStats};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// Chances drawn from a seed: the same for the same way of the same connection, whatever the others do.
fn dice(seed: u64, connection: u64, way: u64) -> SmallRng {
    let mut of_all = SmallRng::seed_from_u64(seed);
    let (a, b): (u64, u64) = (of_all.random(), of_all.random());
    SmallRng::seed_from_u64(a.wrapping_mul(connection.wrapping_add(1)) ^ b.wrapping_mul(way.wrapping_add(1)))
}

/// Waits until `due`. What is due is not waited for: tokio's timer would round it up to a millisecond.
async fn arrival(due: Instant) {
    if due > Instant::now() {
        sleep_until(due).await;
    }
}

/// A relay's task, which ends with the relay.
#[derive(Debug)]
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}
