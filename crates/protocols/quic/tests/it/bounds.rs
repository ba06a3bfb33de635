use std::time::Duration;

use haul_core::{Deliver, ErrorKind, Packet, PacketId, Sent, Status, StreamOptions};
use tokio::time::timeout;

use crate::relay::Relay;
use crate::{dial, listen, pair, port, soon, stranger};

#[tokio::test]
async fn a_connection_too_many_is_refused_in_quics_own_words() {
    let listener = listen("?max_connections=1").await;
    let first = dial(&format!("quic://127.0.0.1:{}?insecure=true", port(&listener))).await.unwrap();
    let _kept = soon("the first", listener.accept()).await.unwrap().unwrap();
    let error = dial(&format!("quic://127.0.0.1:{}?insecure=true", port(&listener))).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.status(), error.sent()),
        (ErrorKind::Connect, Status::Transient, Sent::No),
        "{error}"
    );
    assert!(error.to_string().contains("takes no more connections"), "{error}");
    assert_eq!(listener.stats().refused, 1);
    drop(first);
}

#[tokio::test]
async fn a_peer_that_never_opens_a_stream_is_accepted_and_cut_when_idle() {
    let listener = listen("?idle=1s").await;
    let (_endpoint, quic) = stranger(port(&listener), "haul/1").await.unwrap();
    let mut server = soon("the session", listener.accept()).await.unwrap().unwrap();
    server.send(Packet::text("waits for a stream")).await.unwrap();
    let error = soon("the cut", server.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let not_flushed = error.context().find(|(name, _)| *name == "not_flushed");
    assert_eq!(not_flushed.map(|(_, count)| count), Some("1"), "{error}");
    drop(quic);
}

#[tokio::test]
async fn a_first_stream_that_comes_late_is_taken_up() {
    let listener = listen("").await;
    let (_endpoint, quic) = stranger(port(&listener), "haul/1").await.unwrap();
    let mut server = soon("the session", listener.accept()).await.unwrap().unwrap();
    server.send(Packet::text("early")).await.unwrap();
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    send.write_all(b"haul.v1\n\0\0\0\x05\x01late").await.unwrap();
    assert_eq!(soon("the packet", server.recv()).await.unwrap().unwrap().as_text(), Some("late"));
    let mut answer = [0; 18];
    soon("what waited", recv.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"haul.v1\n\0\0\0\x06\x01early");
}

/// A listener whose runtime is taken away, as if its process were killed: it says nothing to anybody.
fn mortal() -> (tokio::runtime::Runtime, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (told, url) = std::sync::mpsc::sync_channel(1);
    runtime.spawn(async move {
        let listener = listen("").await;
        told.send(listener.local_endpoint().as_str().to_owned()).unwrap();
        let mut connections = Vec::new();
        while let Ok(Some(connection)) = listener.accept().await {
            connections.push(connection);
        }
    });
    (runtime, url.recv().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_to_a_peer_that_was_killed_may_have_been_seen() {
    let (runtime, url) = mortal();
    let mut client = dial(&format!("{url}&idle=1s&ping=100ms")).await.unwrap();
    soon("a pong", client.ping()).await.unwrap();
    runtime.shutdown_background();
    let packet = Packet::text("anybody?").with_id(PacketId::random());
    let error = soon("the failure", client.deliver(packet)).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::Maybe), "{error}");
    let error = soon("the end", client.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let error = client.send(Packet::text("too late")).await.unwrap_err();
    assert_eq!(error.sent(), Sent::No, "{error}");
    assert_eq!(client.state().name(), "failed");
}

#[tokio::test]
async fn a_silent_connection_that_is_kept_alive_outlives_its_idle_deadline() {
    let listener = listen("?idle=1s").await;
    let client = dial(&format!("{}&ping=50ms", listener.local_endpoint().as_str())).await.unwrap();
    let mut server = soon("the client", listener.accept()).await.unwrap().unwrap();
    // More than twice the deadline: what is observed is that nothing happens.
    assert!(timeout(Duration::from_millis(2500), server.recv()).await.is_err(), "it was cut");
    client.send(Packet::text("still here")).await.unwrap();
    assert_eq!(soon("the packet", server.recv()).await.unwrap().unwrap().as_text(), Some("still here"));
}

#[tokio::test]
async fn a_stream_beyond_the_peers_bound_waits_until_one_ends() {
    let listener = listen("?streams=2").await;
    let client = dial(&format!("quic://127.0.0.1:{}?insecure=true", port(&listener))).await.unwrap();
    let server = soon("the client", listener.accept()).await.unwrap().unwrap();
    let second = soon("the second", client.open(StreamOptions::default())).await.unwrap();
    let second_end = soon("the second", server.accept()).await.unwrap().unwrap();
    let mut third = Box::pin(client.open(StreamOptions::default()));
    let early = timeout(Duration::from_millis(200), &mut third).await;
    assert!(early.is_err(), "three streams where two are allowed");
    drop((second, second_end));
    soon("the third", third).await.unwrap();
}

#[tokio::test]
async fn an_unreliable_packet_with_a_head_too_large_for_a_datagram_is_refused() {
    let (client, mut server) = pair("").await;
    let fits = Packet::binary(vec![7; 1000]).unreliable();
    let error = client.send(fits.clone().with("long", "x".repeat(200))).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::TooLarge, Sent::No), "{error}");
    let error = client.send(Packet::binary(vec![7; 1121]).unreliable()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    client.send(Packet::text("before")).await.unwrap();
    client.send(fits.with("short", "x")).await.unwrap();
    client.send(Packet::text("after")).await.unwrap();
    let mut came = Vec::new();
    for _ in 0..3 {
        came.push(soon("a packet", server.recv()).await.unwrap().unwrap().len());
    }
    came.sort_unstable();
    assert_eq!(came, [5, 6, 1000]);
}

#[tokio::test]
async fn datagrams_go_both_ways_on_either_ends_streams() {
    let (client, server) = pair("").await;
    let near = client.open(StreamOptions::datagrams()).await.unwrap();
    let far = soon("the channel", server.accept()).await.unwrap().unwrap();
    for (mut one, mut other) in [(client, server), (near, far)] {
        for turn in 0..20 {
            let packet = Packet::binary(vec![turn; 500]).unreliable();
            one.send(packet.clone()).await.unwrap();
            assert_eq!(soon("a datagram", other.recv()).await.unwrap().unwrap().payload(), packet.payload());
            std::mem::swap(&mut one, &mut other);
        }
    }
}

#[tokio::test]
async fn small_unreliable_packets_that_are_sent_together_share_datagrams() {
    let listener = listen("").await;
    let (_endpoint, quic) = stranger(port(&listener), "haul/1").await.unwrap();
    let (mut send, _recv) = quic.open_bi().await.unwrap();
    send.write_all(b"haul.v1\n").await.unwrap();
    let server = soon("the stranger", listener.accept()).await.unwrap().unwrap();
    let packets = [Packet::text("one"), Packet::text("two").with("n", "x"), Packet::text("three")];
    server.send_all(packets.map(Packet::unreliable)).await.unwrap();
    let together = soon("the datagram", quic.read_datagram()).await.unwrap();
    assert_eq!(&together[..], b"\0\x80\0\x04\x01one\0\x09\x05\x81\xa1n\xa1xtwo\0\x06\x01three");
    server.send(Packet::text("alone").unreliable()).await.unwrap();
    assert_eq!(&soon("the datagram", quic.read_datagram()).await.unwrap()[..], b"\0\x01alone");
}

#[tokio::test]
async fn unreliable_packets_fill_the_datagrams_that_the_path_carries() {
    let listener = listen("").await;
    let (_endpoint, quic) = stranger(port(&listener), "haul/1").await.unwrap();
    let (mut send, _recv) = quic.open_bi().await.unwrap();
    send.write_all(b"haul.v1\n").await.unwrap();
    let server = soon("the stranger", listener.accept()).await.unwrap().unwrap();
    // Loopback carries more than 1,200 bytes, which QUIC finds out by itself, and then 12 packets go together.
    let all = async {
        loop {
            server.send_all((0..12).map(|_| Packet::binary(vec![7; 100]).unreliable())).await.unwrap();
            if quic.read_datagram().await.unwrap().len() == 2 + 12 * 103 {
                return;
            }
        }
    };
    soon("a datagram of more than 1,150 bytes", all).await;
}

#[tokio::test]
async fn packets_of_either_reliability_sent_together_all_come() {
    let (client, mut server) = pair("").await;
    let sizes = [10, 20, 1100, 30, 40, 50, 5000, 60, 70, 80, 1000, 1000, 90];
    let packets = sizes.iter().enumerate().map(|(at, size)| {
        let packet = Packet::binary(vec![at as u8; *size]);
        if at % 4 == 3 || *size > 1120 { packet } else { packet.unreliable() }
    });
    client.send_all(packets).await.unwrap();
    let mut came = Vec::new();
    for _ in sizes {
        let packet = soon("a packet", server.recv()).await.unwrap().unwrap();
        assert!(packet.payload().iter().all(|byte| *byte == packet.payload()[0]));
        came.push((packet.payload()[0], packet.len()));
    }
    came.sort_unstable();
    assert_eq!(came, sizes.iter().enumerate().map(|(at, size)| (at as u8, *size)).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_unordered_stream_ends_after_all_of_its_packets() {
    let (client, server) = pair("?streams=8").await;
    let near = client.open(StreamOptions::unordered()).await.unwrap();
    let sending = tokio::spawn(async move {
        for size in 0..300 {
            near.send(Packet::binary(vec![7; size * 50])).await.unwrap();
        }
        near.close(haul_core::CloseReason::NORMAL).await
    });
    let mut far = soon("the stream", server.accept()).await.unwrap().unwrap();
    let mut sizes = Vec::new();
    while let Some(packet) = soon("a packet", far.recv()).await.unwrap() {
        sizes.push(packet.len());
    }
    soon("the sender", sending).await.unwrap().unwrap();
    sizes.sort_unstable();
    assert_eq!(sizes, (0..300).map(|size| size * 50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_session_names_its_one_congestion_controller() {
    for name in ["cubic", "newreno", "bbr"] {
        let listener = listen("").await;
        let url = format!("{}&congestion={name}", listener.local_endpoint().as_str());
        let client = dial(&url).await.unwrap();
        let own = StreamOptions { congestion: Some(name.to_owned()), ..StreamOptions::default() };
        soon("a stream", client.open(own)).await.unwrap();
        let other = if name == "bbr" { "cubic" } else { "bbr" };
        let other = StreamOptions { congestion: Some(other.to_owned()), ..StreamOptions::default() };
        let error = client.open(other).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = dial("quic://127.0.0.1:9?congestion=vegas").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[tokio::test]
async fn datagrams_that_nobody_receives_are_bounded_and_counted() {
    let (client, mut server) = pair("").await;
    let beside = soon("to open", client.open(StreamOptions::default())).await.unwrap();
    let mut heard = soon("the stream", server.accept()).await.unwrap().unwrap();
    for _ in 0..2000 {
        client.send(Packet::binary(vec![7; 1000]).unreliable()).await.unwrap();
    }
    client.send(Packet::text("the last")).await.unwrap();
    client.flush().await.unwrap();
    // QUIC sends datagrams before streams: they have come when this has.
    beside.send(Packet::text("all were sent")).await.unwrap();
    soon("the word", heard.recv()).await.unwrap().unwrap();
    assert!(server.stats().packets_discarded > 0);
    let mut held = 0;
    while soon("what is held", server.recv()).await.unwrap().unwrap().as_text() != Some("the last") {
        held += 1;
    }
    // What waits in the session, what was taken out of it at once, and what was read ahead.
    assert!(held <= (256 << 10) / 1064 + 64 + (64 << 10) / 1000 + 1, "{held} of 1,000 bytes were held");
}

#[tokio::test]
async fn a_stream_of_higher_priority_goes_first() {
    let listener = listen("").await;
    let relay = Relay::before(([127, 0, 0, 1], port(&listener)).into()).await;
    let client = dial(&format!("quic://{}?insecure=true", relay.address)).await.unwrap();
    let server = soon("the client", listener.accept()).await.unwrap().unwrap();
    let stream = async |priority: i32| {
        let options = StreamOptions { priority, ..StreamOptions::default() };
        let opened = soon("to open", client.open(options)).await.unwrap();
        (opened, soon("the stream", server.accept()).await.unwrap().unwrap())
    };
    let (low, mut from_low) = stream(0).await;
    let (high, mut from_high) = stream(1).await;
    // Without acknowledgements little leaves, and the rest waits.
    relay.mute(true);
    for stream in [&low, &high] {
        stream.send(Packet::binary(vec![7; 500_000])).await.unwrap();
        stream.flush().await.unwrap();
    }
    relay.mute(false);
    let high_first = async {
        tokio::select! {
            _ = from_high.recv() => true,
            _ = from_low.recv() => false,
        }
    };
    assert!(soon("a packet", high_first).await, "the first one sent came first");
    assert_eq!(soon("the other", from_low.recv()).await.unwrap().unwrap().len(), 500_000);
}
