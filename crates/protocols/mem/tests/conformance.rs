//! The conformance suites.

use haul_kit::{Over, Pairs, connection, dialer, listener, multiplex};

fn over() -> Over {
    Over::new("mem://kit-{n}", haul_mem::Dialer::default(), async |endpoint| haul_mem::listen(endpoint))
}

#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    connection::suite("haul-mem", over()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs() {
    let pairs = Pairs::new(async |limits| haul_mem::pair_with(limits));
    connection::suite("haul-mem", pairs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners() {
    listener::suite("haul-mem", over()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialers() {
    dialer::suite("haul-mem", over()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams() {
    multiplex::suite("haul-mem", over()).await;
}
