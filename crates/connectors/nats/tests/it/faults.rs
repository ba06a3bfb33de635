//! Servers that are away, stuck, or do not let us in.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::stream;
use futures_util::StreamExt;
use haul_core::{Deliver, DeliverAll, ErrorKind, Level, Packet, Receipt, Sent, Sink, Source, Status};
use haul_nats::NatsSink;
use haul_tls::SelfSigned;
use tempfile::TempDir;

use crate::support::{self, Ear, Nats, USUAL, sink, soon, source};

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_have_got_nothing() {
    let sink = sink(&format!("nats://127.0.0.1:{}/x", support::closed_port().await));
    let why = sink.ready().await.unwrap_err();
    assert_eq!(
        (why.kind(), why.status(), why.sent()),
        (ErrorKind::Connect, Status::Transient, Sent::No),
        "{why}"
    );
    let why = sink.deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Connect, Sent::No), "{why}");
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so_for_good_and_others_get_in() {
    for (config, right) in [
        ("authorization { user: haul, password: 'se/cret' }", "haul:se%2Fcret@"),
        ("authorization { token: secret }", "secret@"),
    ] {
        let Some(nats) = Nats::with(&format!("{USUAL}\n{config}")) else { return };
        let url =
            |who: &str| format!("nats://{who}127.0.0.1:{}/events?stream=EVENTS&create=events", nats.port);
        for wrong in ["", "haul:wrong@", "wrong@"] {
            let why = sink(&url(wrong)).deliver(Packet::text("x")).await.unwrap_err();
            assert_eq!(
                (why.kind(), why.status(), why.sent()),
                (ErrorKind::Unauthorized, Status::Permanent, Sent::No),
                "{why}"
            );
            assert!(!format!("{why:?}").contains("wrong"), "it shows the password: {why:?}");
        }
        sink(&url(right)).deliver(Packet::text("x")).await.unwrap();
    }
}

#[tokio::test]
async fn a_subject_that_is_not_permitted_is_refused_at_once() {
    let config = "authorization { users: [
        { user: own, password: x },
        { user: guest, password: x, permissions: { publish: { deny: 'secret.>' } } }
    ] }";
    let Some(nats) = Nats::with(&format!("{USUAL}\n{config}")) else { return };
    let url = |who: &str, rest: &str| format!("nats://{who}:x@127.0.0.1:{}/{rest}", nats.port);
    sink(&url("own", "x?stream=ALL&create=secret.*,open.*")).ready().await.unwrap();
    for mode in ["jetstream=true", "jetstream=false"] {
        let sink = sink(&url("guest", &format!("{{to}}?timeout=10m&{mode}")));
        let to = |subject: &str| Packet::text("x").with("to", subject.to_owned());
        let batch = vec![to("open.a"), to("secret.a"), to("open.b")];
        let outcomes = soon("the refusal", sink.deliver_all(batch)).await.unwrap();
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{mode}: {outcomes:?}");
        let why = outcomes[1].as_ref().unwrap_err();
        assert_eq!(
            (why.kind(), why.status(), why.sent()),
            (ErrorKind::Unauthorized, Status::Permanent, Sent::No),
            "{mode}: {why}"
        );
    }
}

#[tokio::test]
async fn what_is_late_together_is_waited_for_once_whatever_failed_before() {
    let Some(nats) = Nats::start() else { return };
    let full = stream::Config {
        name: "FULL".into(),
        subjects: vec!["full".into()],
        max_messages: 1,
        discard: stream::DiscardPolicy::New,
        ..Default::default()
    };
    nats.make(full).await;
    // Who listens and stores nothing.
    let _ear = Ear::at(&nats, "silent").await;
    let sink = sink(&nats.url("{to}?timeout=3s"));
    let to = |subject: &str| Packet::text("x").with("to", subject.to_owned());
    sink.deliver(to("full")).await.unwrap();
    // One after the other, they would take longer than we wait.
    let batch = [vec![to("full")], vec![to("silent"); 40]].concat();
    let outcomes = soon("the outcomes", sink.deliver_all(batch)).await.unwrap();
    let kinds: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().unwrap_err().kind()).collect();
    assert_eq!((kinds[0], &kinds[1..]), (ErrorKind::Overloaded, &[ErrorKind::Timeout; 40][..]));
}

#[tokio::test]
async fn a_call_that_fails_late_leaves_the_connection_that_others_made_meanwhile() {
    let config = "authorization { users: [
        { user: own, password: x },
        { user: guest, password: x, permissions: { publish: { deny: 'secret' } } }
    ] }";
    let Some(nats) = Nats::with(&format!("{USUAL}\n{config}")) else { return };
    let (port, connections) = counting_relay(nats.port).await;
    let url = |who: &str, port: u16, rest: &str| format!("nats://{who}:x@127.0.0.1:{port}/{rest}");
    sink(&url("own", nats.port, "x?stream=ALL&create=open")).ready().await.unwrap();
    let own = async_nats::ConnectOptions::with_user_and_password("own".into(), "x".into());
    let own = own.connect(format!("127.0.0.1:{}", nats.port)).await.unwrap();
    let mut silent = own.subscribe("silent").await.unwrap();
    own.flush().await.unwrap();

    let sink = Arc::new(sink(&url("guest", port, "{to}?timeout=3s")));
    let to = |subject: &'static str| {
        let sink = sink.clone();
        async move { sink.deliver(Packet::text("x").with("to", subject)).await }
    };
    let late = tokio::spawn(to("silent"));
    soon("the packet of the first connection", silent.next()).await.unwrap();
    assert_eq!(to("secret").await.unwrap_err().kind(), ErrorKind::Unauthorized);
    to("open").await.unwrap();
    assert_eq!(connections.load(Ordering::Relaxed), 2);
    let why = soon("the timeout", late).await.unwrap().unwrap_err();
    assert_eq!(why.kind(), ErrorKind::Timeout, "{why}");
    to("open").await.unwrap();
    assert_eq!(connections.load(Ordering::Relaxed), 2, "connections after a late failure on the first");
}

/// A port that leads to `to`, and how many came by it.
async fn counting_relay(to: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, count) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(("127.0.0.1", to)).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    (port, count)
}

#[tokio::test]
async fn tls_trusts_whom_it_is_told_to() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let made = SelfSigned::new(["127.0.0.1"]).unwrap();
    let other = SelfSigned::new(["127.0.0.1"]).unwrap();
    let (right, key) = (write("cert.pem", &made.certificate_pem), write("key.pem", &made.key_pem));
    let wrong = write("other.pem", &other.certificate_pem);
    let tls = format!("{USUAL}\ntls {{ cert_file: '{right}', key_file: '{key}' }}");
    let Some(nats) = Nats::with(&tls) else { return };
    let url =
        |ca: &str| format!("nats+tls://127.0.0.1:{}/events?stream=EVENTS&create=events&ca={ca}", nats.port);
    sink(&url(&right)).deliver(Packet::text("x")).await.unwrap();
    let why = sink(&url(&wrong)).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(
        (why.kind(), why.status(), why.sent()),
        (ErrorKind::Tls, Status::Permanent, Sent::No),
        "{why}"
    );

    let Some(plain) = Nats::start() else { return };
    let url = format!("nats+tls://127.0.0.1:{}/events?ca={right}&connect_timeout=5s", plain.port);
    let why = sink(&url).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(why.sent(), Sent::No, "it went out in the open: {why}");
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up_on_and_used_again_when_it_moves() {
    let Some(nats) = Nats::start() else { return };
    for mode in ["stream=EVENTS&create=events", "jetstream=false"] {
        let sink = sink(&nats.url(&format!("events?timeout=2s&connect_timeout=2s&{mode}")));
        delivered(&sink, "1").await;
        nats.pause();
        let batch: Vec<_> = (0..50).map(|n| Packet::text(n.to_string())).collect();
        for outcome in soon("the timeout", sink.deliver_all(batch)).await.unwrap() {
            let why = outcome.unwrap_err();
            assert_eq!((why.kind(), why.sent()), (ErrorKind::Timeout, Sent::Maybe), "{mode}: {why}");
        }
        let why = soon("the timeout", sink.deliver(Packet::text("3"))).await.unwrap_err();
        assert_eq!((why.kind(), why.sent()), (ErrorKind::Timeout, Sent::No), "{mode}: {why}");
        nats.resume();
        delivered(&sink, "4").await;
    }
}

#[tokio::test]
async fn what_was_answered_with_a_failure_does_not_go_out_later() {
    let Some(mut nats) = Nats::start() else { return };
    let sink = sink(&nats.url("events?jetstream=false&timeout=2s&connect_timeout=2s"));
    delivered(&sink, "before").await;
    nats.kill();
    for _ in 0..3 {
        let why = soon("the failure", sink.deliver(Packet::text("away"))).await.unwrap_err();
        assert_eq!(why.status(), Status::Transient, "{why}");
    }
    nats.start_again();
    let ear = Ear::at(&nats, "events").await;
    delivered(&sink, "after").await;
    // The client by itself would be back within 4 s, with what it had queued.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(ear.heard().await, ["after"]);
}

/// Delivers it as soon as that can be done.
async fn delivered(sink: &NatsSink, text: &'static str) {
    soon("a delivery", async { while sink.deliver(Packet::text(text)).await.is_err() {} }).await;
}

/// A generator of numbers that a seed decides (SplitMix64).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_kills_and_pauses_each_packet_is_there_once_and_in_order_and_the_source_gives_it() {
    const PACKETS: u32 = 3000;
    let Some(mut nats) = Nats::start() else { return };
    let mut seeded = Seeded(haul_services::seed(7));
    let to = nats.url("events?stream=EVENTS&create=events&timeout=2s&connect_timeout=2s&pipeline=20");
    sink(&to).ready().await.unwrap();
    let mut sizes = Seeded(seeded.below(u64::MAX));
    let sending = tokio::spawn(async move {
        let sink = sink(&to);
        let mut number = 0;
        while number < PACKETS {
            let many = (1 + sizes.below(60) as u32).min(PACKETS - number);
            let packets = (number..number + many).map(|n| Packet::text(n.to_string()).identified());
            let mut rest: Vec<_> = packets.collect();
            // What is undone again until nothing is: with their ids that is safe.
            while !rest.is_empty() {
                let outcomes = match sink.deliver_all(rest.clone()).await {
                    Ok(outcomes) => outcomes,
                    Err(why) => {
                        assert_eq!(why.status(), Status::Transient, "{why}");
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    }
                };
                assert_eq!(outcomes.len(), rest.len());
                let undone = rest.into_iter().zip(outcomes).filter_map(|(packet, outcome)| match outcome {
                    Ok(receipt) => {
                        assert_eq!(receipt.level, Level::Stored);
                        None
                    }
                    Err(why) => {
                        assert_eq!(why.status(), Status::Transient, "{why}");
                        Some(packet)
                    }
                });
                rest = undone.collect();
            }
            number += many;
            tokio::time::sleep(Duration::from_millis(sizes.below(8))).await;
        }
    });
    let from = nats.url("events?ack_wait=2s&again=10ms&timeout=2s&connect_timeout=2s&max_unacked=64");
    let reading = tokio::spawn(async move {
        let mut source = source(&from);
        let mut seen = HashSet::new();
        while seen.len() < PACKETS as usize {
            let delivery = source.next().await.unwrap().unwrap();
            let number: u32 = delivery.packet().as_text().unwrap().parse().unwrap();
            seen.insert(number);
            // One whose acknowledgement is lost may come again, or be done with.
            if let Err(why) = delivery.ack(Receipt::new(Level::Stored, None)).await {
                assert_eq!(why.kind(), ErrorKind::Closed, "{why}");
            }
        }
    });
    for _ in 0..haul_services::kills().min(10) {
        tokio::time::sleep(Duration::from_millis(seeded.below(300))).await;
        match seeded.below(3) {
            0 => {
                nats.pause();
                tokio::time::sleep(Duration::from_millis(seeded.below(3000))).await;
                nats.resume();
            }
            _ => tokio::task::block_in_place(|| {
                nats.kill();
                nats.start_again();
            }),
        }
    }
    soon("all to be answered", sending).await.unwrap();
    let there: Vec<u32> = nats
        .read_all("EVENTS")
        .await
        .iter()
        .map(|payload| std::str::from_utf8(payload).unwrap().parse().unwrap())
        .collect();
    assert!(there.iter().copied().eq(0..PACKETS), "not each once and in order: {there:?}");
    soon("all to be read", reading).await.unwrap();
}
