use std::future::poll_fn;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use haul_core::wire::Framing;
use haul_core::{CloseReason, Dial, Error, ErrorKind, Info, Limits, Sent, State, Status, service_fn};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, advance, sleep, timeout};

use super::*;
use crate::beat::Due;

const SECOND: Duration = Duration::from_secs(1);

fn options() -> HeartbeatOptions {
    HeartbeatOptions {
        interval: 10 * SECOND,
        timeout: 3 * SECOND,
        jitter: 0.0,
        ..HeartbeatOptions::default()
    }
}

fn over(pipe: DuplexStream, framing: Framing) -> Link {
    let (read, write) = tokio::io::split(pipe);
    Link::over_stream(Info::new("pipe", ""), Limits::default(), framing, read, write)
}

/// A connection with this heartbeat, what watches it, and the peer's end of the bytes.
fn watched(options: HeartbeatOptions, framing: Framing) -> (Connection, Monitor, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(4096);
    let layer = HeartbeatLayer::new(options).unwrap();
    let (link, monitor) = layer.watch(over(ours, framing)).unwrap();
    (Connection::new(link, spawn), monitor, theirs)
}

fn connection(pipe: DuplexStream, framing: Framing) -> Connection {
    Connection::new(over(pipe, framing), spawn)
}

/// How long the connection stands from now on, and why it fails.
async fn stands(connection: &mut Connection) -> (Duration, Error) {
    let start = Instant::now();
    loop {
        match connection.recv().await {
            Ok(packet) => assert!(packet.is_some(), "it ended cleanly"),
            Err(why) => return (start.elapsed(), why),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_found_after_the_interval_and_all_questions() {
    let (mut ours, monitor, _theirs) = watched(options(), Framing::Haul);
    let (after, why) = stands(&mut ours).await;
    assert_eq!(after, 19 * SECOND);
    assert_eq!((why.kind(), why.status(), why.sent()), (ErrorKind::Timeout, Status::Transient, Sent::No));
    assert!(why.to_string().contains("nothing heard from the peer for 19s"), "{why}");
    assert!(matches!(ours.state(), State::Failed { .. }));
    let stats = monitor.stats();
    assert_eq!((stats.asked, stats.missed, stats.answered, stats.p50), (3, 3, 0, None));
}

#[tokio::test(start_paused = true)]
async fn it_is_found_while_nobody_receives_too() {
    let (ours, _, _theirs) = watched(options(), Framing::Haul);
    let start = Instant::now();
    let State::Failed { why } = ours.watch().over().await else { panic!("it has not failed") };
    assert_eq!((start.elapsed(), why.kind()), (19 * SECOND, ErrorKind::Timeout));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_is_not_cut_and_its_round_trips_are_known() {
    let (ours, monitor, theirs) = watched(options(), Framing::Haul);
    let _peer = connection(theirs, Framing::Haul);
    sleep(3600 * SECOND).await;
    assert!(matches!(ours.state(), State::Connected));
    let stats = monitor.stats();
    assert!(stats.asked >= 359 && stats.missed == 0 && stats.answered == stats.asked, "{stats:?}");
    assert_eq!((stats.p50, stats.p99), (Some(Duration::ZERO), Some(Duration::ZERO)));
    assert_eq!(ours.stats().packets_queued, 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_deadline_above_does_not_cut_a_peer_that_answers() {
    let (ours, theirs) = tokio::io::duplex(4096);
    let limits = Limits { idle_deadline: Some(30 * SECOND), ..Limits::default() };
    let link = over(ours, Framing::Haul).with_limits(limits);
    let (link, _) = HeartbeatLayer::new(options()).unwrap().watch(link).unwrap();
    let ours = Connection::new(link, spawn);
    let peer = connection(theirs, Framing::Haul);
    sleep(600 * SECOND).await;
    assert!(matches!(ours.state(), State::Connected), "{:?}", ours.state());
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_is_not_asked() {
    let (mut ours, monitor, theirs) = watched(options(), Framing::Haul);
    let peer = connection(theirs, Framing::Haul);
    for _ in 0..20 {
        sleep(9 * SECOND).await;
        peer.send(Packet::text("news")).await.unwrap();
        ours.recv().await.unwrap().unwrap();
    }
    assert_eq!(monitor.stats().asked, 0);
}

#[tokio::test(start_paused = true)]
async fn fewer_misses_than_allowed_do_not_cut() {
    let (ours, monitor, theirs) = watched(options(), Framing::Haul);
    // Silent for the interval and two questions; then it speaks.
    sleep(18 * SECOND).await;
    let _peer = connection(theirs, Framing::Haul);
    sleep(60 * SECOND).await;
    assert!(matches!(ours.state(), State::Connected));
    let stats = monitor.stats();
    assert_eq!(stats.missed, 2, "{stats:?}");
    assert!(stats.answered > 0, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_cuts_nobody_before_one_more_question() {
    let (mut ours, monitor, theirs) = watched(options(), Framing::Haul);
    // The last question is out, when the machine sleeps for an hour.
    assert!(timeout(17 * SECOND, ours.recv()).await.is_err());
    assert_eq!(monitor.stats().asked, 3);
    advance(3600 * SECOND).await;
    assert!(timeout(SECOND, ours.recv()).await.is_err());
    assert!(matches!(ours.state(), State::Connected));
    let stats = monitor.stats();
    assert_eq!((stats.asked, stats.late), (4, 1), "{stats:?}");
    let _peer = connection(theirs, Framing::Haul);
    assert!(timeout(60 * SECOND, ours.recv()).await.is_err());
    assert!(matches!(ours.state(), State::Connected));
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_found_after_a_jump_too() {
    let (mut ours, _, _theirs) = watched(options(), Framing::Haul);
    assert!(timeout(17 * SECOND, ours.recv()).await.is_err());
    advance(3600 * SECOND).await;
    let (after, why) = stands(&mut ours).await;
    assert_eq!((after, why.kind()), (3 * SECOND, ErrorKind::Timeout));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_heard_and_does_not_hear_is_found_only_by_proof() {
    for (prove, found) in [(None, false), (Some(20 * SECOND), true)] {
        let (mut ours, monitor, theirs) = watched(HeartbeatOptions { prove, ..options() }, Framing::Haul);
        // It sends, and what comes to it is dropped on the way.
        let (mut read, write) = tokio::io::split(theirs);
        let (deaf, _never) = tokio::io::duplex(1);
        let link = Link::over_stream(Info::new("pipe", ""), Limits::default(), Framing::Haul, deaf, write);
        let peer = Connection::new(link, spawn);
        tokio::spawn(async move { while read.read_u8().await.is_ok() {} });
        tokio::spawn(async move {
            while peer.send(Packet::text("x")).await.is_ok() {
                sleep(SECOND).await
            }
        });
        let cut = timeout(300 * SECOND, stands(&mut ours)).await;
        assert_eq!(cut.is_ok(), found, "{cut:?}");
        if let Ok((after, why)) = cut {
            assert_eq!((after, why.kind()), (29 * SECOND, ErrorKind::Timeout));
        }
        assert_eq!(monitor.stats().asked, if found { 3 } else { 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hears_is_proved_although_it_sends() {
    let (mut ours, monitor, theirs) =
        watched(HeartbeatOptions { prove: Some(20 * SECOND), ..options() }, Framing::Haul);
    let peer = connection(theirs, Framing::Haul);
    tokio::spawn(async move {
        while peer.send(Packet::text("x")).await.is_ok() {
            sleep(SECOND).await
        }
    });
    assert!(timeout(310 * SECOND, stands(&mut ours)).await.is_err());
    let stats = monitor.stats();
    assert_eq!((stats.answered, stats.missed), (stats.asked, 0), "{stats:?}");
    assert!(stats.asked >= 14, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn a_question_never_stands_inside_a_packet_of_the_connection() {
    // The pipe is smaller than the packet: it is cut into pieces, and questions wait for its end.
    let layer = HeartbeatLayer::new(HeartbeatOptions { misses: 16, ..options() }).unwrap();
    let (ours, mut theirs) = tokio::io::duplex(64);
    let (link, monitor) = layer.watch(over(ours, Framing::Haul)).unwrap();
    let ours = Connection::new(link, spawn);
    let payload = vec![7; 3000];
    ours.send(Packet::binary(payload.clone())).await.unwrap();
    let mut wire = Vec::new();
    while wire.len() < 3005 {
        sleep(SECOND).await;
        let mut piece = vec![0; 100.min(3005 - wire.len())];
        let read = theirs.read(&mut piece).await.unwrap();
        wire.extend_from_slice(&piece[..read]);
    }
    assert!(monitor.stats().asked > 1);
    assert_eq!(&wire[5..], payload);
    // What waited goes behind it, once.
    let mut ping = [0; 4];
    theirs.read_exact(&mut ping).await.unwrap();
    let mut rest = vec![0; u32::from_be_bytes(ping) as usize];
    theirs.read_exact(&mut rest).await.unwrap();
    assert!(rest.windows(4).any(|bytes| bytes == b"beat"), "{rest:?}");
    assert!(timeout(SECOND / 2, theirs.read_u8()).await.is_err(), "more than one waited");
}

#[tokio::test(start_paused = true)]
async fn a_packet_never_stands_inside_a_question() {
    // The pipe takes a part of the question only, when the packet is sent.
    let (ours, theirs) = tokio::io::duplex(8);
    let (link, monitor) = HeartbeatLayer::new(options()).unwrap().watch(over(ours, Framing::Haul)).unwrap();
    let ours = Connection::new(link, spawn);
    sleep(11 * SECOND).await;
    ours.send(Packet::text("behind it")).await.unwrap();
    sleep(SECOND).await;
    let mut peer = connection(theirs, Framing::Haul);
    assert_eq!(peer.recv().await.unwrap().unwrap().as_text(), Some("behind it"));
    sleep(SECOND).await;
    assert_eq!(monitor.stats().answered, 1);
}

#[tokio::test(start_paused = true)]
async fn questions_that_packets_follow_and_no_answer_are_not_kept() {
    let (mut ours, monitor, mut theirs) = watched(options(), Framing::Haul);
    for _ in 0..40 {
        sleep(12 * SECOND).await;
        theirs.write_all(&[0, 0, 0, 2, 0, b'x']).await.unwrap();
        ours.recv().await.unwrap().unwrap();
    }
    // Of more than are kept at most; that they are not is asserted where they are.
    assert_eq!((monitor.stats().asked, monitor.stats().missed), (40, 0));
}

#[tokio::test(start_paused = true)]
async fn a_question_is_flushed() {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let (read, write) = tokio::io::split(ours);
    let write = tokio::io::BufWriter::new(write);
    let link = Link::over_stream(Info::new("pipe", ""), Limits::default(), Framing::Haul, read, write);
    let (link, _) = HeartbeatLayer::new(options()).unwrap().watch(link).unwrap();
    let _ours = Connection::new(link, spawn);
    assert!(timeout(11 * SECOND, theirs.read_u8()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_found_and_one_question_waits() {
    let layer = HeartbeatLayer::new(options()).unwrap();
    let (ours, _theirs) = tokio::io::duplex(64);
    let (link, monitor) = layer.watch(over(ours, Framing::Haul)).unwrap();
    let mut ours = Connection::new(link, spawn);
    ours.send(Packet::binary(vec![7; 3000])).await.unwrap();
    let (after, why) = stands(&mut ours).await;
    assert_eq!((after, why.kind(), why.sent()), (19 * SECOND, ErrorKind::Timeout, Sent::Maybe));
    assert_eq!(monitor.stats().asked, 3);
}

#[tokio::test(start_paused = true)]
async fn after_a_finish_nothing_is_asked_and_nobody_cut() {
    let (mut ours, monitor, theirs) = watched(options(), Framing::Haul);
    let mut peer = connection(theirs, Framing::Haul);
    ours.finish().await.unwrap();
    assert!(peer.recv().await.unwrap().is_none());
    sleep(300 * SECOND).await;
    peer.send(Packet::text("late answer")).await.unwrap();
    assert_eq!(ours.recv().await.unwrap().unwrap().as_text(), Some("late answer"));
    assert_eq!(monitor.stats().asked, 0);
    peer.close(CloseReason::NORMAL).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_packet_asks_where_there_are_no_pings() {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let layer = HeartbeatLayer::new(options()).unwrap().with_probe(Packet::text("are you there?"));
    let (link, monitor) = layer.watch(over(ours, Framing::Lines)).unwrap();
    let mut ours = Connection::new(link, spawn);
    let mut asked = [0; 15];
    theirs.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"are you there?\n");
    theirs.write_all(b"yes\n").await.unwrap();
    assert_eq!(ours.recv().await.unwrap().unwrap().as_text(), Some("yes"));
    let (after, why) = stands(&mut ours).await;
    assert_eq!((after, why.kind()), (19 * SECOND, ErrorKind::Timeout));
    assert_eq!((monitor.stats().asked, ours.stats().packets_sent), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn without_pings_and_probe_nobody_is_cut() {
    let (mut ours, monitor, _theirs) = watched(options(), Framing::Lines);
    assert!(timeout(3600 * SECOND, ours.recv()).await.is_err());
    assert!(matches!(ours.state(), State::Connected));
    assert_eq!(monitor.stats().asked, 0);
}

#[tokio::test]
async fn a_probe_that_the_link_cannot_carry_is_refused_at_once() {
    let (ours, _theirs) = tokio::io::duplex(64);
    let layer = HeartbeatLayer::new(options()).unwrap().with_probe(Packet::text("two\nlines"));
    assert_eq!(layer.watch(over(ours, Framing::Lines)).unwrap_err().kind(), ErrorKind::Codec);
}

#[tokio::test(start_paused = true)]
async fn the_endpoints_ping_is_the_interval_and_is_not_pinged_twice() {
    let (ours, _theirs) = tokio::io::duplex(4096);
    let limits = Limits { ping_interval: Some(SECOND), ..Limits::default() };
    let layer = HeartbeatLayer::new(options()).unwrap();
    let (link, _) = layer.watch(over(ours, Framing::Haul).with_limits(limits)).unwrap();
    assert_eq!(link.limits.ping_interval, None);
    let (after, _) = stands(&mut Connection::new(link, spawn)).await;
    assert_eq!(after, 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn adaptive_waits_follow_the_round_trips_and_double_with_each_miss() {
    let options = HeartbeatOptions { adaptive: true, timeout: 60 * SECOND, ..options() };
    let mut beat = Beat::new(options, || 0);
    let mut asks = Vec::new();
    let start = Instant::now();
    let mut next = async |beat: &mut Beat| {
        let due = poll_fn(|cx| match beat.poll(cx) {
            Due::Nothing => Poll::Pending,
            due => Poll::Ready(due),
        });
        let due = due.await;
        asks.push(start.elapsed().as_millis());
        due
    };
    assert_eq!(next(&mut beat).await, Due::Ask { missed: false });
    sleep(SECOND).await;
    // 1 s, and four times the half of it: 3 s.
    beat.answered(SECOND);
    while !matches!(next(&mut beat).await, Due::Cut(_)) {}
    assert_eq!(asks, [10_000, 21_000, 24_000, 30_000, 42_000]);
}

#[tokio::test(start_paused = true)]
async fn jitter_only_ever_asks_earlier() {
    for (random, at) in [(0_u64, 10.0), (u64::MAX, 5.0), (u64::MAX / 2, 7.5)] {
        static RANDOM: Mutex<u64> = Mutex::new(0);
        *RANDOM.lock().unwrap() = random;
        let options = HeartbeatOptions { jitter: 0.5, ..options() };
        let mut beat = Beat::new(options, || *RANDOM.lock().unwrap());
        let start = Instant::now();
        poll_fn(|cx| if beat.poll(cx) == Due::Nothing { Poll::Pending } else { Poll::Ready(()) }).await;
        let after = start.elapsed().as_secs_f64();
        assert!((after - at).abs() < 0.01, "{after} {at}");
    }
}

#[test]
fn percentiles_are_of_the_last_samples_only() {
    let monitor = Monitor::default();
    monitor.answered(Duration::from_secs(99));
    for millis in 1..=SAMPLES as u64 {
        monitor.answered(Duration::from_millis(millis));
    }
    let stats = monitor.stats();
    assert_eq!(stats.answered, SAMPLES as u64 + 1);
    let millis = |duration: Option<Duration>| duration.map(|duration| duration.as_millis());
    assert_eq!((millis(stats.p50), millis(stats.p99), millis(stats.last)), (Some(128), Some(254), Some(256)));
}

#[tokio::test(start_paused = true)]
async fn a_layer_tells_of_each_link_that_it_dials() {
    let dialer = service_fn(|_: Endpoint| async {
        let (ours, theirs) = tokio::io::duplex(4096);
        tokio::spawn(async move { connection(theirs, Framing::Haul).recv().await });
        Ok(connection(ours, Framing::Haul))
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let layer = HeartbeatLayer::new(options()).unwrap().on_link(move |endpoint, monitor| {
        noted.lock().unwrap().push((endpoint.to_string(), monitor.clone()));
    });
    let _one = layer.layer(dialer).dial(Endpoint::parse("pipe://peer").unwrap()).await.unwrap();
    sleep(11 * SECOND).await;
    let seen = seen.lock().unwrap();
    assert_eq!((seen.len(), seen[0].0.as_str(), seen[0].1.stats().answered), (1, "pipe://peer", 1));
}

#[test]
fn options_come_from_toml_and_wrong_ones_are_refused() {
    let text =
        "interval = \"1s\"\ntimeout = \"500ms\"\nmisses = 2\njitter = 0.0\nadaptive = true\nprove = \"1m\"";
    let options: HeartbeatOptions = toml::from_str(text).unwrap();
    assert_eq!((options.misses, options.adaptive, options.prove), (2, true, Some(60 * SECOND)));
    assert!(toml::from_str::<HeartbeatOptions>("intervall = \"1s\"").is_err());
    let ok = HeartbeatOptions::default;
    for wrong in [
        HeartbeatOptions { interval: Duration::ZERO, ..ok() },
        HeartbeatOptions { timeout: Duration::ZERO, ..ok() },
        HeartbeatOptions { prove: Some(Duration::ZERO), ..ok() },
        HeartbeatOptions { interval: Duration::MAX, ..ok() },
        HeartbeatOptions { misses: 0, ..ok() },
        HeartbeatOptions { misses: 17, ..ok() },
        HeartbeatOptions { jitter: 1.1, ..ok() },
        HeartbeatOptions { jitter: f64::NAN, ..ok() },
    ] {
        assert_eq!(HeartbeatLayer::new(wrong).unwrap_err().kind(), ErrorKind::Config);
    }
}
