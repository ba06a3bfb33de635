//! The connector against a PostgreSQL server.

#![allow(clippy::unwrap_used)]

mod access;
mod faults;
mod places;
mod server;
mod support;

use std::sync::Arc;

use haul_core::{AnySink, AnySource, DeliverAll};
use haul_kit::{sink, source};

use server::Postgres;
use support::{fresh, payloads, queue, sink as sink_to};

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    let Some(postgres) = Postgres::start(&[]).map(Arc::new) else { return };
    sink::suite("haul-postgres", move || {
        let (postgres, table) = (postgres.clone(), fresh("sink"));
        async move {
            let url = postgres.url(&format!("table={table}&create=true&max_packet=1MiB"));
            let rig = sink::Rig::new(AnySink::new(sink_to(&url))).holds(postgres.clone());
            rig.reads_back(move || {
                let (postgres, table) = (postgres.clone(), table.clone());
                async move { payloads(&postgres, &table).await }
            })
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources() {
    let Some(postgres) = Postgres::start(&[]).map(Arc::new) else { return };
    source::suite("haul-postgres", move || {
        let postgres = postgres.clone();
        async move {
            let url = postgres.url(&format!("table={}&create=true", fresh("source")));
            let from = format!("{url}&max_unacked=16&poll=20ms");
            let rig = source::Rig::new(
                move |packets| {
                    let sink = sink_to(&url);
                    async move {
                        for outcome in sink.deliver_all(packets).await.unwrap() {
                            outcome.unwrap();
                        }
                    }
                },
                move || {
                    let source = queue(&from);
                    async move { AnySource::new(source) }
                },
            );
            rig.holds(postgres)
        }
    })
    .await;
}
