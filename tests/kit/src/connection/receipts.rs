//! Deliveries and their receipts.

use std::time::Duration;

use haul_core::{
    CloseReason, Deliver, DeliverAll, Error, ErrorKind, Level, Packet, PacketId, Receipt, Sent, Status,
};

use super::Suite;
use crate::packets::{next, polled};
use crate::run::{done, go};
use crate::soon;

pub(super) async fn levels(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    let id = PacketId::random();
    let sent: Vec<_> = (0..3).map(|at| cx.numbered(at, 20)).collect();
    let first = if cx.cx.expect.metadata { sent[0].clone().with_id(id) } else { sent[0].clone() };
    let delivering = go({
        let (second, third) = (sent[1].clone(), sent[2].clone());
        async move {
            let first = a.deliver(first).await;
            let second = a.deliver(second).await;
            let third = a.deliver(third).await;
            (a, [first, second, third].map(|receipt| receipt.expect("a receipt")))
        }
    });
    if !cx.cx.expect.receipts {
        let (mut len, all) = (0, sent.iter().map(Packet::len).sum());
        while len < all {
            let delivery = soon("a delivery", b.next()).await.expect("no error").expect("no end");
            assert!(!delivery.is_awaited(), "somebody seems to wait for a receipt");
            len += delivery.packet().len();
            let receipt = Receipt::new(Level::Stored, delivery.packet().id());
            soon("the acknowledgement", delivery.ack(receipt)).await.expect("an answer that nobody needs");
        }
        let (_a, receipts) = done("the deliveries", delivering).await;
        for receipt in receipts {
            assert_eq!(receipt.level, Level::Sent, "nobody acknowledges, so no more is known");
        }
        return;
    }
    cx.receives(&mut b, &sent[..1]).await;
    for (level, reference) in [(Level::Stored, "log/7"), (Level::Discarded, "")] {
        let delivery = soon("a delivery", b.next()).await.expect("no error").expect("no end");
        assert!(delivery.is_awaited(), "nobody seems to wait for the receipt");
        let receipt = Receipt::new(level, delivery.packet().id());
        let receipt = if reference.is_empty() { receipt } else { receipt.with_reference(reference) };
        soon("the acknowledgement", delivery.ack(receipt)).await.expect("an acknowledgement");
    }
    let (_a, [first, second, third]) = done("the deliveries", delivering).await;
    assert_eq!((first.level, first.id), (Level::Acknowledged, Some(id)), "a plain recv acknowledges");
    assert_eq!((second.level, second.reference.as_deref()), (Level::Stored, Some("log/7")));
    assert_eq!((third.level, third.reference.as_deref()), (Level::Discarded, None));
}

pub(super) async fn wait(cx: Suite) {
    if !cx.cx.expect.receipts {
        return;
    }
    let (a, mut b) = cx.pair().await;
    let mut delivering = Box::pin(a.deliver(cx.numbered(1, 20)));
    assert!(polled(1, &mut delivering).await.is_none(), "answered before anybody received");
    let delivery = soon("the delivery", b.next()).await.expect("no error").expect("no end");
    // A round trip later an answer of the link itself would be there.
    if cx.cx.expect.pings {
        soon("the pong", a.ping()).await.expect("a pong");
    }
    assert!(polled(1, &mut delivering).await.is_none(), "answered before the receiver did");
    let receipt = Receipt::new(Level::Stored, delivery.packet().id());
    delivery.ack(receipt).await.expect("an acknowledgement");
    let receipt = soon("the receipt", delivering).await.expect("a receipt");
    assert_eq!(receipt.level, Level::Stored);
}

pub(super) async fn refusals(cx: Suite) {
    if !cx.cx.expect.receipts {
        return;
    }
    let (a, mut b) = cx.pair().await;
    let delivering = go({
        let packets = [cx.numbered(1, 20), cx.numbered(2, 20), cx.numbered(3, 20)];
        async move {
            let mut answers = Vec::new();
            for packet in packets {
                answers.push(a.deliver(packet).await);
            }
            (a, answers)
        }
    });
    let refusal = Error::new(ErrorKind::RateLimited, "too many today")
        .with_retry_after(Duration::from_millis(1500))
        .with_sent(Sent::No);
    let delivery = soon("the first", b.next()).await.expect("no error").expect("no end");
    soon("the refusal", delivery.nack(refusal)).await.expect("a refusal");
    let delivery = soon("the second", b.next()).await.expect("no error").expect("no end");
    let never = Error::new(ErrorKind::Rejected, "never").with_sent(Sent::No);
    soon("the refusal", delivery.nack(never)).await.expect("a refusal");
    drop(soon("the third", b.next()).await.expect("no error").expect("no end"));
    let (_a, answers) = done("the deliveries", delivering).await;
    let errors: Vec<_> = answers.into_iter().map(|answer| answer.expect_err("a refusal was Ok")).collect();
    let facts: Vec<_> = errors.iter().map(|why| (why.kind(), why.status(), why.retry_after())).collect();
    let want = [
        (ErrorKind::RateLimited, Status::Transient, Some(Duration::from_millis(1500))),
        (ErrorKind::Rejected, Status::Permanent, None),
        (ErrorKind::Rejected, Status::Transient, None),
    ];
    assert_eq!(facts, want, "kind, status and wait of the refusals: {errors:?}");
    assert!(errors[0].to_string().contains("too many today"), "{}", errors[0]);
    assert_eq!(errors[0].sent(), Sent::No, "{:?}", errors[0]);
}

pub(super) async fn batches(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    let mut batch: Vec<Packet> = (0..50).map(|at| cx.numbered(at, 20)).collect();
    batch.insert(10, cx.numbered(999, super::MAX_PACKET + 1));
    let delivering = go(async move {
        let empty = soon("an empty batch", a.deliver_all(Vec::new())).await.expect("an empty batch");
        assert!(empty.is_empty(), "an empty batch has {} outcomes", empty.len());
        let outcomes = a.deliver_all(batch).await;
        (a, outcomes)
    });
    if cx.cx.expect.receipts {
        for number in 0..50u64 {
            let delivery = soon("a delivery", b.next()).await.expect("no error").expect("no end");
            assert_eq!(crate::packets::number_of(delivery.packet()), Some(number), "the order of a batch");
            if number % 3 == 0 {
                delivery.nack(Error::new(ErrorKind::Rejected, "no")).await.expect("a refusal");
            } else {
                let receipt = Receipt::new(Level::Stored, None).with_reference(number.to_string());
                delivery.ack(receipt).await.expect("an acknowledgement");
            }
        }
    } else {
        let all: Vec<_> = (0..50).map(|at| cx.numbered(at, 20)).collect();
        cx.receives(&mut b, &all).await;
    }
    let (_a, outcomes) = done("the batch", delivering).await;
    let mut outcomes = outcomes.expect("outcomes");
    assert_eq!(outcomes.len(), 51, "outcomes");
    let large = outcomes.remove(10).expect_err("a packet above the limit was delivered");
    assert_eq!(large.kind(), ErrorKind::TooLarge, "{large}");
    for (number, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(receipt) if cx.cx.expect.receipts => {
                assert_eq!(
                    receipt.reference,
                    Some(number.to_string().into()),
                    "the outcome of another packet"
                );
            }
            Ok(receipt) => assert_eq!(receipt.level, Level::Sent),
            Err(why) => {
                assert!(cx.cx.expect.receipts && number % 3 == 0, "packet {number}: {why}");
                assert_eq!(why.kind(), ErrorKind::Rejected, "{why}");
            }
        }
    }
}

pub(super) async fn cut(cx: Suite) {
    if !cx.cx.expect.receipts {
        return cut_before_it_was_flushed(cx).await;
    }
    let (a, mut b) = cx.pair().await;
    let delivering = go({
        let packet = cx.numbered(1, 20);
        async move { a.deliver(packet).await }
    });
    let delivery = soon("the delivery", b.next()).await.expect("no error").expect("no end");
    b.abort(CloseReason::INTERNAL);
    let error =
        done("the delivery to fail", delivering).await.expect_err("a delivery without an answer was Ok");
    assert_eq!(error.sent(), Sent::Maybe, "the peer has seen it: {error:?}");
    let late = soon("a late answer", delivery.ack(Receipt::new(Level::Stored, None))).await;
    assert!(late.is_err(), "an answer on a connection that is gone was Ok");
    let (a, mut b) = cx.pair().await;
    let delivering = go({
        let packet = cx.numbered(2, 20);
        async move {
            let answer = a.deliver(packet).await;
            (a, answer)
        }
    });
    let packet = next("the delivery", &mut b).await;
    drop(b);
    let (_a, answer) = done("the delivery", delivering).await;
    assert_eq!(answer.expect("a receipt although the receiver then closed").id, packet.id());
}

/// Where nobody acknowledges, a delivery is answered when it is flushed, and not when it was lost before that.
async fn cut_before_it_was_flushed(cx: Suite) {
    let (a, b) = cx.pair().await;
    cx.fill(&a).await;
    let mut delivering = Box::pin(a.deliver(cx.numbered(1, 20)));
    assert!(polled(1, &mut delivering).await.is_none(), "answered before it was flushed");
    b.abort(CloseReason::INTERNAL);
    let answer = soon("the delivery to fail", delivering).await;
    answer.expect_err("a delivery that was not flushed was Ok");
}
