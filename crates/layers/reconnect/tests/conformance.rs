//! The conformance suites over a connection that dials again by itself.

use std::time::Duration;

use haul_kit::{Over, connection, dialer};
use haul_reconnect::{Reconnect, ReconnectLayer, ReconnectOptions};
use tower_layer::Layer;

/// Gives up soon: the other end of a pair is not listened on again.
fn reconnect() -> Reconnect {
    let options = ReconnectOptions { attempts: Some(2), base: Duration::ZERO, ..ReconnectOptions::default() };
    let layer = ReconnectLayer::new(options).expect("the options are in their ranges");
    layer.layer(haul_mem::Dialer::default())
}

fn over() -> Over {
    Over::new("mem://kit-reconnect-{n}", reconnect(), async |endpoint| haul_mem::listen(endpoint))
}

#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    connection::suite("haul-reconnect", over()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialers() {
    dialer::suite("haul-reconnect", over()).await;
}
