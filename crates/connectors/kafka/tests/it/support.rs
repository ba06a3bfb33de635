//! Sinks and sources by URL, and what is in topics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use haul_core::{Delivery, Endpoint, Level, Receipt, Source as _};
use haul_kafka::{GroupConfig, KafkaConfig, KafkaSink, KafkaSource};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};

/// The configuration of a sink.
pub(crate) fn to(url: &str, options: &str) -> KafkaConfig {
    KafkaConfig::from_endpoint(&Endpoint::parse(&format!("{url}?{options}")).unwrap()).unwrap()
}

/// The configuration of a source.
pub(crate) fn from(url: &str, options: &str) -> GroupConfig {
    GroupConfig::from_endpoint(&Endpoint::parse(&format!("{url}?{options}")).unwrap()).unwrap()
}

pub(crate) fn sink(url: &str, options: &str) -> KafkaSink {
    KafkaSink::new(to(url, options)).unwrap()
}

pub(crate) fn source(url: &str, options: &str) -> KafkaSource {
    KafkaSource::new(from(url, options)).unwrap()
}

/// A name that nobody used.
pub(crate) fn fresh(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The payloads in the first partition of a topic, read by the client library itself; those of aborted transactions are not
/// among them.
pub(crate) async fn read_all(port: u16, topic: String) -> Vec<Bytes> {
    let payload = |record: OwnedMessage| Bytes::copy_from_slice(record.payload().unwrap_or_default());
    records(port, topic, 0).await.into_iter().map(payload).collect()
}

/// What is in a partition.
pub(crate) async fn records(port: u16, topic: String, partition: i32) -> Vec<OwnedMessage> {
    let read = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", format!("127.0.0.1:{port}"))
            .set("group.id", "the tests")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let (mut all, began) = (Vec::new(), Instant::now());
        loop {
            assert!(began.elapsed() < Duration::from_secs(60), "no end of {topic} after 60 s");
            match consumer.poll(Duration::from_secs(1)) {
                None => {}
                Some(Ok(record)) => all.push(record.detach()),
                Some(Err(KafkaError::PartitionEOF(_))) => return all,
                // While a server starts again.
                Some(Err(why)) => eprintln!("{topic}: {why}"),
            }
        }
    });
    read.await.unwrap()
}

/// The next packet of a source.
pub(crate) async fn next(source: &mut KafkaSource) -> Delivery {
    soon("a packet", source.next()).await.unwrap().expect("a source has no end")
}

pub(crate) fn stored() -> Receipt {
    Receipt::new(Level::Stored, None)
}

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .unwrap_or_else(|_| panic!("waited 60 s for {what}"))
}
