//! Links taken back, streams and sinks.

use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream;
use futures_sink::Sink;
use haul_core::{Connection, Packet, PacketSink};

use super::{Suite, send};
use crate::packets::{joined, same_bytes};
use crate::run::{done, go};
use crate::soon;

pub(super) async fn into_link(cx: Suite) {
    let (mut a, mut b) = cx.patient_pair().await;
    for round in 0..3 {
        let early: Vec<_> = (0..20).map(|at| cx.numbered(round * 100 + at, 500)).collect();
        for packet in &early {
            send(&a, packet).await;
        }
        soon("the flush", a.flush()).await.expect("a flush");
        if cx.cx.expect.pings {
            // The peer has read ahead now.
            soon("the pong", a.ping()).await.expect("a pong");
        }
        let info = b.info().clone();
        let link = soon("the link", b.into_link()).await.expect("a link");
        b = Connection::new(link, crate::spawn);
        assert_eq!(*b.info(), info, "what the connection is");
        let late = cx.numbered(round * 100 + 50, 500);
        send(&a, &late).await;
        let all: Vec<_> = early.into_iter().chain([late.clone()]).collect();
        cx.receives(&mut b, &all).await;
        send(&b, &late).await;
        cx.receives(&mut a, &[late]).await;
        let link = soon("the link", a.into_link()).await.expect("a link");
        a = Connection::new(link, crate::spawn);
    }
}

pub(super) async fn stream_and_sink(cx: Suite) {
    let (a, b) = cx.patient_pair().await;
    let (sender, _receiver) = a.split();
    let (_b_sender, receiver) = b.split();
    let sent: Vec<_> = (0..500).map(|at| cx.numbered(at, 300)).collect();
    let packets = sent.clone();
    let sending = go(async move {
        let mut sink = sender.into_sink();
        for packet in packets {
            poll_fn(|cx| Pin::new(&mut sink).poll_ready(cx)).await.expect("room");
            Pin::new(&mut sink).start_send(packet).expect("a send");
        }
        poll_fn(|cx| Sink::<Packet>::poll_flush(Pin::new(&mut sink), cx)).await.expect("a flush");
        closed(&mut sink).await;
    });
    let mut stream = receiver.into_stream();
    let mut got = Vec::new();
    while let Some(packet) =
        soon("a packet or the end", poll_fn(|cx| Pin::new(&mut stream).poll_next(cx))).await
    {
        got.push(packet.expect("no error"));
    }
    done("the sink", sending).await;
    same_bytes("all", &joined(&sent), &joined(&got));
    if cx.cx.expect.boundaries {
        assert_eq!(got.len(), sent.len(), "packets");
    }
    let again = soon("the stream", poll_fn(|cx| Pin::new(&mut stream).poll_next(cx))).await;
    assert!(again.is_none(), "a stream that ended went on");
}

async fn closed(sink: &mut PacketSink) {
    poll_fn(|cx| Sink::<Packet>::poll_close(Pin::new(sink), cx)).await.expect("a close");
}
