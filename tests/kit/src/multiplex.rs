//! What every session of many streams promises.

use std::time::Duration;

use haul_core::{CloseReason, Connection, ErrorKind, Limits, Packet, StreamOptions};
use tokio::time::timeout;

use crate::expect::{self, Alphabet, Section};
use crate::packets::{ends, next, number_of, numbered, payload, polled, same_bytes};
use crate::run::{Check, Plan, checks, done, go, runs};
use crate::{Pairs, soon};

/// Runs the suite. Panics with the promises that were broken.
pub async fn suite(name: &str, pairs: impl Into<Pairs>) {
    Suite::new(name, pairs).run().await;
}

/// The suite, with settings.
#[derive(Clone, Debug)]
pub struct Suite {
    pub(crate) plan: Plan,
    cx: Cx,
}

#[derive(Clone)]
struct Cx {
    expect: expect::Multiplex,
    pairs: Pairs,
}

impl std::fmt::Debug for Cx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.pairs.fmt(f)
    }
}

impl Suite {
    /// The suite for the section `name` of `capabilities.toml`.
    pub fn new(name: &str, pairs: impl Into<Pairs>) -> Self {
        let expect = Section::multiplex(name);
        Self { plan: Plan::new(name), cx: Cx { expect, pairs: pairs.into() } }
    }

    async fn session(&self) -> (Connection, Connection) {
        self.cx.pairs.make(Limits::default()).await
    }
}

runs!(Suite, CHECKS);

const CHECKS: &[Check<Suite>] = checks![Suite;
    announced => "a stream is there for the peer when it is opened, and who accepted it may speak first",
    both_open => "both ends open streams, each with its number, and packets stay on theirs",
    ordered => "an ordered stream keeps its order, and all of it arrives when it is closed",
    many => "a hundred streams carry their packets at once",
    independent => "a stream whose reader stalls holds up no other",
    close_one => "closing or aborting one stream leaves the others",
    unordered => "an unordered stream delivers everything once, or is Unsupported",
    datagrams => "a channel of datagrams takes only those, up to their limit, or is Unsupported",
    unknown_congestion => "a congestion control that it does not have is Unsupported",
    cancelled => "a cancelled accept loses no stream",
    over => "accept ends and open fails when the session is over",
];

/// A stream that `from` opens, and its other end at `to`.
async fn stream(from: &Connection, to: &Connection, options: StreamOptions) -> (Connection, Connection) {
    let opened = soon("a stream to be opened", from.open(options)).await.expect("an open stream");
    // Some protocols tell the peer of a stream with its first packet.
    let hello = Packet::binary(&b"hello"[..]);
    let hello = if opened.info().datagrams_only { hello.unreliable() } else { hello };
    soon("room", opened.send(hello)).await.expect("a send");
    let mut accepted = soon("the stream", to.accept()).await.expect("no error").expect("the session stands");
    same_bytes("hello", b"hello", next("hello", &mut accepted).await.payload());
    (opened, accepted)
}

/// A packet there and back.
async fn echo(a: &mut Connection, b: &mut Connection, number: u64) {
    let packet = numbered(Alphabet::Any, number, 3000);
    soon("room", a.send(packet.clone())).await.expect("a send");
    let there = next("the packet", b).await;
    same_bytes("the packet", packet.payload(), there.payload());
    soon("room", b.send(there)).await.expect("a send");
    same_bytes("the echo", packet.payload(), next("the echo", a).await.payload());
}

async fn announced(cx: Suite) {
    if !cx.cx.expect.announced {
        return;
    }
    let (a, b) = cx.session().await;
    for (opener, acceptor) in [(&a, &b), (&b, &a)] {
        let mut opened = soon("a stream to be opened", opener.open(StreamOptions::default()))
            .await
            .expect("an open stream");
        let accepted = soon("the stream, before its first packet", acceptor.accept()).await;
        let accepted = accepted.expect("no error").expect("the session stands");
        let packet = numbered(Alphabet::Any, 1, 100);
        soon("room", accepted.send(packet.clone())).await.expect("a send");
        let first = next("the first word of who accepted", &mut opened).await;
        same_bytes("the packet", packet.payload(), first.payload());
    }
}

async fn ordered(cx: Suite) {
    let (a, b) = cx.session().await;
    let (near, mut far) = stream(&a, &b, StreamOptions::default()).await;
    let sending = go(async move {
        for number in 0..2000 {
            let packet = numbered(Alphabet::Any, number, number as usize * 37 % 3000);
            soon("room", near.send(packet)).await.expect("a send");
        }
        soon("the close", near.close(CloseReason::NORMAL)).await.expect("a clean close");
    });
    for number in 0..2000 {
        let packet = next(&format!("packet {number}"), &mut far).await;
        let want = numbered(Alphabet::Any, number, number as usize * 37 % 3000);
        same_bytes(&format!("packet {number}"), want.payload(), packet.payload());
    }
    ends(&mut far).await;
    done("the sender", sending).await;
}

async fn both_open(cx: Suite) {
    let (mut a, mut b) = cx.session().await;
    let (mut one, mut one_end) = stream(&a, &b, StreamOptions::default()).await;
    let (mut two, mut two_end) = stream(&b, &a, StreamOptions::default()).await;
    let ids = [&a, &one, &two].map(|end| end.info().stream_id.expect("a stream has a number"));
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "numbers {ids:?}");
    for (end, peer) in [(&a, &b), (&one, &one_end), (&two, &two_end)] {
        assert_eq!(end.info().stream_id, peer.info().stream_id, "the number at the other end");
    }
    echo(&mut a, &mut b, 1).await;
    echo(&mut one, &mut one_end, 2).await;
    echo(&mut two, &mut two_end, 3).await;
    // A stream opens streams as well.
    let (mut three, mut three_end) = stream(&one, &b, StreamOptions::default()).await;
    echo(&mut three, &mut three_end, 4).await;
}

async fn many(cx: Suite) {
    let (a, b) = cx.session().await;
    let mut tasks = Vec::new();
    for number in 0..100 {
        let (mut near, mut far) = stream(&a, &b, StreamOptions::default()).await;
        tasks.push(go(async move {
            for at in 0..20 {
                echo(&mut near, &mut far, number * 100 + at).await;
            }
        }));
    }
    for task in tasks {
        done("a stream", task).await;
    }
}

async fn independent(cx: Suite) {
    let (mut a, mut b) = cx.session().await;
    let (stalled, stalled_end) = stream(&a, &b, StreamOptions::default()).await;
    let (mut free, mut free_end) = stream(&a, &b, StreamOptions::default()).await;
    let packet = Packet::binary(payload(Alphabet::Any, 1, 16 << 10));
    let mut accepted = 0;
    while let Ok(sent) = timeout(Duration::from_millis(500), stalled.send(packet.clone())).await {
        sent.expect("a send");
        accepted += 1;
        assert!(accepted < 4096, "64 MiB were accepted for a stream that nobody reads");
    }
    for number in 0..50 {
        echo(&mut free, &mut free_end, number).await;
        echo(&mut a, &mut b, number).await;
    }
    assert!(stalled_end.state().name() == "connected");
}

async fn close_one(cx: Suite) {
    let (mut a, mut b) = cx.session().await;
    let (mut closing, mut closing_end) = stream(&a, &b, StreamOptions::default()).await;
    let (aborting, mut aborting_end) = stream(&a, &b, StreamOptions::default()).await;
    let (mut other, mut other_end) = stream(&a, &b, StreamOptions::default()).await;
    echo(&mut closing, &mut closing_end, 1).await;
    let (closed, ()) =
        tokio::join!(soon("the close", closing.close(CloseReason::NORMAL)), ends(&mut closing_end));
    closed.expect("a clean close");
    echo(&mut other, &mut other_end, 2).await;
    aborting.abort(CloseReason::INTERNAL);
    soon("the abort", aborting_end.recv()).await.expect_err("an abort looks like an end");
    echo(&mut other, &mut other_end, 3).await;
    echo(&mut a, &mut b, 4).await;
    let (mut next, mut next_end) = stream(&a, &b, StreamOptions::default()).await;
    echo(&mut next, &mut next_end, 5).await;
}

async fn unordered(cx: Suite) {
    let (a, b) = cx.session().await;
    if !cx.cx.expect.unordered {
        let error = soon("open", a.open(StreamOptions::unordered())).await.expect_err("an unordered stream");
        return assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let (near, mut far) = stream(&a, &b, StreamOptions::unordered()).await;
    let sending = go(async move {
        for number in 0..1000 {
            soon("room", near.send(numbered(Alphabet::Any, number, 2000))).await.expect("a send");
        }
        near
    });
    let mut seen = [false; 1000];
    for _ in 0..1000 {
        let packet = next("a packet", &mut far).await;
        let number = number_of(&packet).expect("a numbered packet");
        same_bytes("a packet", numbered(Alphabet::Any, number, 2000).payload(), packet.payload());
        assert!(!std::mem::replace(&mut seen[number as usize], true), "packet {number} came twice");
    }
    done("the sender", sending).await;
}

async fn datagrams(cx: Suite) {
    let (a, b) = cx.session().await;
    if !cx.cx.expect.datagrams {
        let error =
            soon("open", a.open(StreamOptions::datagrams())).await.expect_err("a channel of datagrams");
        return assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let (near, mut far) = stream(&a, &b, StreamOptions::datagrams()).await;
    assert!(near.info().datagrams_only && far.info().datagrams_only, "both ends know what it is");
    let max = near.info().max_datagram.expect("a limit");
    let reliable =
        near.send(Packet::text_static("reliable")).await.expect_err("a reliable packet was accepted");
    assert_eq!(reliable.kind(), ErrorKind::Unsupported, "{reliable}");
    let large = Packet::binary(payload(Alphabet::Any, 1, max + 1)).unreliable();
    let large = near.send(large).await.expect_err("a datagram above the limit was accepted");
    assert_eq!(large.kind(), ErrorKind::TooLarge, "{large}");
    let sending = go(async move {
        for number in 0..5000 {
            let packet = numbered(Alphabet::Any, number, max).unreliable();
            // A datagram never waits for its reader.
            soon("a datagram to be taken", near.send(packet)).await.expect("a send");
        }
        near
    });
    let mut seen = std::collections::HashSet::new();
    let near = done("the sender", sending).await;
    let mut idle = 0;
    while idle < 3 {
        match timeout(Duration::from_millis(100), far.recv()).await {
            Ok(received) => {
                let packet = received.expect("no error").expect("no end");
                let number = number_of(&packet).expect("a numbered packet");
                same_bytes("a datagram", numbered(Alphabet::Any, number, max).payload(), packet.payload());
                seen.insert(number);
            }
            Err(_) => idle += 1,
        }
    }
    assert!(!seen.is_empty(), "of 5000 datagrams none arrived");
    assert!(seen.len() < 5000, "5000 datagrams were kept for a reader that did not read");
    drop(near);
}

async fn unknown_congestion(cx: Suite) {
    let (a, _b) = cx.session().await;
    let options =
        StreamOptions { congestion: Some("no-such-controller".to_owned()), ..StreamOptions::default() };
    let error = soon("open", a.open(options)).await.expect_err("a congestion control that does not exist");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

async fn cancelled(cx: Suite) {
    let (a, b) = cx.session().await;
    let opening = go(async move {
        let mut all = Vec::new();
        for number in 0..50 {
            let stream = a.open(StreamOptions::default()).await.expect("a stream");
            stream.send(numbered(Alphabet::Any, number, 10)).await.expect("a send");
            all.push(stream);
            tokio::task::yield_now().await;
        }
        (a, all)
    });
    let mut accepted = Vec::new();
    for turn in 0.. {
        if accepted.len() == 50 {
            break;
        }
        let some = soon("an accept to be polled", polled(turn % 4, b.accept()));
        match some.await {
            Some(stream) => accepted.push(stream.expect("no error").expect("the session stands")),
            None => tokio::time::sleep(Duration::from_micros(200)).await,
        }
        assert!(turn < 200_000, "of 50 streams {} were accepted", accepted.len());
    }
    let mut seen = Vec::new();
    for stream in &mut accepted {
        seen.push(number_of(&next("its packet", stream).await).expect("a numbered packet"));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..50).collect::<Vec<u64>>(), "each stream once");
    done("the opener", opening).await;
}

async fn over(cx: Suite) {
    let (a, b) = cx.session().await;
    let (near, far) = stream(&a, &b, StreamOptions::default()).await;
    drop((near, a));
    let ended = soon("accept to end", b.accept()).await.expect("no error");
    assert!(ended.is_none(), "a stream of a session that is over");
    drop(far);
    let error =
        soon("open", b.open(StreamOptions::default())).await.expect_err("a stream of a session that is over");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
}
