//! The connector against moto, a double of SQS, and against a double of our own that is as difficult as the server may be.

#![allow(clippy::unwrap_used)]

mod difficult;
mod double;
mod faults;
mod messages;
mod support;

use std::sync::Arc;
use std::time::Duration;

use haul_core::{AnySink, AnySource, DeliverAll};
use haul_kit::{sink, source};

use support::Moto;

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    let Some(moto) = Moto::start() else { return };
    let moto = Arc::new(moto);
    let suite = sink::Suite::new("haul-sqs", move || {
        let moto = moto.clone();
        async move {
            let queue = moto.queue(".fifo");
            let sink = support::sink(moto.port, &queue, "group=all&max_packet=256KiB");
            sink::Rig::new(AnySink::new(sink)).reads_back(move || {
                let (moto, queue) = (moto.clone(), queue.clone());
                async move { moto.read_all(&queue).await.iter().map(support::Message::payload).collect() }
            })
        }
    });
    suite.patience(Duration::from_secs(60)).run().await;
}

/// A FIFO queue, as no other keeps the order that the suite asks for; it gives one packet of a group at a time.
#[tokio::test(flavor = "multi_thread")]
async fn sources() {
    let Some(moto) = Moto::start() else { return };
    let moto = Arc::new(moto);
    let suite = source::Suite::new("haul-sqs", move || {
        let moto = moto.clone();
        async move {
            let queue = moto.queue(".fifo");
            let (port, from) = (moto.port, queue.clone());
            let rig = source::Rig::new(
                move |packets| {
                    let sink = support::sink(port, &queue, "group=all");
                    async move {
                        for outcome in sink.deliver_all(packets).await.unwrap() {
                            outcome.unwrap();
                        }
                    }
                },
                move || {
                    let source = support::source(port, &from, "max_unacked=1&visibility=8s&wait=1s");
                    async move { AnySource::new(source) }
                },
            );
            rig.holds(moto)
        }
    });
    suite.patience(Duration::from_secs(60)).run().await;
}
