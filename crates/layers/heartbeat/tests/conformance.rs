//! The conformance suites over links that are watched.

use std::time::Duration;

use haul_core::wire::Framing;
use haul_core::{Connection, Info, Limits, Link};
use haul_heartbeat::{Heartbeat, HeartbeatLayer, HeartbeatOptions};
use haul_kit::{Over, Pairs, connection, dialer};
use tower_layer::Layer;

/// Asks often, and waits long: a slow machine is no dead peer.
fn layer() -> HeartbeatLayer {
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_secs(20));
    let options = HeartbeatOptions { interval, timeout, ..HeartbeatOptions::default() };
    HeartbeatLayer::new(options).expect("the options are in their ranges")
}

fn heartbeat() -> Heartbeat<haul_mem::Dialer> {
    layer().layer(haul_mem::Dialer::default())
}

/// Both ends of a byte stream, each watched.
async fn streams(limits: Limits) -> (Connection, Connection) {
    let (one, other) = tokio::io::duplex(64 << 10);
    let watched = |pipe| {
        let (read, write) = tokio::io::split(pipe);
        let mut info = Info::new("pipe", "");
        (info.local, info.peer) = ("one end".to_owned(), "the other".to_owned());
        let link = Link::over_stream(info, limits.clone(), Framing::Haul, read, write);
        let (link, _) = layer().watch(link).expect("it has pings");
        Connection::new(link, haul_kit::spawn)
    };
    (watched(one), watched(other))
}

fn over() -> Over {
    Over::new("mem://kit-heartbeat-{n}", heartbeat(), async |endpoint| haul_mem::listen(endpoint))
}

#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    connection::suite("haul-heartbeat", over()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn byte_streams() {
    connection::suite("haul-heartbeat/stream", Pairs::new(streams)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialers() {
    dialer::suite("haul-heartbeat", over()).await;
}
