//! Allocations on the send and receive path, counted by the allocator.

use std::alloc::System;

use bytes::Bytes;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::peers::{End, haul};

#[global_allocator]
pub(crate) static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations per 64 B packet in an echo with a window of 16, both ends and directions together, once warm.
pub(crate) fn per_packet(url: &str) -> f64 {
    const PACKETS: usize = 20_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let (mut client, mut server) = haul::pair(url).await;
        let payload = Bytes::from_static(&[7; 64]);
        let echo = payload.clone();
        let server = tokio::spawn(async move {
            while End::recv(&mut server).await.is_some()
                && End::send(&mut server, echo.clone()).await.is_some()
            {}
        });
        for _ in 0..16 {
            End::send(&mut client, payload.clone()).await;
        }
        let mut echo = async |count| {
            for _ in 0..count {
                client.recv().await.expect("the server is there");
                End::send(&mut client, payload.clone()).await;
            }
        };
        echo(PACKETS).await;
        let region = Region::new(ALLOCATOR);
        echo(PACKETS).await;
        let change = region.change();
        server.abort();
        (change.allocations + change.reallocations) as f64 / PACKETS as f64
    })
}
