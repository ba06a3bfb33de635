//! A server that is killed, stopped, short of memory, or told to refuse.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use haul_core::{Deliver, DeliverAll, ErrorKind, Level, Packet, Receipt, Result, Sent, Sink, Source, Status};
use tokio::sync::{Mutex, MutexGuard};

use crate::support::{Rabbit, fresh, payloads, sink, soon};

/// The server that these tests ill-treat, one after the other.
static SERVER: Mutex<Option<Rabbit>> = Mutex::const_new(None);

/// `None` after saying what did not run.
async fn server() -> Option<MutexGuard<'static, Option<Rabbit>>> {
    let mut server = SERVER.lock().await;
    if server.is_none() {
        // Half a MiB is what one message may have.
        *server = tokio::task::block_in_place(|| Rabbit::start("max_message_size = 524288"));
    }
    server.is_some().then_some(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn through_kills_and_restarts_all_that_was_answered_is_there_and_the_source_gives_it() {
    let Some(mut server) = server().await else { return };
    let rabbit = server.as_mut().unwrap();
    let queue = fresh("kills");
    let url = format!("/?queue={queue}&declare=true");
    let answered = Arc::new(AtomicUsize::new(0));
    let sending = tokio::spawn({
        let (sink, answered) = (rabbit.sink(&url), answered.clone());
        async move {
            for round in 0..60u32 {
                let mut rest: Vec<_> = (0..50).map(|n| Packet::text((round * 50 + n).to_string())).collect();
                // Each until it is answered: at least once.
                while !rest.is_empty() {
                    let outcomes = sink.deliver_all(rest.clone()).await.unwrap();
                    let failed =
                        rest.into_iter().zip(outcomes).filter_map(|(packet, outcome)| match outcome {
                            Ok(receipt) => {
                                assert_eq!(receipt.level, Level::Stored);
                                answered.fetch_add(1, Ordering::Relaxed);
                                None
                            }
                            Err(why) => {
                                assert_eq!(why.status(), Status::Transient, "{why}");
                                Some(packet)
                            }
                        });
                    rest = failed.collect();
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            }
        }
    });
    let mut source = rabbit.source(&url);
    let reading = tokio::spawn(async move {
        let mut seen = HashSet::new();
        while seen.len() < 3000 {
            let delivery = source.next().await.unwrap().unwrap();
            let number: u32 = delivery.packet().as_text().unwrap().parse().unwrap();
            seen.insert(number);
            // One whose acknowledgement is lost may come again.
            let _ = delivery.ack(Receipt::new(Level::Stored, None)).await;
        }
    });
    for kill in 1..=haul_services::kills().min(2) as usize {
        soon("packets before the kill", async {
            while answered.load(Ordering::Relaxed) < kill * 700 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        })
        .await;
        tokio::task::block_in_place(|| {
            rabbit.kill();
            rabbit.start_again();
        });
    }
    soon("all to be answered", sending).await.unwrap();
    soon("all to be read", reading).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_is_given_up_on_and_used_again_when_it_goes_on() {
    let Some(server) = server().await else { return };
    let rabbit = server.as_ref().unwrap();
    let queue = fresh("stopped");
    let sink = rabbit.sink(&format!("/?queue={queue}&declare=true&timeout=3s&connect_timeout=3s"));
    soon("a delivery", async { while sink.deliver(Packet::text("1")).await.is_err() {} }).await;
    rabbit.signal("-STOP");
    let stopped = soon("the deadline", sink.deliver(Packet::text("2"))).await;
    rabbit.signal("-CONT");
    let why = stopped.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Timeout, Sent::Maybe), "{why}");
    soon("a delivery", async { while sink.deliver(Packet::text("3")).await.is_err() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_short_of_memory_is_waited_for_and_what_is_said_not_to_be_sent_is_not_there() {
    let Some(server) = server().await else { return };
    let rabbit = server.as_ref().unwrap();
    let queue = fresh("memory");
    let url = format!("/?queue={queue}&declare=true");
    rabbit.sink(&url).ready().await.unwrap();
    let control = |words: &[&str]| tokio::task::block_in_place(|| rabbit.control(words));
    control(&["set_vm_memory_high_watermark", "0.00001"]);
    let batch: Vec<_> = (0..2000).map(|n| Packet::text(format!("{n:04}{}", "x".repeat(4000)))).collect();
    let hurried = rabbit.sink(&format!("{url}&timeout=2s"));
    let outcomes = soon("the deadline", hurried.deliver_all(batch)).await.unwrap();
    let patient = rabbit.sink(&url);
    let patient = tokio::spawn(async move { patient.deliver_all(vec![Packet::text("late")]).await });
    control(&["set_vm_memory_high_watermark", "0.4"]);
    let late = soon("the patient one", patient).await.unwrap().unwrap();
    assert_eq!(late[0].as_ref().unwrap().level, Level::Stored);
    let failed: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(!failed.is_empty(), "the server took all of it");
    for why in &failed {
        assert_eq!((why.kind(), why.status()), (ErrorKind::Overloaded, Status::Transient), "{why}");
    }
    let there: HashSet<_> = payloads(rabbit, &queue).await.iter().map(|text| text[..4].to_vec()).collect();
    for (n, outcome) in outcomes.iter().enumerate() {
        let is_there = there.contains(format!("{n:04}").as_bytes());
        match outcome {
            Ok(_) => assert!(is_there, "{n} was confirmed and is not there"),
            Err(why) if why.sent() == Sent::No => assert!(!is_there, "{n} is there: {why}"),
            Err(_) => {}
        }
    }
    assert!(failed.iter().any(|why| why.sent() == Sent::No), "all of it was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_closes_connections_is_recovered_from() {
    let Some(server) = server().await else { return };
    let rabbit = server.as_ref().unwrap();
    let url = format!("/?queue={}&declare=true", fresh("closed"));
    let (sink, mut source) = (rabbit.sink(&url), rabbit.source(&url));
    sink.deliver(Packet::text("1")).await.unwrap();
    let held = soon("a packet", source.next()).await.unwrap().unwrap();
    tokio::task::block_in_place(|| rabbit.control(&["close_all_connections", "because"]));
    soon("a delivery", async { while sink.deliver(Packet::text("2")).await.is_err() {} }).await;
    let again = soon("the packet again", source.next()).await.unwrap().unwrap();
    assert_eq!(again.packet().as_text(), Some("1"));
    held.ack(Receipt::new(Level::Stored, None)).await.unwrap_err();
    again.ack(Receipt::new(Level::Stored, None)).await.unwrap();
    assert_eq!(soon("the other", source.next()).await.unwrap().unwrap().packet().as_text(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_finds_too_large_fails_for_good_and_the_rest_may_go() {
    let Some(server) = server().await else { return };
    let rabbit = server.as_ref().unwrap();
    let queue = fresh("large");
    let sink = rabbit.sink(&format!("/?queue={queue}&declare=true"));
    let mut rest = vec![Packet::text("1"), Packet::text("x".repeat(600_000)), Packet::text("2")];
    let mut refused = Vec::new();
    soon("the outcomes", async {
        while !rest.is_empty() {
            let outcomes: Vec<Result<Receipt>> = sink.deliver_all(rest.clone()).await.unwrap();
            let mut again = Vec::new();
            for (packet, outcome) in rest.drain(..).zip(outcomes) {
                match outcome {
                    Ok(_) => {}
                    Err(why) if why.status() == Status::Transient => again.push(packet),
                    Err(why) => refused.push(why),
                }
            }
            rest = again;
        }
    })
    .await;
    let [why] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(why.kind(), ErrorKind::TooLarge, "{why}");
    let there = payloads(rabbit, &queue).await;
    assert!(there.iter().any(|text| text == "1") && there.iter().any(|text| text == "2"), "{there:?}");
    assert!(there.iter().all(|text| text.len() == 1), "the large one is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_write_to_an_exchange_is_told_so() {
    let Some(server) = server().await else { return };
    let rabbit = server.as_ref().unwrap();
    tokio::task::block_in_place(|| {
        rabbit.control(&["add_user", "reader", "pass"]);
        rabbit.control(&["set_permissions", "reader", "", "", ".*"]);
    });
    let at = format!("amqp://reader:pass@127.0.0.1:{}", rabbit.port);
    let why =
        sink(&format!("{at}?exchange=amq.topic&routing_key=k")).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!((why.kind(), why.status()), (ErrorKind::Unauthorized, Status::Permanent), "{why}");
    let why = sink(&format!("{at}?queue=mine&declare=true")).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(
        (why.kind(), why.status(), why.sent()),
        (ErrorKind::Unauthorized, Status::Permanent, Sent::No),
        "{why}"
    );
}
