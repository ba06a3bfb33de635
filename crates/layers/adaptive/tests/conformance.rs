//! The conformance suites over a race that the second candidate wins.

use haul_adaptive::{Adaptive, AdaptiveOptions, Candidate};
use haul_kit::{Over, connection, dialer};

fn adaptive() -> Adaptive {
    // Names of its own, on which nobody listens.
    let refused = haul_mem::Mem::new().dialer();
    let candidates = [Candidate::new("refused", refused), Candidate::new("mem", haul_mem::Dialer::default())];
    Adaptive::new(AdaptiveOptions::default(), candidates).expect("the options are in their ranges")
}

fn over() -> Over {
    Over::new("mem://kit-adaptive-{n}", adaptive(), async |endpoint| haul_mem::listen(endpoint))
}

#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    connection::suite("haul-adaptive", over()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialers() {
    dialer::suite("haul-adaptive", over()).await;
}
