use bytes::Bytes;
use haul_core::{ErrorKind, Result};
use haul_journal::sim::SimDisk;
use haul_journal::{Options, Seq};

use crate::gate::gated;
use crate::{fill, numbers, open, payload, read, soon};

#[tokio::test]
async fn all_who_wait_share_one_sync() {
    let (journal, gate, first) = gated(Options::default()).await;
    let mut waiting = vec![first];
    for number in 2..=500 {
        waiting.push(journal.submit(payload(number)).await.expect("submit"));
    }
    gate.open();
    for (number, pending) in waiting.into_iter().enumerate() {
        let range = soon("an answer", pending).await.expect("append");
        assert_eq!(range.start.0, number as u64 + 1);
    }
    let stats = journal.stats();
    assert_eq!((stats.records, stats.syncs), (500, 2));
    assert_eq!((stats.queued_records, stats.queued_bytes), (0, 0));
}

#[tokio::test]
async fn a_reader_does_not_see_what_is_not_synced() {
    let (journal, gate, first) = gated(Options::default()).await;
    let mut reader = journal.reader(Seq(1)).expect("a reader");
    assert_eq!(reader.next().await.expect("read"), None);
    gate.open();
    soon("an answer", first).await.expect("append");
    assert_eq!(reader.next().await.expect("read").map(|record| record.seq), Some(Seq(1)));
}

#[tokio::test]
async fn a_full_queue_makes_append_wait_and_try_submit_say_so() {
    let options = Options::default().queue_records(4);
    let (journal, gate, first) = gated(options).await;
    let mut waiting = vec![first];
    for number in 2..=4 {
        waiting.push(journal.try_submit(payload(number)).expect("room for four"));
    }
    let error = journal.try_submit(payload(5)).expect_err("the queue is full");
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    let mut fifth = Box::pin(journal.append(payload(5)));
    let waits = futures_poll(&mut fifth).await;
    assert!(waits.is_none(), "an append went into a full queue");
    gate.open();
    assert_eq!(soon("the fifth", fifth).await.expect("append"), Seq(5));
    for pending in waiting {
        soon("an answer", pending).await.expect("append");
    }
}

#[tokio::test]
async fn a_large_record_counts_by_its_bytes() {
    let options = Options::default().max_record(4000).queue_bytes(5000);
    let (journal, gate, first) = gated(options).await;
    let second = journal.try_submit(vec![0; 4000]).expect("room");
    let error = journal.try_submit(vec![0; 4000]).expect_err("no room for another");
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    let mut third = Box::pin(journal.append(vec![0; 4000]));
    assert!(futures_poll(&mut third).await.is_none(), "an append went into a full queue");
    gate.open();
    soon("the first", first).await.expect("append");
    soon("the second", second).await.expect("append");
    soon("the third", third).await.expect("append");
}

#[tokio::test]
async fn a_dropped_append_is_whole_or_nothing_and_gives_its_room_back() {
    let options = Options::default().queue_records(2);
    let (journal, gate, first) = gated(options).await;
    let queued = journal.submit(payload(2)).await.expect("submit");
    let mut waiting = Box::pin(journal.append(payload(3)));
    assert!(futures_poll(&mut waiting).await.is_none());
    drop(waiting);
    drop(queued);
    gate.open();
    soon("the first", first).await.expect("append");
    // The dropped answer was queued and is written; the dropped wait was not.
    assert_eq!(journal.append(payload(3)).await.expect("append"), Seq(3));
    assert_eq!(numbers(&read(&journal, Seq(1)).await), [1, 2, 3]);
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_refuses_the_rest() {
    let (journal, gate, first) = gated(Options::default()).await;
    let second = journal.submit(payload(2)).await.expect("submit");
    let mut closing = Box::pin(journal.close());
    assert!(futures_poll(&mut closing).await.is_none());
    let error = journal.append(payload(3)).await.expect_err("a closed journal");
    assert_eq!(error.kind(), ErrorKind::Closed);
    gate.open();
    soon("close", closing).await.expect("close");
    assert_eq!(first.await.expect("append").start, Seq(1));
    assert_eq!(second.await.expect("append").start, Seq(2));
    let mut reader = journal.reader(Seq(2)).expect("a reader");
    assert_eq!(reader.follow().await.expect("what was written").seq, Seq(2));
    let end = soon("the end", reader.follow()).await.expect_err("a closed journal");
    assert_eq!(end.kind(), ErrorKind::Closed);
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn a_dropped_read_loses_no_record() {
    let disk = SimDisk::new(3);
    let journal = open(&disk).expect("open");
    fill(&journal, 1, 200).await;
    let mut reader = journal.reader(Seq(1)).expect("a reader");
    let mut seen = Vec::new();
    while seen.len() < 200 {
        let polled = futures_poll(&mut Box::pin(reader.next())).await;
        if let Some(record) = polled {
            seen.extend(record.expect("read").map(|record| record.seq.0));
        } else {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(seen, (1..=200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_see_each_record_once_while_many_append() {
    let disk = SimDisk::new(4);
    let journal = open(&disk).expect("open");
    let followers: Vec<tokio::task::JoinHandle<Result<Vec<Bytes>>>> = (0..3)
        .map(|_| {
            let mut reader = journal.reader(Seq(1)).expect("a reader");
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while seen.len() < 1600 {
                    let record = reader.follow().await?;
                    assert_eq!(record.seq.0, seen.len() as u64 + 1);
                    seen.push(record.payload);
                }
                Ok(seen)
            })
        })
        .collect();
    let producers: Vec<tokio::task::JoinHandle<Vec<(u64, Bytes)>>> = (0..16)
        .map(|producer| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for number in 0..100 {
                    let payload = Bytes::from(format!("{producer}/{number}"));
                    let seq = journal.append(payload.clone()).await.expect("append");
                    mine.push((seq.0, payload));
                }
                mine
            })
        })
        .collect();
    let mut expected = Vec::new();
    for producer in producers {
        let mine = soon("a producer", producer).await.expect("no panic");
        assert!(mine.is_sorted(), "the appends of one task changed their order");
        expected.extend(mine);
    }
    expected.sort();
    let expected: Vec<Bytes> = expected.into_iter().map(|(_, payload)| payload).collect();
    for follower in followers {
        let seen = soon("a follower", follower).await.expect("no panic").expect("follow");
        assert!(seen == expected);
    }
    assert!(journal.stats().syncs < 1600, "{:?}", journal.stats());
}
