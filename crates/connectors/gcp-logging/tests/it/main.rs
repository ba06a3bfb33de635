//! The connector against a double of Google's servers.

#![allow(clippy::unwrap_used)]

mod double;
mod entries;
mod tokens;

use std::sync::Arc;

use haul_core::{AnySink, Endpoint, Result};
use haul_gcp_logging::{GcpLoggingConfig, GcpLoggingSink};
use haul_kit::sink;

use double::Double;

/// A sink for the log `l` of the project `p`, at a server on this port.
fn sink_with(port: u16, options: &str) -> Result<GcpLoggingSink> {
    let url = format!("gcp-logging://:secret@p/l?endpoint=http://127.0.0.1:{port}");
    let url = if options.is_empty() { url } else { format!("{url}&{options}") };
    GcpLoggingSink::new(GcpLoggingConfig::from_endpoint(&Endpoint::parse(&url)?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    sink::suite("haul-gcp-logging", async || {
        let server = Arc::new(Double::taking_all().await);
        let sink = sink_with(server.port, "max_packet=128KiB").unwrap();
        sink::Rig::new(AnySink::new(sink)).reads_back(move || {
            let server = server.clone();
            async move { server.payloads() }
        })
    })
    .await;
}
