//! The conformance suites, each way to choose around one member.

use haul_balance::{Balance, BalanceOptions, By, Member};
use haul_core::{Input, Shared};
use haul_kit::layer;

fn around<In: Input>(by: By, inner: Shared<In>) -> Shared<In> {
    let options = BalanceOptions { by, ..BalanceOptions::default() };
    Shared::new(Balance::new(options, [Member::new(inner)]).expect("the options are in their ranges"))
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries() {
    for by in [By::RoundRobin, By::LeastInFlight, By::Latency] {
        layer::suite("haul-balance", move |inner| around(by, inner)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    layer::batch_suite("haul-balance", |inner| around(By::RoundRobin, inner)).await;
}
