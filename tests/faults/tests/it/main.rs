//! Sessions over real transports, behind networks that fail, and the networks themselves; random stacks of layers over sinks
//! that fail.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod browser;
mod clocks;
mod crowds;
mod datagrams;
mod history;
mod moves;
mod namespaces;
mod outages;
mod relays;
mod restarts;
mod stalls;
mod streams;
mod traffic;
mod transports;

use std::time::Duration;

/// `work`, or a failure that says what was waited for.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .unwrap_or_else(|_| panic!("waited 60 s for {what}"))
}
