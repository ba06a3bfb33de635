//! The connector against FerretDB, and against a server that answers what it is told to.

#![allow(clippy::unwrap_used)]

mod access;
mod answers;
mod faults;
mod places;
mod scripted;
mod server;
mod support;

use std::sync::Arc;

use haul_core::AnySink;
use haul_kit::sink;

use server::Ferret;
use support::{fresh, payloads, sink as sink_to};

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    let Some(ferret) = Ferret::start(&[]).map(Arc::new) else { return };
    sink::suite("haul-mongodb", move || {
        let (ferret, collection) = (ferret.clone(), fresh("sink"));
        async move {
            let url = ferret.url(&format!("collection={collection}&max_packet=1MiB"));
            let (port, rig) = (ferret.port, sink::Rig::new(AnySink::new(sink_to(&url))).holds(ferret));
            rig.reads_back(move || {
                let collection = collection.clone();
                async move { payloads(port, &collection).await }
            })
        }
    })
    .await;
}
