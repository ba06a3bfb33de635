//! Consumers that share a topic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use haul_core::{DeliverAll, ErrorKind, Packet, Source as _};
use haul_kafka::KafkaSource;

use crate::broker::Broker;
use crate::support::{fresh, next, sink, soon, source, stored};

/// Delivers the texts of these numbers.
async fn put(url: &str, numbers: std::ops::Range<u32>) {
    let packets = numbers.map(|n| Packet::text(n.to_string()).with("n", n.to_string())).collect::<Vec<_>>();
    for outcome in sink(url, "key={n}").deliver_all(packets).await.unwrap() {
        outcome.unwrap();
    }
}

/// How often each text was given and acknowledged in time.
type Seen = Arc<Mutex<HashMap<String, u32>>>;

/// Reads and acknowledges until it is stopped.
fn reads(mut source: KafkaSource, seen: &Seen) -> tokio::task::JoinHandle<()> {
    let seen = seen.clone();
    tokio::spawn(async move {
        loop {
            let delivery = source.next().await.unwrap().unwrap();
            let text = delivery.packet().as_text().unwrap().to_owned();
            if delivery.ack(stored()).await.is_ok() {
                *seen.lock().unwrap().entry(text).or_default() += 1;
            }
        }
    })
}

async fn all_seen(seen: &Seen, count: usize) {
    soon(&format!("{count} packets to be seen"), async {
        while seen.lock().unwrap().len() < count {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_consumers_share_is_read_by_one_of_them_and_by_the_other_when_one_is_gone() {
    let Some(broker) = Broker::shared() else { return };
    let url = broker.url(&broker.topic(&fresh("shared"), 4).await);
    let seen = Seen::default();
    let options = "group=shared&max_unacked=16";
    let first = reads(source(&url, options), &seen);
    put(&url, 0..500).await;
    all_seen(&seen, 500).await;
    let (mut second, mut next_number) = (source(&url, options), 500);
    // Until the second has partitions.
    let delivery = soon("a packet for the second", async {
        loop {
            put(&url, next_number..next_number + 20).await;
            next_number += 20;
            let within = std::time::Duration::from_millis(500);
            if let Ok(next) = tokio::time::timeout(within, second.next()).await {
                break next.unwrap().unwrap();
            }
        }
    })
    .await;
    // Given back: as others of the two.
    drop(delivery);
    let second = reads(second, &seen);
    put(&url, next_number..next_number + 500).await;
    next_number += 500;
    all_seen(&seen, next_number as usize).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    put(&url, next_number..next_number + 100).await;
    next_number += 100;
    all_seen(&seen, next_number as usize).await;
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());

    // Nothing is left for a third but what comes now.
    put(&url, next_number..next_number + 1).await;
    let delivery = next(&mut source(&url, options)).await;
    assert_eq!(delivery.packet().as_text(), Some(next_number.to_string().as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_for_a_partition_that_went_away_is_refused_and_the_packet_given_again() {
    let Some(broker) = Broker::shared() else { return };
    let url = broker.url(&broker.topic(&fresh("revoked"), 2).await);
    put(&url, 0..100).await;
    let options = "group=revoked&max_unacked=200";
    let mut first = source(&url, options);
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(next(&mut first).await);
    }
    // It gets one of the two partitions; both change hands for it.
    let mut second = source(&url, options);
    let again = next(&mut second).await;
    let taken = again.packet().as_text().unwrap().to_owned();
    again.ack(stored()).await.unwrap();
    for delivery in held {
        let why = delivery.ack(stored()).await.unwrap_err();
        assert_eq!(why.kind(), ErrorKind::Closed, "{why}");
    }
    let seen = Seen::default();
    seen.lock().unwrap().insert(taken, 1);
    let readers = [reads(first, &seen), reads(second, &seen)];
    all_seen(&seen, 100).await;
    readers.iter().for_each(tokio::task::JoinHandle::abort);
}
