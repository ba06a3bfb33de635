//! The connector against a RabbitMQ server.

#![allow(clippy::unwrap_used)]

mod faults;
mod outages;
mod places;
mod support;

use haul_core::{AnySink, AnySource, DeliverAll};
use haul_kit::{sink, source};

use support::{fresh, payloads, shared};

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    let Some(rabbit) = shared() else { return };
    sink::suite("haul-amqp", move || async move {
        let queue = fresh("sink");
        let sink = rabbit.sink(&format!("/?queue={queue}&declare=true&max_packet=1MiB"));
        rabbit.declare(&queue).await;
        sink::Rig::new(AnySink::new(sink)).reads_back(move || {
            let queue = queue.clone();
            async move { payloads(rabbit, &queue).await }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources() {
    let Some(rabbit) = shared() else { return };
    source::suite("haul-amqp", move || async move {
        let queue = format!("/?queue={}&declare=true", fresh("source"));
        let to = queue.clone();
        source::Rig::new(
            move |packets| {
                let sink = rabbit.sink(&to);
                async move {
                    for outcome in sink.deliver_all(packets).await.unwrap() {
                        outcome.unwrap();
                    }
                }
            },
            move || {
                let source = rabbit.source(&format!("{queue}&max_unacked=16"));
                async move { AnySource::new(source) }
            },
        )
    })
    .await;
}
