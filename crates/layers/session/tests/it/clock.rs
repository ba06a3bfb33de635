//! Outages shorter and longer than the server keeps sessions, in paused time; and bounds of what is kept.

use std::time::Duration;

use haul_core::{Connection, ErrorKind, Packet};
use haul_session::AcceptorOptions;
use tokio::time::{advance, sleep};

use crate::{Net, endpoint, next, soon};

/// A session's two ends.
async fn open(net: &Net) -> (Connection, Connection) {
    let dialer = net.dialer();
    let (client, server) = tokio::join!(dialer.open(endpoint("mem://server")), net.accept());
    (client.unwrap().0, server)
}

#[tokio::test(start_paused = true)]
async fn a_server_fails_the_connection_of_a_client_that_stays_away_and_not_before() {
    let options = AcceptorOptions { retention: Duration::from_secs(120), ..AcceptorOptions::default() };
    let net = Net::new(options);
    let (client, mut server) = open(&net).await;
    for number in 0..3 {
        server.send(Packet::text(number.to_string())).await.unwrap();
    }
    server.flush().await.unwrap();
    let mut watch = server.watch();
    // The client's side is gone without a word: its link is taken out of the session and dropped.
    sleep(Duration::from_millis(1)).await;
    forget(client).await;
    soon("the loss", async {
        while watch.get().name() != "reconnecting" {
            watch.changed().await.unwrap();
        }
    })
    .await;
    advance(Duration::from_secs(118)).await;
    assert_eq!(server.state().name(), "reconnecting");
    advance(Duration::from_secs(3)).await;
    let error = soon("the end", server.recv()).await.unwrap_err();
    assert_eq!((error.kind(), server.state().name()), (ErrorKind::Closed, "failed"), "{error}");
    assert_eq!(crate::fact(&error, "not_settled"), Some("3"), "{error}");
    assert_eq!(crate::fact(&error, "ours_maybe_lost"), Some("3"), "{error}");
    let late = server.send(Packet::text("late")).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Closed);
}

/// Ends the client as a crash of its process would: its tasks are gone, and nothing is said.
async fn forget(client: Connection) {
    let link = client.into_link().await.unwrap();
    // Without a connection there is no driver to say goodbye.
    drop(link);
}

#[tokio::test(start_paused = true)]
async fn with_one_session_too_many_the_longest_away_ends() {
    let options = AcceptorOptions { max_detached: 2, ..AcceptorOptions::default() };
    let net = Net::new(options);
    let mut servers = Vec::new();
    for _ in 0..3 {
        let (client, mut server) = open(&net).await;
        client.send(Packet::text("hi")).await.unwrap();
        next(&mut server).await;
        forget(client).await;
        let mut watch = server.watch();
        soon("the loss", async {
            while watch.get().name() == "connected" {
                watch.changed().await.unwrap();
            }
        })
        .await;
        servers.push(server);
    }
    let error = soon("the oldest to end", servers[0].recv()).await.unwrap_err();
    assert!(error.to_string().contains("too much is kept"), "{error}");
    let states: Vec<_> = servers.iter().map(|server| server.state().name()).collect();
    assert_eq!(states, ["failed", "reconnecting", "reconnecting"]);
}

#[tokio::test]
async fn a_peer_that_settles_nothing_holds_the_sender_back_within_the_bound() {
    let options = AcceptorOptions { replay_bytes: 256 << 10, ..AcceptorOptions::default() };
    let net = Net::new(options);
    let (mut client, server) = open(&net).await;
    let payload = vec![7; 1000];
    let mut accepted = 0u64;
    loop {
        let send = server.send(Packet::binary(payload.clone()));
        match tokio::time::timeout(Duration::from_millis(500), send).await {
            Ok(sent) => sent.unwrap(),
            Err(_) => break,
        }
        accepted += 1;
        assert!(accepted < 10_000, "a session that nobody reads grows without bound");
    }
    // The window, the connection's buffers, and what core reads ahead.
    assert!(accepted * 1000 < (256 + 4 * 128 + 2 * 64) << 10, "{accepted} packets were accepted");
    for _ in 0..server.stats().packets_queued {
        assert_eq!(next(&mut client).await.len(), 1000);
    }
    soon("the flush", server.flush()).await.unwrap();
}

#[tokio::test]
async fn two_ends_that_send_much_before_they_read_do_not_block_each_other() {
    let net = Net::new(AcceptorOptions { replay_bytes: 64 << 10, ..AcceptorOptions::default() });
    let (mut a, mut b) = open(&net).await;
    for _ in 0..3 {
        for end in [&a, &b] {
            for number in 0..40u32 {
                let mut payload = number.to_be_bytes().to_vec();
                payload.resize(1000, 0);
                soon("room", end.send(Packet::binary(payload))).await.unwrap();
            }
        }
        for end in [&mut a, &mut b] {
            for number in 0..40u32 {
                assert_eq!(next(end).await.payload()[..4], number.to_be_bytes());
            }
        }
    }
}

#[tokio::test]
async fn where_nobody_counts_what_is_received_packets_are_settled_when_they_are_read() {
    let net = Net::new(AcceptorOptions { replay_bytes: 64 << 10, ..AcceptorOptions::default() });
    let (client, server) = open(&net).await;
    let mut link = client.into_link().await.unwrap();
    // As a layer does that makes a link of its own.
    link.on_settled = None;
    let mut client = Connection::new(link, |task| drop(tokio::spawn(task)));
    let sending = tokio::spawn(async move {
        for _ in 0..1000 {
            server.send(Packet::binary(vec![7; 1000])).await.unwrap();
        }
        server
    });
    for _ in 0..1000 {
        next(&mut client).await;
    }
    soon("all to be sent", sending).await.unwrap();
}
