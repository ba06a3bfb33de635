//! What is bounded over all sessions, and on one link.

use std::time::Duration;

use haul_core::wire::Frame;
use haul_core::{Connection, ErrorKind, ListenerLimits, Packet};
use haul_mem::Mem;
use haul_session::{Acceptor, AcceptorOptions};
use tokio::time::{Instant, sleep, timeout};

use crate::bare::Bare;
use crate::{Net, endpoint, next, soon};

/// Sends packets of 1,000 bytes until that waits for long; answers how many were taken.
async fn fill(end: &Connection) -> usize {
    for count in 0..100_000 {
        let send = end.send(Packet::binary(vec![7; 1000]));
        match timeout(Duration::from_secs(60), send).await {
            Ok(sent) => sent.unwrap(),
            Err(_) => return count,
        }
    }
    panic!("it takes without bound");
}

async fn open(net: &Net) -> (Connection, Connection) {
    let dialer = net.dialer();
    let (client, server) = tokio::join!(dialer.open(endpoint("mem://server")), net.accept());
    (client.unwrap().0, server)
}

async fn name(end: &Connection, name: &str) {
    let mut watch = end.watch();
    let changed = timeout(Duration::from_secs(300), async {
        while watch.get().name() != name {
            watch.changed().await.unwrap();
        }
    });
    changed.await.unwrap_or_else(|_| panic!("waited 300 s of simulated time for {name}"));
}

#[tokio::test(start_paused = true)]
async fn beyond_max_memory_who_is_away_for_longest_ends_and_senders_wait_for_their_peers() {
    let options =
        AcceptorOptions { max_memory: 200_000, replay_bytes: 16 << 20, ..AcceptorOptions::default() };
    let net = Net::new(options);
    let mut away = Vec::new();
    for _ in 0..2 {
        let (client, _) = Bare::open(&net.mem).await;
        let server = net.accept().await;
        for _ in 0..40 {
            server.send(Packet::binary(vec![7; 1000])).await.unwrap();
        }
        soon("the flush", server.flush()).await.unwrap();
        drop(client);
        name(&server, "reconnecting").await;
        away.push(server);
    }
    let (mut client, _) = Bare::open(&net.mem).await;
    let server = net.accept().await;
    let reading = tokio::spawn(async move {
        let mut packets = 0;
        while let Ok(Ok(Some(frame))) =
            timeout(Duration::from_secs(70), std::future::poll_fn(|cx| client.link.read.poll_read(cx))).await
        {
            packets += u32::from(matches!(frame, Frame::Packet { .. }));
        }
        (packets, client)
    });
    // It settles nothing.
    let taken = fill(&server).await;
    assert!((150..400).contains(&taken), "{taken} packets were taken");
    for gone in &mut away {
        let error = soon("the end", gone.recv()).await.unwrap_err();
        assert!(error.to_string().contains("too much is kept"), "{error}");
    }
    assert_eq!(server.state().name(), "connected");
    let reading = timeout(Duration::from_secs(300), reading).await;
    let (packets, mut client) = reading.expect("waited 300 s for the reader to see no more").unwrap();
    // The others wait in the send buffer.
    assert!((40..200).contains(&packets), "{packets} packets are on their way and not settled");
    let settling = tokio::spawn(async move {
        for settled in packets.. {
            client.say(Frame::Note(format!("ack {settled}"))).await;
            while !matches!(client.frame().await, Some(Frame::Packet { .. })) {}
        }
    });
    for _ in 0..1000 {
        soon("room, as the peer settles", server.send(Packet::binary(vec![7; 1000]))).await.unwrap();
    }
    settling.abort();
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_away_count_among_max_connections_until_they_end() {
    let limits = ListenerLimits { max_connections: 1, ..ListenerLimits::default() };
    let retention = Duration::from_secs(30);
    let net = Net::new(AcceptorOptions { limits, retention, ..AcceptorOptions::default() });
    let (client, _) = Bare::open(&net.mem).await;
    let server = net.accept().await;
    drop(client);
    name(&server, "reconnecting").await;
    let refused = soon("the refusal", net.dialer().open(endpoint("mem://server"))).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Overloaded, "{refused}");
    name(&server, "failed").await;
    drop(server);
    soon("the room", async {
        while net.listener.stats().open > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    drop(open(&net).await);
}

#[tokio::test(start_paused = true)]
async fn a_link_whose_peer_answers_no_pings_is_let_go_and_one_that_answers_is_not() {
    let mem = Mem::new();
    let beneath = mem.listen(endpoint("mem://server?ping=10s")).unwrap();
    let listener = Acceptor::new(AcceptorOptions::default()).unwrap().listen(vec![beneath]).unwrap();
    let net = Net { mem, listener };
    let (silent, _) = Bare::open(&net.mem).await;
    let deserted = net.accept().await;
    let (client, server) = open(&net).await;
    let began = Instant::now();
    name(&deserted, "reconnecting").await;
    let after = began.elapsed();
    assert!((29..41).contains(&after.as_secs()), "let go after {after:?}");
    sleep(Duration::from_secs(600)).await;
    assert_eq!(server.state().name(), "connected");
    drop((silent, client));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_and_does_not_read_is_told_little_until_it_reads() {
    const PACKETS: u32 = 200_000;
    let net = Net::new(AcceptorOptions::default());
    let (mut client, _) = Bare::open(&net.mem).await;
    let server = net.accept().await;
    let receiving = tokio::spawn(async move {
        let mut server = server;
        for _ in 0..PACKETS {
            next(&mut server).await;
        }
        server
    });
    for number in 0..PACKETS {
        client.say(Frame::packet(Packet::binary(number.to_be_bytes().to_vec()))).await;
    }
    let server = soon("all packets", receiving).await.unwrap();
    let mut acks = 0;
    loop {
        let read = std::future::poll_fn(|cx| client.link.read.poll_read(cx));
        match soon("the last ack", read).await.unwrap().unwrap() {
            Frame::Note(note) if note == format!("ack {PACKETS}") => break,
            Frame::Note(note) if note.starts_with("ack") => acks += 1,
            _ => {}
        }
    }
    assert!(acks < 2500, "{acks} acks waited for a peer that does not read");
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_client_never_heard_of_it_is_not_kept_for_long() {
    let net = Net::new(AcceptorOptions::default());
    let mut client = Bare::dial(&net.mem).await;
    client.say(Frame::Note("open 1 1 1000000".into())).await;
    // As a client does that hears the hello, and is cancelled before it hears more.
    let accepted = client.ask("open 1 1 1000000").await;
    assert!(accepted.starts_with("accepted"), "{accepted}");
    let server = net.accept().await;
    let began = Instant::now();
    drop(client);
    name(&server, "failed").await;
    assert_eq!(began.elapsed().as_secs(), 10, "as long as a handshake may take");
}
