//! How a connection ends.

use haul_core::{CloseReason, ErrorKind, Limits, Sent};

use super::{Suite, fact, send};
use crate::packets::ends;
use crate::run::{done, go};
use crate::soon;

pub(super) async fn half_close(cx: Suite) {
    let (mut a, mut b) = cx.patient_pair().await;
    let sent: Vec<_> = (0..100).map(|at| cx.numbered(at, 100)).collect();
    for packet in &sent {
        send(&a, packet).await;
    }
    let finished = go(async move {
        let finished = a.finish().await;
        let error =
            a.send(haul_core::Packet::text("more")).await.expect_err("a send after finish was accepted");
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Closed, Sent::No), "{error}");
        (a, finished)
    });
    cx.receives(&mut b, &sent).await;
    ends(&mut b).await;
    if cx.cx.expect.half_close {
        for packet in &sent {
            send(&b, packet).await;
        }
    }
    let finished = done("finish", finished).await;
    a = finished.0;
    finished.1.expect("a finish");
    if cx.cx.expect.half_close {
        cx.receives(&mut a, &sent).await;
        soon("the second finish", b.finish()).await.expect("a finish of the other end");
    }
    ends(&mut a).await;
    for end in [&a, &b] {
        let state = soon("the state", end.watch().over()).await;
        assert_eq!(state.name(), "disconnected", "both ends have finished: {state:?}");
    }
}

pub(super) async fn close_drains(cx: Suite) {
    let (a, mut b) = cx.patient_pair().await;
    let sent: Vec<_> = (0..300).map(|at| cx.numbered(at, 1000)).collect();
    let packets = sent.clone();
    let closing = go(async move {
        for packet in &packets {
            send(&a, packet).await;
        }
        let closed = soon("close to return", a.close(CloseReason::NORMAL)).await;
        (closed, a.stats())
    });
    cx.receives(&mut b, &sent).await;
    ends(&mut b).await;
    let (closed, stats) = done("the close", closing).await;
    closed.expect("a clean close");
    assert_eq!(stats.packets_sent, 300, "packets sent when close returned");
    ends(&mut b).await;
}

pub(super) async fn close_reason(cx: Suite) {
    let (a, mut b) = cx.patient_pair().await;
    let packet = cx.numbered(1, 10);
    send(&a, &packet).await;
    let closing = go(async move {
        let closed = a.close(CloseReason::new(4001, "try the other door")).await;
        (a, closed)
    });
    cx.receives(&mut b, &[packet]).await;
    let end = soon("the close", b.recv()).await;
    let (a, closed) = done("close", closing).await;
    closed.expect("a close");
    if cx.cx.expect.close_frames {
        let error = end.expect_err("a close for a reason looks like a clean end");
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert_eq!(fact(&error, "code"), Some("4001"), "{error}");
        assert!(error.to_string().contains("try the other door"), "{error}");
    } else {
        assert_eq!(end.expect("a clean end"), None);
    }
    match a.state() {
        haul_core::State::Disconnected { reason: Some(reason) } => assert_eq!(reason.code, 4001),
        other => panic!("the state of who closed is {other:?}"),
    }
}

pub(super) async fn both_close(cx: Suite) {
    for _ in 0..20 {
        let (a, b) = cx.patient_pair().await;
        send(&a, &cx.numbered(1, 100)).await;
        send(&b, &cx.numbered(2, 100)).await;
        let (one, other) = tokio::join!(
            soon("one end to close", a.close(CloseReason::NORMAL)),
            soon("the other end to close", b.close(CloseReason::GOING_AWAY))
        );
        one.expect("a clean close of one end");
        other.expect("a clean close of the other end");
    }
}

pub(super) async fn after_close(cx: Suite) {
    let (mut a, mut b) = cx.patient_pair().await;
    let packet = cx.numbered(1, 10);
    send(&a, &packet).await;
    let (closed, ()) = tokio::join!(soon("close", a.close(CloseReason::NORMAL)), async {
        cx.receives(&mut b, std::slice::from_ref(&packet)).await;
        ends(&mut b).await;
    });
    closed.expect("a clean close");
    cx.is_over(&b).await;
    for (end, name) in [(&mut a, "who closed"), (&mut b, "the peer")] {
        let error = soon("send", end.send(packet.clone())).await;
        let error = error.expect_err("a send after the end was accepted");
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Closed, Sent::No), "{name}: {error}");
        assert_eq!(soon("recv", end.recv()).await.expect("a clean end"), None, "{name}");
        assert_eq!(soon("recv", end.recv()).await.expect("a clean end"), None, "{name}, asked again");
        soon("close", end.close(CloseReason::NORMAL)).await.expect("a second close");
        assert!(soon("ping", end.ping()).await.is_err(), "{name}: a ping after the end was answered");
    }
}

pub(super) async fn abort(cx: Suite) {
    let (mut a, mut b) = cx.pair().await;
    send(&a, &cx.numbered(1, 100)).await;
    soon("the flush", a.flush()).await.expect("a flush");
    a.abort(CloseReason::INTERNAL);
    loop {
        match soon("the abort", b.recv()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the peer saw a clean end"),
            Err(_) => break,
        }
    }
    assert!(soon("recv", b.recv()).await.is_err(), "asked again, recv tells no error");
    assert!(soon("send", a.send(cx.numbered(2, 1))).await.is_err(), "a send after an abort was accepted");
    assert!(soon("recv", a.recv()).await.is_err(), "recv after an abort tells no error");
    assert!(
        soon("close", a.close(CloseReason::NORMAL)).await.is_err(),
        "close after an abort tells no error"
    );
}

pub(super) async fn drop_drains(cx: Suite) {
    let (a, mut b) = cx.patient_pair().await;
    let sent: Vec<_> = (0..100).map(|at| cx.numbered(at, 1000)).collect();
    for packet in &sent {
        send(&a, packet).await;
    }
    let mut watch = a.watch();
    drop(a);
    cx.receives(&mut b, &sent).await;
    ends(&mut b).await;
    drop(b);
    let state = soon("the end", watch.over()).await;
    assert_eq!(state.name(), "disconnected", "{state:?}");
}

pub(super) async fn split_halves(cx: Suite) {
    let (a, mut b) = cx.patient_pair().await;
    let (sender, receiver) = a.split();
    let clone = sender.clone();
    drop(receiver);
    drop(sender);
    let packet = cx.numbered(1, 100);
    soon("room", clone.send(packet.clone())).await.expect("a send after the receiver was dropped");
    cx.receives(&mut b, &[packet]).await;
    drop(clone);
    ends(&mut b).await;
    let (a, mut b) = cx.patient_pair().await;
    let (sender, mut receiver) = b.split();
    drop(sender);
    let packet = cx.numbered(2, 100);
    send(&a, &packet).await;
    cx.receives(&mut receiver, &[packet]).await;
    drop(receiver);
    b = soon("the end", async {
        let mut a = a;
        ends(&mut a).await;
        a
    })
    .await;
    cx.is_over(&b).await;
}

pub(super) async fn idle(cx: Suite) {
    let limits = Limits { idle_deadline: Some(std::time::Duration::from_millis(200)), ..cx.limits() };
    let (mut a, mut b) = cx.pair_with(limits).await;
    if cx.cx.expect.keeps_alive {
        return;
    }
    if cx.cx.expect.resumes {
        // The dialer's end looks for another link; the other waits for it in vain, its listener being gone. It says what
        // it lost the last link by: whichever end cut it first.
        let error =
            soon("the accepted end to be cut", b.recv()).await.expect_err("a silent peer was not cut");
        assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Closed), "{error}");
        assert_eq!(
            soon("the dialer's end", a.watch().changed()).await.map(|state| state.name()),
            Some("reconnecting")
        );
        return a.abort(haul_core::CloseReason::NORMAL);
    }
    let (one, other) = tokio::join!(soon("one end to be cut", a.recv()), soon("the other end", b.recv()));
    let told = [one.expect_err("a silent peer was not cut"), other.expect_err("a silent peer was not cut")];
    assert!(
        told.iter().any(|error| error.kind() == ErrorKind::Timeout),
        "neither end was cut for being silent: {} and {}",
        told[0],
        told[1]
    );
}

pub(super) async fn lost_is_told(cx: Suite) {
    let limits = Limits { close_deadline: std::time::Duration::from_millis(200), ..cx.limits() };
    let (mut a, b) = cx.pair_with(limits).await;
    cx.fill(&a).await;
    b.abort(CloseReason::INTERNAL);
    let told = [
        soon("flush", a.flush()).await.expect_err("a flush that failed was Ok"),
        soon("send", a.send(cx.numbered(1, 10))).await.expect_err("a send after the end was accepted"),
        soon("recv", async {
            loop {
                match a.recv().await {
                    Ok(Some(_)) => {}
                    other => break other,
                }
            }
        })
        .await
        .expect_err("recv does not tell what was lost"),
        soon("close", a.close(CloseReason::NORMAL)).await.expect_err("close does not tell what was lost"),
    ];
    let stats = a.stats();
    let lost = (stats.packets_queued - stats.packets_sent).to_string();
    for error in told {
        assert_eq!(fact(&error, "not_flushed"), Some(&*lost), "{error}");
    }
}
