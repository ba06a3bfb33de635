//! WebTransport against strangers and bad input.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod abandoned;
mod admission;
mod aioquic;
mod moves;
mod sessions;
mod settings;

use std::time::Duration;

use haul_core::{Connection, Dial, Endpoint, Listener, Result};
use tokio::time::timeout;

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), work).await.unwrap_or_else(|_| panic!("waited 60 s for {what}"))
}

async fn listen(rest: &str) -> Listener {
    haul_wt::listen(Endpoint::parse(&format!("wt://127.0.0.1:0{rest}")).unwrap()).await.unwrap()
}

fn port(listener: &Listener) -> u16 {
    listener.local_endpoint().port().unwrap()
}

async fn dial(url: &str) -> Result<Connection> {
    soon("the dial", haul_wt::Dialer::default().dial(Endpoint::parse(url).unwrap())).await
}
