//! The conformance suites over links that are watched.

use std::time::Duration;

use haul_heartbeat::{Heartbeat, HeartbeatLayer, HeartbeatOptions};
use haul_kit::{Over, connection, dialer};
use tower_layer::Layer;

/// Asks all the time, and waits long: a slow machine is no dead peer.
fn heartbeat() -> Heartbeat<haul_mem::Dialer> {
    let (interval, timeout) = (Duration::from_millis(1), Duration::from_secs(20));
    let options = HeartbeatOptions { interval, timeout, ..HeartbeatOptions::default() };
    let layer = HeartbeatLayer::new(options).expect("the options are in their ranges");
    layer.layer(haul_mem::Dialer::default())
}

fn over() -> Over {
    Over::new("mem://kit-heartbeat-{n}", heartbeat(), async |endpoint| haul_mem::listen(endpoint))
}

#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    connection::suite("haul-heartbeat", over()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialers() {
    dialer::suite("haul-heartbeat", over()).await;
}
