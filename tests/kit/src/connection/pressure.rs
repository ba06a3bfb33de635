//! Peers that do not read.

use std::time::Duration;

use haul_core::{CloseReason, Connection, Limits};
use tokio::time::timeout;

use super::{Suite, fact, send};
use crate::run::{done, go};
use crate::soon;

/// Size of the packets that fill a connection.
const SIZE: usize = 16 << 10;

/// No system buffers more than this between two ends that do not read.
const MOST: u64 = 96 << 20;

impl Suite {
    /// Sends numbered packets until `send` waits, and answers how many were accepted. It is enough that a send waits
    /// for half a second: on a slow machine fewer were sent, and nothing else changes.
    pub(super) async fn fill(&self, end: &Connection) -> u64 {
        for number in 0..MOST / SIZE as u64 {
            let sent = timeout(Duration::from_millis(500), end.send(self.numbered(number, SIZE))).await;
            match sent {
                Ok(sent) => sent.expect("a send to a peer that does not read"),
                // Cancelled: it was queued whole or not at all, as the statistics say.
                Err(_) => return end.stats().packets_queued,
            }
        }
        panic!("{MOST} bytes were accepted for a peer that does not read");
    }
}

pub(super) async fn slow_reader(cx: Suite) {
    let limits = cx.limits();
    let (a, mut b) = cx.pair().await;
    let count = cx.fill(&a).await;
    let stats = a.stats();
    let waiting = (stats.packets_queued - stats.packets_sent) * SIZE as u64;
    let bound = 2 * (limits.send_buffer + SIZE + (32 << 10)) as u64;
    assert!(waiting <= bound, "{waiting} bytes wait in a send buffer of {}", limits.send_buffer);
    let ahead = b.stats().bytes_received;
    // Over the bound by one packet; where packets have no boundaries, by one read.
    let over = if cx.cx.expect.boundaries { 2 * SIZE } else { 64 << 10 };
    let bound = (limits.read_ahead + over) as u64;
    assert!(ahead <= bound, "{ahead} bytes were read ahead; the bound is {}", limits.read_ahead);
    let all: Vec<_> = (0..count).map(|number| cx.numbered(number, SIZE)).collect();
    cx.receives(&mut b, &all).await;
    let last = cx.numbered(1, 10);
    send(&a, &last).await;
    cx.receives(&mut b, &[last]).await;
}

pub(super) async fn never_reads(cx: Suite) {
    let limits = Limits { close_deadline: Duration::from_millis(300), ..cx.limits() };
    let (a, b) = cx.pair_with(limits).await;
    cx.fill(&a).await;
    let error = soon("close to give up", a.close(CloseReason::NORMAL)).await;
    let error = error.expect_err("a close that lost packets was Ok");
    let stats = a.stats();
    let lost = stats.packets_queued - stats.packets_sent;
    assert!(lost > 0, "nothing was left to flush");
    assert_eq!(fact(&error, "not_flushed"), Some(&*lost.to_string()), "{error}");
    assert_eq!(a.state().name(), "failed", "the state after packets were lost");
    drop(b);
}

pub(super) async fn blocked_send_ends(cx: Suite) {
    let (a, b) = cx.pair().await;
    cx.fill(&a).await;
    let (sender, receiver) = a.split();
    let waiting = go({
        let (sender, packet) = (sender.clone(), cx.numbered(1, SIZE));
        async move {
            // Room may come up while the connection ends; a link that takes everything must not hold up the test.
            while let Ok(()) = sender.send(packet.clone()).await {
                tokio::task::yield_now().await;
            }
        }
    });
    b.abort(CloseReason::INTERNAL);
    done("a send that waits for room", waiting).await;
    assert!(sender.state().is_over());
    drop(receiver);
}
