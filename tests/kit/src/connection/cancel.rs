//! Futures that are dropped at each of their awaits.

use haul_core::{CloseReason, Deliver, Limits};

use super::{Suite, send};
use crate::packets::{ends, in_order, joined, polled, same_bytes};
use crate::run::{done, go};
use crate::soon;

/// A cancelled future was polled up to this many times.
const POLLS: usize = 5;

pub(super) async fn sends(cx: Suite) {
    let limits = Limits { send_buffer: 600, read_ahead: 600, ..cx.limits() };
    let (a, mut b) = cx.pair_with(limits).await;
    let size = |number: u64| 10 + (number as usize * 97) % 3000;
    let sending = go({
        let cx = cx.clone();
        async move {
            let mut sure = Vec::new();
            for number in 0..1500 {
                let packet = cx.numbered(number, size(number));
                match soon("a send to be polled", polled(number as usize % POLLS, a.send(packet))).await {
                    Some(sent) => {
                        sent.expect("a send");
                        sure.push(number);
                    }
                    None => tokio::task::yield_now().await,
                }
            }
            soon("the close", a.close(CloseReason::NORMAL)).await.expect("a clean close");
            (sure, a.stats())
        }
    });
    let seen = cx.numbers(&cx.gathers_all(&mut b).await, size);
    in_order(&seen);
    let (sure, stats) = done("the sender", sending).await;
    let missing = sure.iter().find(|number| seen.binary_search(number).is_err());
    assert_eq!(missing, None, "a packet that was sent did not arrive");
    assert_eq!(stats.packets_queued, seen.len() as u64, "packets accepted against packets arrived");
}

pub(super) async fn receives(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    let sent: Vec<_> = (0..1000).map(|at| cx.numbered(at, 7 + (at as usize * 31) % 500)).collect();
    let packets = sent.clone();
    let sending = go(async move {
        for packet in packets {
            send(&a, &packet).await;
            tokio::task::yield_now().await;
        }
        a
    });
    let mut got = Vec::new();
    let mut turn = 0;
    let total: usize = sent.iter().map(|packet| packet.len()).sum();
    let mut bytes = 0;
    while bytes < total {
        turn += 1;
        let received = soon(&format!("byte {bytes} of {total}"), async {
            loop {
                match polled(turn % POLLS, b.recv()).await {
                    Some(received) => break received,
                    None => tokio::task::yield_now().await,
                }
                turn += 1;
            }
        })
        .await;
        let packet = received.expect("no error").expect("no end");
        bytes += packet.len();
        got.push(packet);
    }
    done("the sender", sending).await;
    if cx.cx.expect.boundaries {
        for (at, (sent, got)) in sent.iter().zip(&got).enumerate() {
            cx.same(&format!("packet {at}"), sent, got);
        }
    }
    same_bytes("all", &joined(&sent), &joined(&got));
}

pub(super) async fn flushes(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    for polls in 0..POLLS * 4 {
        let sent: Vec<_> = (0..4).map(|at| cx.numbered(polls as u64 * 10 + at, 3000)).collect();
        for packet in &sent {
            send(&a, packet).await;
        }
        if let Some(flushed) = soon("a flush to be polled", polled(polls % POLLS, a.flush())).await {
            flushed.expect("a flush");
        }
        cx.receives(&mut b, &sent).await;
    }
    soon("the flush", a.flush()).await.expect("a flush");
}

pub(super) async fn closes(cx: Suite) {
    for polls in 1..POLLS {
        let (a, mut b) = cx.patient_pair().await;
        let sent: Vec<_> = (0..50).map(|at| cx.numbered(at, 1000)).collect();
        for packet in &sent {
            send(&a, packet).await;
        }
        if let Some(closed) = soon("a close to be polled", polled(polls, a.close(CloseReason::NORMAL))).await
        {
            closed.expect("a close");
        }
        cx.receives(&mut b, &sent).await;
        ends(&mut b).await;
        assert!(soon("the end of who closed", a.watch().over()).await.is_over());
    }
    let (a, mut b) = cx.patient_pair().await;
    assert!(polled(0, a.close(CloseReason::NORMAL)).await.is_none());
    let packet = cx.numbered(1, 10);
    send(&a, &packet).await;
    cx.receives(&mut b, &[packet]).await;
}

pub(super) async fn delivers(cx: Suite) {
    let (a, mut b) = cx.patient_pair().await;
    let delivering = go({
        let cx = cx.clone();
        async move {
            let mut sure = Vec::new();
            for number in 0..200 {
                let work = a.deliver(cx.numbered(number, 50));
                match soon("a delivery to be polled", polled(number as usize % POLLS, work)).await {
                    Some(receipt) => {
                        receipt.expect("a receipt");
                        sure.push(number);
                    }
                    None => tokio::task::yield_now().await,
                }
            }
            soon("a whole delivery", a.deliver(cx.numbered(9999, 50))).await.expect("a receipt");
            sure.push(9999);
            soon("the close", a.close(CloseReason::NORMAL)).await.expect("a clean close");
            sure
        }
    });
    let seen = cx.numbers(&cx.gathers_all(&mut b).await, |_| 50);
    in_order(&seen);
    let sure = done("the deliveries", delivering).await;
    let missing = sure.iter().find(|number| seen.binary_search(number).is_err());
    assert_eq!(missing, None, "a delivery that was answered did not arrive");
}
