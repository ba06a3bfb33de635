//! The connector against a NATS server.

#![allow(clippy::unwrap_used)]

mod faults;
mod reading;
mod storing;
mod support;

use haul_core::{AnySink, AnySource, DeliverAll};
use haul_kit::{sink, source};

use support::{Ear, Nats, read_all};

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    if Nats::start().is_none() {
        return;
    }
    sink::suite("haul-nats", async || {
        let nats = Nats::start().expect("it was there");
        let url = nats.url("events?stream=EVENTS&create=events&max_packet=1MiB");
        let client = nats.client().await;
        let rig = sink::Rig::new(AnySink::new(support::sink(&url))).holds(nats);
        rig.reads_back(move || {
            let client = client.clone();
            async move { read_all(client, "EVENTS").await }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_without_jetstream() {
    if Nats::start().is_none() {
        return;
    }
    sink::suite("haul-nats/core", async || {
        let nats = Nats::start().expect("it was there");
        let url = nats.url("events?jetstream=false&max_packet=1MiB");
        let ear = Ear::at(&nats, "events").await;
        let rig = sink::Rig::new(AnySink::new(support::sink(&url))).holds(nats);
        rig.reads_back(move || {
            let ear = ear.clone();
            async move { ear.heard().await }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources() {
    if Nats::start().is_none() {
        return;
    }
    source::suite("haul-nats", async || {
        let nats = Nats::start().expect("it was there");
        let to = nats.url("events?stream=EVENTS&create=events");
        let from = nats.url("events?max_unacked=16&ack_wait=2s&again=50ms");
        // The source finds its stream by the subject.
        haul_core::Sink::ready(&support::sink(&to)).await.unwrap();
        let rig = source::Rig::new(
            move |packets| {
                let sink = support::sink(&to);
                async move {
                    for outcome in sink.deliver_all(packets).await.unwrap() {
                        outcome.unwrap();
                    }
                }
            },
            move || {
                let source = support::source(&from);
                async move { AnySource::new(source) }
            },
        );
        rig.holds(nats)
    })
    .await;
}
