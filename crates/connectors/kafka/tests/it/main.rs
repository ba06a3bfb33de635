//! The connector against Apache Kafka.

#![allow(clippy::unwrap_used)]
#![cfg_attr(not(feature = "tls"), allow(dead_code, reason = "the broker has ports for TLS all the same"))]

mod broker;
mod faults;
mod groups;
mod records;
mod support;
#[cfg(feature = "tls")]
mod tls;

use haul_core::{AnySink, AnySource, DeliverAll};
use haul_kafka::{KafkaSink, KafkaSource};
use haul_kit::{sink, source};

use broker::Broker;
use support::{fresh, from, read_all, to};

#[tokio::test(flavor = "multi_thread")]
async fn sinks() {
    let Some(broker) = Broker::shared() else { return };
    sink::suite("haul-kafka", move || async move {
        let topic = broker.topic(&fresh("sink"), 1).await;
        let sink = to(&broker.url(&topic), "max_packet=512KiB&linger=0ms");
        let rig = sink::Rig::new(AnySink::new(KafkaSink::new(sink).unwrap()));
        rig.reads_back(move || read_all(broker.port, topic.clone()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_of_transactions() {
    let Some(broker) = Broker::shared() else { return };
    sink::suite("haul-kafka/transactions", move || async move {
        let topic = broker.topic(&fresh("transactions"), 1).await;
        let options = format!("max_packet=512KiB&linger=0ms&transactional_id={topic}");
        let sink = to(&broker.url(&topic), &options);
        let rig = sink::Rig::new(AnySink::new(KafkaSink::new(sink).unwrap()));
        rig.reads_back(move || read_all(broker.port, topic.clone()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources() {
    let Some(broker) = Broker::shared() else { return };
    source::suite("haul-kafka", move || async move {
        let topic = broker.topic(&fresh("source"), 1).await;
        let url = broker.url(&topic);
        let sink = to(&url, "linger=0ms");
        let group = from(&url, &format!("max_unacked=16&group={topic}"));
        source::Rig::new(
            move |packets| {
                let sink = KafkaSink::new(sink.clone()).unwrap();
                async move {
                    for outcome in sink.deliver_all(packets).await.unwrap() {
                        outcome.unwrap();
                    }
                }
            },
            move || {
                let source = KafkaSource::new(group.clone()).unwrap();
                async move { AnySource::new(source) }
            },
        )
    })
    .await;
}
