use std::time::Duration;

use haul_core::{Deliver, DeliverAll, ErrorKind, Packet, Sent};
use haul_outbox::{Outbox, OutboxOptions, OutboxView, WhenFull};

use crate::support::{LONG, Next, Told, away, patient, pending, quick, refusal, status, text, within};

/// 270 kB hold some 250 packets of 1000 bytes.
fn small(dir: &tempfile::TempDir, when_full: WhenFull) -> OutboxOptions {
    OutboxOptions { max_bytes: 300_000, when_full, ..quick(dir) }
}

fn packet(number: usize) -> Packet {
    Packet::text(format!("{number:0>1000}"))
}

#[tokio::test]
async fn a_full_outbox_refuses_until_the_sink_has_taken_something() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Told::new().hold("");
    let outbox = Outbox::open(sink.sink(), small(&dir, WhenFull::Reject)).await.unwrap();
    let mut stored = 0;
    let why = loop {
        match outbox.deliver(packet(stored)).await {
            Ok(_) => stored += 1,
            Err(why) => break why,
        }
        assert!(stored < 300, "300 kB cannot hold {stored} packets of 1 kB");
    };
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Overloaded, Sent::No));
    assert!(stored > 200, "only {stored} packets of 1 kB fit 300 kB");
    assert!(outbox.status().bytes <= 300_000);
    let outcomes = outbox.deliver_all(vec![packet(0), packet(1)]).await.unwrap();
    assert!(outcomes[1].as_ref().unwrap_err().to_string().contains("not tried"), "{outcomes:?}");
    sink.let_go();
    status(&outbox, "the sink to have all", |status| status.pending == 0).await;
    let noted = async {
        // Its position is written a little later.
        while !pending(dir.path()).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("its position", noted).await;
    outbox.deliver(packet(stored)).await.unwrap();
    assert!(outbox.status().bytes < 100_000, "what was delivered is still on disk");
    outbox.close(LONG).await.unwrap();
    assert_eq!(sink.packets().len(), stored + 1);
}

#[tokio::test]
async fn a_full_outbox_lets_calls_wait_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Told::new().hold("");
    let outbox = Outbox::open(sink.sink(), small(&dir, WhenFull::Wait)).await.unwrap();
    let all: Vec<_> = (0..1000).map(packet).collect();
    let storing = tokio::spawn({
        let (outbox, all) = (outbox.clone(), all.clone());
        async move { outbox.deliver_all(all).await }
    });
    status(&outbox, "it to be full", |status| status.stored > 200).await;
    sink.let_go();
    let outcomes = within("all to be stored", storing).await.unwrap().unwrap();
    assert!(outcomes.iter().all(Result::is_ok));
    outbox.close(LONG).await.unwrap();
    assert_eq!(sink.texts(), all.iter().map(text).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_waits_for_room_is_told_when_the_outbox_closes() {
    let dir = tempfile::tempdir().unwrap();
    let options = OutboxOptions { delivery: patient(&dir).delivery, ..small(&dir, WhenFull::Wait) };
    let outbox = Outbox::open(away(), options).await.unwrap();
    let storing = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.deliver_all((0..1000).map(packet).collect::<Vec<_>>()).await }
    });
    status(&outbox, "it to be full", |status| status.stored > 200).await;
    outbox.close(LONG).await.unwrap();
    let outcomes = within("the answer", storing).await.unwrap().unwrap();
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(outcomes[stored..].iter().all(|outcome| outcome.as_ref().unwrap_err().sent() == Sent::No));
    assert_eq!(pending(&dir).len(), stored, "what was answered is there, and nothing else");
}

#[tokio::test]
async fn a_full_outbox_drops_its_oldest_if_it_is_told_to_and_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let options = OutboxOptions { delivery: patient(&dir).delivery, ..small(&dir, WhenFull::DropOldest) };
    let outbox = Outbox::open(away(), options).await.unwrap();
    for number in 0..1000 {
        outbox.deliver(packet(number)).await.unwrap();
        assert!(outbox.status().bytes <= 300_000, "the bound is passed");
    }
    let dropped = outbox.close(LONG).await.unwrap().dropped;
    assert!(dropped > 500, "{dropped}");
    let sink = Told::new();
    let outbox = Outbox::open(sink.sink(), quick(&dir)).await.unwrap();
    let after = status(&outbox, "all that is left", |status| status.pending == 0).await;
    assert_eq!((after.sink.lost, after.sink.delivered), (dropped, 1000 - dropped));
    assert_eq!(sink.texts().last().map(String::as_str), packet(999).as_text());
}

#[tokio::test]
async fn what_has_waited_too_long_becomes_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(away(), patient(&dir)).await.unwrap();
    outbox.deliver(packet(0)).await.unwrap();
    outbox.close(LONG).await.unwrap();
    let sink = Told::new();
    let options = OutboxOptions { max_age: Some(Duration::from_nanos(1)), ..quick(&dir) };
    let outbox = Outbox::open(sink.sink(), options).await.unwrap();
    let after = status(&outbox, "none to wait", |status| status.pending == 0).await;
    assert_eq!((after.sink.dead, sink.packets().len()), (1, 0));
    let letter = OutboxView::open(&dir, None).unwrap().dead().unwrap().read().unwrap().unwrap();
    assert!(letter.kind == "timeout" && letter.message.contains("max_age"), "{letter:?}");
    outbox.close(LONG).await.unwrap();
    let options = OutboxOptions { max_age: Some(LONG * 60), ..quick(&dir) };
    let outbox = Outbox::open(sink.sink(), options).await.unwrap();
    outbox.deliver(packet(1)).await.unwrap();
    sink.has("what has not", |got| got.len() == 1).await;
}

#[tokio::test]
async fn where_dead_letters_are_full_a_refused_packet_waits() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = Told::new();
    for _ in 0..1000 {
        sink = sink.then(Next::Fail(refusal()));
    }
    let options = OutboxOptions { max_dead_bytes: 20_000, ..quick(&dir) };
    let outbox = Outbox::open(sink.sink(), options).await.unwrap();
    for number in 0..40 {
        outbox.deliver(packet(number)).await.unwrap();
    }
    let stuck = |status: &haul_outbox::OutboxStatus| {
        status.sink.stuck.as_ref().is_some_and(|why| why.message.contains("replay or purge"))
    };
    let full = status(&outbox, "the dead letters to be full", stuck).await;
    assert!((10..20).contains(&full.sink.dead), "{full:?}");
    assert_eq!(outbox.close(LONG).await.unwrap().pending, 40 - full.sink.dead);
}
