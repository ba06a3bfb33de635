//! Memory of connections at rest, in a process of its own: other tests would be measured too.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::alloc::System;
use std::time::Duration;

use haul_core::{Connection, Dial, Packet};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::time::timeout;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 32;

/// Sends a packet of so many bytes there and back on each: those that came to the servers.
async fn echo(pairs: &mut [(Connection, Connection)], size: usize) -> Vec<Packet> {
    let mut came = Vec::with_capacity(pairs.len());
    for (client, server) in pairs {
        client.send(Packet::text("7".repeat(size))).await.unwrap();
        let packet = server.recv().await.unwrap().unwrap();
        server.send(packet.clone()).await.unwrap();
        assert_eq!(client.recv().await.unwrap().unwrap().len(), size);
        came.push(packet);
    }
    came
}

#[tokio::test]
async fn connections_at_rest_keep_little_whatever_has_passed() {
    let listener = haul_sse::listen("sse://127.0.0.1:0?replay=1KiB".parse().unwrap()).await.unwrap();
    let dialer = haul_sse::Dialer::default();
    let mut pairs = Vec::with_capacity(CONNECTIONS);
    let region = Region::new(ALLOCATOR);
    for _ in 0..CONNECTIONS {
        let (client, server) =
            tokio::join!(dialer.dial(listener.local_endpoint().clone()), listener.accept());
        pairs.push((client.unwrap(), server.unwrap().unwrap()));
    }
    let kept = || {
        let change = region.change();
        (change.bytes_allocated - change.bytes_deallocated) / CONNECTIONS
    };
    let rest = async |bound| {
        // Tasks that have yet to run drop what was sent last.
        let less = async {
            while kept() > bound {
                tokio::task::yield_now().await;
            }
        };
        let rested = timeout(Duration::from_secs(60), less).await;
        assert!(rested.is_ok(), "each keeps {} bytes, not {bound} at most", kept());
    };
    // Small packets that the application keeps count as such.
    let came = echo(&mut pairs, 64).await;
    rest(64 << 10).await;
    drop(came);
    // hyper's reading buffer grows with what comes, and stays so.
    for size in [1 << 20, 64] {
        drop(echo(&mut pairs, size).await);
    }
    rest(192 << 10).await;
}
