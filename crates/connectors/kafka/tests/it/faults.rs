//! Clusters that are away, stuck, or do not know us.

use std::collections::HashSet;
use std::time::Duration;

use haul_core::{Deliver, DeliverAll, ErrorKind, Packet, Sent, Sink as _, Source as _, Status};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::broker::Broker;
use crate::support::{fresh, next, read_all, sink, soon, source, stored};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_there_is_said_to_have_got_nothing() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for options in ["connect_timeout=300ms", "connect_timeout=300ms&transactional_id=t"] {
        let sink = sink(&format!("kafka://127.0.0.1:{closed}/x"), options);
        let why = soon("an answer", sink.ready()).await.unwrap_err();
        let facts = (why.kind(), why.status(), why.sent());
        assert_eq!(facts, (ErrorKind::Connect, Status::Transient, Sent::No), "{why}");
        let why = soon("an answer", sink.deliver(Packet::text("x"))).await.unwrap_err();
        assert_eq!((why.kind(), why.sent()), (ErrorKind::Connect, Sent::No), "{why}");
        soon("the close", sink.close()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_for_good_and_the_right_one_works() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(&fresh("guarded"), 1).await;
    let url = |who: &str| format!("kafka://{who}@127.0.0.1:{}/{topic}", broker.guarded);
    let patience = "connect_timeout=60s";
    let refused = sink(&url("haul:wrong"), patience);
    let why = soon("a refusal", refused.deliver(Packet::text("x"))).await.unwrap_err();
    let facts = (why.kind(), why.status(), why.sent());
    assert_eq!(facts, (ErrorKind::Unauthorized, Status::Permanent, Sent::No), "{why}");
    assert!(!format!("{why:?}").contains("wrong"), "it shows the password: {why:?}");
    let mut refused = source(&url("haul:wrong"), patience);
    let why = soon("a refusal", refused.next()).await.unwrap_err();
    assert_eq!((why.kind(), why.status()), (ErrorKind::Unauthorized, Status::Permanent), "{why}");

    sink(&url("haul:secret"), patience).deliver(Packet::text("x")).await.unwrap();
    let mut known = source(&url("haul:secret"), "group=guarded");
    assert_eq!(next(&mut known).await.packet().as_text(), Some("x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_stands_still_is_given_up_on_and_used_again_when_it_moves() {
    let Some(broker) = Broker::start() else { return };
    let topic = broker.topic("x", 1).await;
    let sink = sink(&broker.url(&topic), "timeout=2s&max_packet=100kB&buffer_memory=200kB");
    soon("a receipt", async { while sink.deliver(Packet::text("before")).await.is_err() {} }).await;
    broker.signal("-STOP");
    let batch: Vec<_> = (0..5).map(|n| Packet::text(format!("{n}{}", "x".repeat(90_000)))).collect();
    let outcomes = soon("the timeout", sink.deliver_all(batch)).await.unwrap();
    let said: Vec<_> = outcomes.iter().map(|o| o.as_ref().map_err(|why| (why.kind(), why.sent()))).collect();
    // Two have room in the buffer; when their time is up, so is that of those who wait for room.
    let timeouts = said.iter().filter(|o| **o == Err((ErrorKind::Timeout, Sent::Maybe))).count();
    let full = said.iter().filter(|o| **o == Err((ErrorKind::Overloaded, Sent::No))).count();
    assert!(timeouts >= 2 && timeouts + full == 5, "{outcomes:?}");
    broker.signal("-CONT");
    soon("a receipt", async { while sink.deliver(Packet::text("after")).await.is_err() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_kills_and_restarts_all_that_was_answered_is_there_and_the_source_gives_it() {
    const BATCHES: u32 = 60;
    let Some(mut broker) = Broker::start() else { return };
    let topic = broker.topic("x", 1).await;
    let url = broker.url(&topic);
    let sending = tokio::spawn({
        let sink = sink(&url, "connect_timeout=1s&timeout=5s&linger=0ms");
        async move {
            let mut answered = Vec::new();
            for round in 0..BATCHES {
                // Each batch until it is answered whole: at least once.
                let mut rest: Vec<_> = (0..50).map(|n| Packet::text((round * 50 + n).to_string())).collect();
                while !rest.is_empty() {
                    let outcomes = match sink.deliver_all(rest.clone()).await {
                        Ok(outcomes) => outcomes,
                        Err(why) => {
                            assert_eq!((why.status(), why.sent()), (Status::Transient, Sent::No), "{why}");
                            continue;
                        }
                    };
                    let mut left = Vec::new();
                    for (packet, outcome) in rest.into_iter().zip(outcomes) {
                        match outcome {
                            Ok(_) => answered.push(packet.as_text().unwrap().to_owned()),
                            Err(why) => {
                                assert_eq!(why.status(), Status::Transient, "{why}");
                                left.push(packet);
                            }
                        }
                    }
                    rest = left;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answered
        }
    });
    let mut source = source(&url, "session_timeout=6s");
    let reading = tokio::spawn(async move {
        let mut seen = HashSet::new();
        while seen.len() < BATCHES as usize * 50 {
            let delivery = source.next().await.unwrap().unwrap();
            let text = delivery.packet().as_text().unwrap().to_owned();
            // One whose acknowledgement comes too late comes again.
            if delivery.ack(stored()).await.is_ok() {
                seen.insert(text);
            }
        }
    });
    for _ in 0..haul_services::kills().min(2) {
        tokio::time::sleep(Duration::from_millis(1000)).await;
        broker = tokio::task::spawn_blocking(move || {
            broker.kill();
            broker.run();
            broker
        })
        .await
        .unwrap();
    }
    let answered = within_minutes("all to be answered", sending).await.unwrap();
    assert_eq!(answered.len(), BATCHES as usize * 50);
    let there = read_all(broker.port, topic).await;
    let there: HashSet<_> = there.iter().map(|payload| std::str::from_utf8(payload).unwrap()).collect();
    let missing: Vec<_> = answered.iter().filter(|text| !there.contains(text.as_str())).collect();
    assert!(missing.is_empty(), "answered and not there: {missing:?}");
    within_minutes("all to be read", reading).await.unwrap();
}

/// By the double that librdkafka brings: no broker of Apache's fails a commit and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_which_nothing_is_known_is_said_to_be_that_and_the_next_transaction_works() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("x", 1, 1).unwrap();
    let url = format!("kafka://{}/x", cluster.bootstrap_servers());
    let sink = sink(&url, "timeout=2s&linger=0ms&transactional_id=t");
    soon("a receipt", sink.deliver(Packet::text("before"))).await.unwrap();
    let busy = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; 10_000];
    cluster.request_errors(RDKafkaApiKey::EndTxn, &busy);
    let why = soon("the timeout", sink.deliver(Packet::text("unknown"))).await.unwrap_err();
    assert_eq!((why.status(), why.sent()), (Status::Transient, Sent::Maybe), "{why}");
    cluster.clear_request_errors(RDKafkaApiKey::EndTxn);
    soon("a receipt", async { while sink.deliver(Packet::text("after")).await.is_err() {} }).await;
}

/// Three starts of a server, each with its own deadline.
async fn within_minutes<T>(what: &str, work: impl Future<Output = T>) -> T {
    let within = Duration::from_secs(180);
    tokio::time::timeout(within, work).await.unwrap_or_else(|_| panic!("waited {within:?} for {what}"))
}
