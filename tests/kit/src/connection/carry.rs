//! What a connection carries.

use haul_core::{ErrorKind, Limits, Packet, PacketId, Sent, Status};

use super::{MAX_PACKET, Suite, send};
use crate::packets::{ends, joined, letters, next, polled, same_bytes};
use crate::run::{done, go};
use crate::soon;

pub(super) async fn order(cx: Suite) {
    let (a, mut b) = cx.patient_pair().await;
    let sent: Vec<_> = (0..5000).map(|at| cx.numbered(at, (at as usize * 37) % 300)).collect();
    let packets = sent.clone();
    let sending = go(async move {
        for packet in packets {
            send(&a, &packet).await;
        }
        soon("the close", a.close(haul_core::CloseReason::NORMAL)).await
    });
    cx.receives(&mut b, &sent).await;
    ends(&mut b).await;
    done("the sender", sending).await.expect("a clean close");
}

pub(super) async fn sizes(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    let sizes = [0, 1, 2, 125, 126, 255, 256, 4095, 4096, 4097, 65_535, 65_536, MAX_PACKET - 1, MAX_PACKET];
    let mut sent = Vec::new();
    for (seed, size) in sizes.into_iter().chain([1, 0, 0, MAX_PACKET, 0]).enumerate() {
        sent.push(Packet::binary(cx.payload(seed as u64, size)));
        sent.push(Packet::text(letters(seed as u64, size)));
    }
    let packets = sent.clone();
    let sending = go(async move {
        for packet in &packets {
            send(&a, packet).await;
        }
        a
    });
    cx.receives(&mut b, &sent).await;
    done("the sender", sending).await;
}

pub(super) async fn too_large(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    let before = cx.numbered(1, MAX_PACKET);
    let after = cx.numbered(2, 10);
    let sending = go({
        let (before, after) = (before.clone(), after.clone());
        let large = cx.numbered(3, MAX_PACKET + 1);
        async move {
            send(&a, &before).await;
            let error = a.send(large).await.expect_err("a packet above the limit was accepted");
            send(&a, &after).await;
            (a, error)
        }
    });
    cx.receives(&mut b, &[before, after]).await;
    let (_a, error) = done("the sender", sending).await;
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!((error.status(), error.sent()), (Status::Permanent, Sent::No), "{error}");
    assert!(error.to_string().contains(&MAX_PACKET.to_string()), "it does not name the limit: {error}");
}

pub(super) async fn oversize_received(cx: Suite) {
    let (a, mut b) = cx.mixed_pair(MAX_PACKET, 1000).await;
    if !cx.cx.expect.boundaries {
        // There is no packet to refuse: the stream comes in pieces that keep the bound.
        let sent = [cx.numbered(1, 1001), cx.numbered(2, 50_000)];
        for packet in &sent {
            send(&a, packet).await;
        }
        let pieces = cx.gathers(&mut b, 51_001).await;
        same_bytes("the stream", &joined(&sent), &joined(&pieces));
        let longest = pieces.iter().map(Packet::len).max();
        return assert!(longest <= Some(1000), "a piece of {longest:?} bytes; the limit is 1000");
    }
    send(&a, &cx.numbered(1, 1000)).await;
    send(&a, &cx.numbered(2, 1001)).await;
    cx.receives(&mut b, &[cx.numbered(1, 1000)]).await;
    let error = soon("the refusal", b.recv()).await.expect_err("a packet above the limit was received");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
}

impl Suite {
    /// A pair whose ends have different limits: the first end of one pair, linked on with other bounds.
    async fn mixed_pair(
        &self,
        dialer: usize,
        listener: usize,
    ) -> (haul_core::Connection, haul_core::Connection) {
        let (a, b) = self.pair_with(Limits { max_packet: listener, ..Limits::default() }).await;
        let mut link = soon("the link", a.into_link()).await.expect("a link");
        link.limits.max_packet = dialer;
        (haul_core::Connection::new(link, crate::spawn), b)
    }
}

pub(super) async fn kinds(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    let sent = [
        Packet::text("text: \u{e4}\u{20ac}\u{1f600}"),
        Packet::binary(&b"\xff\xfe\0binary"[..]),
        Packet::text(""),
        Packet::binary(&b""[..]),
        Packet::binary(&b"binary that is UTF-8"[..]),
    ];
    for packet in &sent {
        send(&a, packet).await;
    }
    cx.receives(&mut b, &sent).await;
}

pub(super) async fn metadata(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    let full = Packet::text("with everything")
        .with("session_id", "7")
        .with("\u{fc}mlaut", "\u{20ac}\nline")
        .with("empty", "")
        .with_id(PacketId::from_bytes(*b"0123456789abcdef"));
    let long = cx.numbered(1, 100).with("long", "v".repeat(20_000));
    if cx.cx.expect.metadata {
        send(&a, &full).await;
        send(&a, &long).await;
        let received = next("the packet with metadata", &mut b).await;
        cx.same("the packet with metadata", &full, &received);
        let pairs = |packet: &Packet| {
            let all = packet.metadata().iter();
            all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(pairs(&received), pairs(&full), "metadata is in another order");
        cx.receives(&mut b, &[long]).await;
    } else {
        let error = a.send(full).await.expect_err("metadata was accepted by a protocol that cannot carry it");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let plain = cx.numbered(2, 30);
    send(&a, &plain).await;
    cx.receives(&mut b, &[plain]).await;
}

pub(super) async fn batch(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    let sent: Vec<_> = (0..3000).map(|at| cx.numbered(at, 200)).collect();
    let packets = sent.clone();
    let sending = go(async move {
        soon("send_all", a.send_all(packets)).await.expect("send_all");
        soon("an empty send_all", a.send_all([])).await.expect("an empty send_all");
        a
    });
    cx.receives(&mut b, &sent).await;
    let a = done("the sender", sending).await;
    let some = [cx.numbered(1, 20), cx.numbered(2, MAX_PACKET + 1), cx.numbered(3, 20)];
    let error = soon("send_all", a.send_all(some)).await.expect_err("a packet above the limit was accepted");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    let last = cx.numbered(4, 20);
    send(&a, &last).await;
    cx.receives(&mut b, &[cx.numbered(1, 20), last]).await;
}

pub(super) async fn flush(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    for round in 0..20 {
        let sent: Vec<_> = (0..5).map(|at| cx.numbered(round * 10 + at, 100)).collect();
        for packet in &sent {
            send(&a, packet).await;
        }
        soon("the flush", a.flush()).await.expect("a flush");
        let stats = a.stats();
        assert_eq!(stats.packets_sent, stats.packets_queued, "packets sent when the flush returned");
        cx.receives(&mut b, &sent).await;
    }
    // Without a flush it goes out as well, a little later.
    let packet = cx.numbered(1, 100);
    send(&a, &packet).await;
    cx.receives(&mut b, &[packet]).await;
}

pub(super) async fn both_ways(cx: Suite) {
    let (a, b) = cx.pair().await;
    let mut tasks = Vec::new();
    let mut ends = Vec::new();
    for (seed, end) in [(0, a), (100_000, b)] {
        let (sender, receiver) = end.split();
        let sent: Vec<_> = (0..2000).map(|at| cx.numbered(seed + at, (at as usize * 31) % 2000)).collect();
        ends.push((receiver, sent.clone()));
        tasks.push(go(async move {
            for packet in sent {
                soon("room for a packet", sender.send(packet)).await.expect("a send");
            }
            sender
        }));
    }
    let [(mut first, sent_first), (mut second, sent_second)] =
        <[_; 2]>::try_from(ends).unwrap_or_else(|_| unreachable!("there are two"));
    tokio::join!(cx.receives(&mut first, &sent_second), cx.receives(&mut second, &sent_first));
    for task in tasks {
        done("a sender", task).await;
    }
}

pub(super) async fn many_senders(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    let (sender, _receiver) = a.split();
    for task in 0..8u64 {
        let (sender, cx) = (sender.clone(), cx.clone());
        drop(go(async move {
            for at in 0..200 {
                soon("room", sender.send(cx.numbered(task * 1000 + at, 50))).await.expect("a send");
            }
        }));
    }
    let received = cx.gathers(&mut b, 8 * 200 * 50).await;
    let mut seen = [0; 8];
    for number in cx.numbers(&received, |_| 50) {
        let (task, at) = ((number / 1000) as usize, number % 1000);
        assert_eq!(at, seen[task], "sender {task}'s packets are out of order");
        seen[task] += 1;
    }
    assert_eq!(seen, [200; 8], "packets of each sender");
}

pub(super) async fn many(cx: Suite) {
    let mut pairs = Vec::new();
    for _ in 0..cx.cx.many {
        pairs.push(cx.patient_pair().await);
    }
    for (number, (a, _)) in pairs.iter().enumerate() {
        send(a, &cx.numbered(number as u64, 64)).await;
    }
    for (number, (a, b)) in pairs.iter_mut().enumerate() {
        let packet = cx.numbered(number as u64, 64);
        cx.receives(b, std::slice::from_ref(&packet)).await;
        send(b, &packet).await;
        cx.receives(a, &[packet]).await;
    }
    let mut watches: Vec<_> = pairs.iter().flat_map(|(a, b)| [a.watch(), b.watch()]).collect();
    drop(pairs);
    for watch in &mut watches {
        let state = soon("a dropped connection to end", watch.over()).await;
        assert_eq!(state.name(), "disconnected", "{state:?}");
    }
}

pub(super) async fn unreliable(cx: Suite) {
    let (a, mut b) = cx.pair().await;
    let max = cx.cx.expect.max_datagram;
    if let Some(max) = max {
        let large = Packet::binary(cx.payload(1, max + 1));
        let error =
            a.send(large.clone().unreliable()).await.expect_err("a datagram above its limit was accepted");
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        send(&a, &large).await;
        cx.receives(&mut b, &[large]).await;
    }
    let packet = Packet::binary(cx.payload(2, max.unwrap_or(5000)));
    if max.is_none() {
        send(&a, &packet.clone().unreliable()).await;
        return cx.receives(&mut b, &[packet]).await;
    }
    // A datagram may be lost: send until one arrives.
    let received = soon("one of many datagrams", async {
        loop {
            send(&a, &packet.clone().unreliable()).await;
            if let Some(received) = polled(2, b.recv()).await {
                break received.expect("a datagram").expect("a datagram");
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    cx.same("a datagram", &packet, &received);
}
