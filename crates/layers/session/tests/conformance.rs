//! The suites of the kit, over sessions over mem and tcp, and over plain connections beside sessions.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::time::Duration;

use haul_core::{Endpoint, Limits, Listener, ListenerLimits, Place, Result, Service};
use haul_kit::{Over, Raw, connection, dialer, listener};
use haul_session::{Acceptor, AcceptorOptions, SessionLayer, SessionOptions};
use tower_layer::Layer as _;

/// What a listener of sessions is given: its own limits, and the endpoint for the listener beneath.
fn split(endpoint: &Endpoint) -> Result<(Acceptor, Endpoint)> {
    // A session whose dial was cancelled is kept for its client for so long.
    let retention = Duration::from_secs(2);
    split_for(endpoint, AcceptorOptions { retention, ..AcceptorOptions::default() })
}

fn split_for(endpoint: &Endpoint, acceptor: AcceptorOptions) -> Result<(Acceptor, Endpoint)> {
    let options = endpoint.options(Place::Query, &[Limits::OPTIONS, ListenerLimits::OPTIONS].concat())?;
    let limits = ListenerLimits::from_options(&options)?;
    let mut beneath = Endpoint::parse(endpoint.as_str())?;
    for name in Limits::OPTIONS {
        if let Some(value) = options.text(name) {
            beneath = beneath.with_option(name, value);
        }
    }
    Ok((Acceptor::new(AcceptorOptions { limits, ..acceptor })?, beneath))
}

fn layered(dialer: impl Service<Endpoint>) -> impl Service<Endpoint> {
    SessionLayer::new(SessionOptions::default()).unwrap().layer(dialer)
}

async fn listen_mem(endpoint: Endpoint) -> Result<Listener> {
    let (acceptor, beneath) = split(&endpoint)?;
    acceptor.listen(vec![haul_mem::listen(beneath)?])
}

async fn listen_tcp(endpoint: Endpoint) -> Result<Listener> {
    let (acceptor, beneath) = split(&endpoint)?;
    acceptor.listen(vec![haul_tcp::listen(beneath).await?])
}

/// Lets peers without sessions in.
async fn listen_plain(endpoint: Endpoint) -> Result<Listener> {
    let greeting = Duration::from_millis(20);
    let admitting = AcceptorOptions { admit_plain: true, greeting, ..AcceptorOptions::default() };
    let (acceptor, beneath) = split_for(&endpoint, admitting)?;
    acceptor.listen(vec![haul_tcp::listen(beneath).await?])
}

fn over_mem() -> Over {
    Over::new("mem://session-{n}", layered(haul_mem::Dialer::default()), listen_mem)
}

fn over_tcp() -> Over {
    Over::new("tcp://127.0.0.1:0", layered(haul_tcp::Dialer), listen_tcp)
}

async fn half_open(endpoint: Endpoint) -> Raw {
    use haul_core::Dial as _;
    match endpoint.scheme() {
        "mem" => Box::new(haul_mem::Dialer::default().dial(endpoint).await.unwrap()),
        _ => Box::new(haul_tcp::Dialer.dial(endpoint).await.unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_mem() {
    connection::suite("haul-session/mem", over_mem()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_tcp() {
    connection::suite("haul-session/tcp", over_tcp()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_plain_peers_are_what_those_of_tcp_are() {
    let plain = Over::new("tcp://127.0.0.1:0", haul_tcp::Dialer, listen_plain);
    connection::suite("haul-tcp", plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_over_mem() {
    listener::Suite::new("haul-session/mem", over_mem()).half_open(half_open).run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_over_tcp() {
    listener::Suite::new("haul-session/tcp", over_tcp()).half_open(half_open).run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialers_over_mem() {
    dialer::suite("haul-session/mem-dials", over_mem()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialers_over_tcp() {
    dialer::suite("haul-session/tcp", over_tcp()).await;
}
