//! What a connection says of itself.

use std::time::SystemTime;

use haul_core::{CloseReason, ErrorKind, Packet, State, StreamOptions};

use super::{Suite, send};
use crate::packets::{ends, until};
use crate::soon;

pub(super) async fn capabilities(cx: Suite) {
    let before = SystemTime::now();
    let (a, b) = cx.pair().await;
    let want = &cx.cx.expect;
    for (end, name) in [(&a, "dialer"), (&b, "listener")] {
        let info = end.info();
        assert_eq!(info.protocol, want.protocol, "the {name}'s protocol");
        assert_eq!(info.framing, want.framing, "the {name}'s framing");
        for (what, declared, expected) in [
            ("receipts", info.receipts, want.receipts),
            ("metadata", info.metadata, want.metadata),
            ("kinds", info.kinds, want.kinds),
            ("half_close", info.half_close, want.half_close),
            ("close_frames", info.close_frames, want.close_frames),
            ("pings", info.pings, want.pings),
        ] {
            assert_eq!(
                declared, expected,
                "the {name} declares another {what} than capabilities.toml expects"
            );
        }
        assert_eq!(info.max_datagram, want.max_datagram, "the {name}'s max_datagram");
        assert!(!info.datagrams_only, "the {name}'s first stream is for datagrams only");
        assert!(!info.local.is_empty(), "the {name} does not know its own address");
        assert!(!info.peer.is_empty(), "the {name} does not know its peer's address");
        assert_eq!(info.stream_id.is_some(), want.multiplex, "the {name}'s stream number");
        let opened = info.opened_at;
        assert!(before <= opened && opened <= SystemTime::now(), "the {name} was opened at {opened:?}");
    }
}

pub(super) async fn states(cx: Suite) {
    let (a, mut b) = cx.patient_pair().await;
    assert_eq!((a.state().name(), b.state().name()), ("connected", "connected"));
    let mut watch = a.watch();
    let closed = crate::run::go(async move {
        let closed = a.close(CloseReason::NORMAL).await;
        (a, closed)
    });
    ends(&mut b).await;
    let (a, closed) = crate::run::done("the close", closed).await;
    closed.expect("a clean close");
    let state = soon("the state to change", watch.changed()).await;
    match state {
        Some(State::Disconnected { reason: Some(reason) }) => {
            assert_eq!(reason.code, CloseReason::NORMAL.code, "the state has another reason");
        }
        other => panic!("after connected and a close came {other:?}"),
    }
    assert!(a.state().is_over());
    cx.is_over(&b).await;
    drop((a, b));
    assert!(soon("the watch to end", watch.changed()).await.is_none(), "a state followed the last one");
    let (a, mut b) = cx.pair().await;
    a.abort(CloseReason::POLICY);
    assert_eq!(a.state().name(), "failed", "the state here after an abort");
    while let Ok(Some(_)) = soon("the abort", b.recv()).await {}
    assert_eq!(soon("the state", b.watch().over()).await.name(), "failed", "the peer's state after an abort");
}

pub(super) async fn statistics(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    let sent: Vec<_> = (0..100).map(|at| cx.numbered(at, 100 + at as usize)).collect();
    let bytes: u64 = sent.iter().map(|packet| packet.len() as u64).sum();
    for packet in &sent {
        send(&a, packet).await;
    }
    assert!(a.send(Packet::binary(vec![0; super::MAX_PACKET + 1])).await.is_err());
    soon("the flush", a.flush()).await.expect("a flush");
    let stats = a.stats();
    assert_eq!((stats.packets_queued, stats.bytes_queued), (100, bytes), "packets and bytes accepted");
    assert_eq!(stats.packets_sent, 100, "packets sent after a flush");
    assert_eq!((stats.packets_received, stats.bytes_received), (0, 0), "received by who only sent");
    cx.receives(&mut b, &sent).await;
    let stats = b.stats();
    assert_eq!(stats.bytes_received, bytes, "bytes received");
    if cx.cx.expect.boundaries {
        assert_eq!(stats.packets_received, 100, "packets received");
    }
    assert_eq!(stats.packets_discarded, 0, "packets discarded");
    assert_eq!((stats.packets_queued, stats.packets_sent), (0, 0), "sent by who only received");
}

pub(super) async fn discards(cx: Suite) {
    let (a, b) = cx.pair().await;
    let (sender, receiver) = b.split();
    drop(receiver);
    for number in 0..20 {
        send(&a, &cx.numbered(number, 1000)).await;
    }
    soon("the flush", a.flush()).await.expect("a flush");
    until("20,000 bytes to arrive", || sender.stats().bytes_received == 20_000).await;
    // Without boundaries, what one read gave is a packet.
    let arrived = || if cx.cx.expect.boundaries { 20 } else { sender.stats().packets_received };
    until("all packets to be counted as discarded", || sender.stats().packets_discarded == arrived()).await;
}

pub(super) async fn pings(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    match soon("the pong", a.ping()).await {
        Ok(rtt) => {
            assert!(cx.cx.expect.pings, "a ping was answered on a protocol without");
            assert_eq!(a.stats().rtt, Some(rtt), "the round trip in the statistics");
        }
        Err(why) => {
            assert!(!cx.cx.expect.pings, "a ping failed: {why}");
            assert_eq!(why.kind(), ErrorKind::Unsupported, "{why}");
        }
    }
    let packet = cx.numbered(1, 10);
    send(&a, &packet).await;
    cx.receives(&mut b, &[packet]).await;
}

pub(super) async fn single_stream(cx: Suite) {
    if cx.cx.expect.multiplex {
        return;
    }
    let (a, b) = cx.pair().await;
    let opened = soon("open", a.open(StreamOptions::default())).await;
    assert_eq!(opened.expect_err("a stream was opened").kind(), ErrorKind::Unsupported);
    let accepted = soon("accept", b.accept()).await;
    assert_eq!(accepted.expect_err("a stream was accepted").kind(), ErrorKind::Unsupported);
}
