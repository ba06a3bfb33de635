//! The networks themselves: what a seed does is the same each time, and everything has a bound.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use haul_faults::{Cut, Namespace, TcpFaults, TcpRelay, UdpFaults, UdpRelay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::soon;

/// A relay before a listener, and a connection through it: near, far.
async fn connected(seed: u64, faults: TcpFaults) -> (TcpRelay, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = TcpRelay::new(listener.local_addr().unwrap(), seed, faults).await.unwrap();
    let near = TcpStream::connect(relay.address()).await.unwrap();
    let (far, _) = soon("the relay to connect", listener.accept()).await.unwrap();
    (relay, near, far)
}

fn sample(length: u32) -> Vec<u8> {
    (0..length).map(|number| (number % 251) as u8).collect()
}

/// What comes out of a relay at the far end when `sample` goes in at the near one.
async fn carried(seed: u64, faults: TcpFaults) -> Vec<u8> {
    let (_relay, near, mut far) = connected(seed, faults).await;
    let (mut near_read, mut near_write) = near.into_split();
    let writing = tokio::spawn(async move {
        // A cut ends it.
        let _ = near_write.write_all(&sample(100_000)).await;
        let _ = near_write.shutdown().await;
        near_write
    });
    let mut came = Vec::new();
    soon("the end", far.read_to_end(&mut came)).await.unwrap();
    drop(far);
    let _ = soon("the end at the near side", near_read.read_to_end(&mut Vec::new())).await;
    writing.await.unwrap();
    came
}

#[tokio::test]
async fn without_faults_a_relay_carries_every_byte_and_the_end() {
    assert_eq!(carried(1, TcpFaults::default()).await, sample(100_000));
    let split = TcpFaults { split: Some(7), delay: Duration::from_millis(3), ..TcpFaults::default() };
    assert_eq!(carried(1, split).await, sample(100_000));
}

#[tokio::test]
async fn the_same_seed_cuts_and_changes_a_stream_at_the_same_places_and_another_at_others() {
    let faults =
        TcpFaults { cut_after: Some((30_000, Cut::End)), corrupt_after: Some(5_000), ..TcpFaults::default() };
    let first = carried(7, faults.clone()).await;
    assert!((30_000..=60_000).contains(&first.len()), "{}", first.len());
    let changed = first.iter().zip(sample(100_000)).filter(|(came, sent)| **came != *sent).count();
    assert!((3..=12).contains(&changed), "{changed} bytes were changed");
    assert_eq!(carried(7, faults.clone()).await, first);
    let other = carried(8, faults).await;
    assert!(other.len() != first.len() && other[..30_000] != first[..30_000]);
}

#[tokio::test]
async fn a_reset_is_an_error_at_both_ends_and_new_connections_are_carried() {
    let (relay, mut near, mut far) = connected(1, TcpFaults::default()).await;
    near.write_all(b"hi").await.unwrap();
    far.read_exact(&mut [0; 2]).await.unwrap();
    relay.cut(Cut::Reset);
    for end in [&mut near, &mut far] {
        let why = soon("the reset", end.read(&mut [0; 1])).await.unwrap_err();
        assert_eq!(why.kind(), ErrorKind::ConnectionReset);
    }
    let stats = soon("the cut to be counted", relay.until(|stats| stats.open == 0)).await;
    assert_eq!((stats.accepted, stats.cut, stats.bytes), (1, 1, 2));
    let next = TcpListener::bind("127.0.0.1:0").await.unwrap();
    relay.lead_to(next.local_addr().unwrap());
    let _near = TcpStream::connect(relay.address()).await.unwrap();
    soon("the next one", next.accept()).await.unwrap();
}

#[tokio::test]
async fn a_relay_that_refuses_resets_whoever_comes_until_it_goes_on() {
    let (relay, _near, _far) = connected(1, TcpFaults::default()).await;
    relay.refuse();
    let mut refused = TcpStream::connect(relay.address()).await.unwrap();
    let why = soon("the reset", refused.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(why.kind(), ErrorKind::ConnectionReset);
    relay.go_on();
    let next = TcpListener::bind("127.0.0.1:0").await.unwrap();
    relay.lead_to(next.local_addr().unwrap());
    let _near = TcpStream::connect(relay.address()).await.unwrap();
    let stats = soon("another one", relay.until(|stats| stats.open == 2)).await;
    assert_eq!(stats.refused, 1);
}

#[tokio::test]
async fn a_relay_that_stalls_holds_its_writer_back_and_loses_nothing() {
    let sample = sample(32 << 20);
    let sent = sample.clone();
    let (relay, mut near, mut far) = connected(1, TcpFaults::default()).await;
    relay.stall();
    let writing = tokio::spawn(async move {
        near.write_all(&sent).await.unwrap();
        near
    });
    let nothing = tokio::time::timeout(Duration::from_millis(300), far.read(&mut [0; 1])).await;
    assert!(nothing.is_err() && !writing.is_finished(), "32 MiB went into a relay that stalls");
    assert_eq!(relay.stats().bytes, 0);
    relay.go_on();
    let mut came = vec![0; sample.len()];
    soon("what was held back", far.read_exact(&mut came)).await.unwrap();
    assert!(came == sample, "it came out otherwise than it went in");
    soon("the writer", writing).await.unwrap();
}

#[tokio::test]
async fn bytes_take_their_delay_each_way_and_a_slow_line_its_time() {
    let delay = Duration::from_millis(30);
    let faults = TcpFaults { delay, rate: Some(100_000), ..TcpFaults::default() };
    let (_relay, mut near, mut far) = connected(1, faults).await;
    let began = Instant::now();
    near.write_all(b"ping").await.unwrap();
    far.read_exact(&mut [0; 4]).await.unwrap();
    far.write_all(b"pong").await.unwrap();
    near.read_exact(&mut [0; 4]).await.unwrap();
    assert!(began.elapsed() >= 2 * delay, "a round trip took {:?}", began.elapsed());
    let began = Instant::now();
    near.write_all(&sample(20_000)).await.unwrap();
    soon("a fifth of a second's worth", far.read_exact(&mut [0; 20_000])).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(190), "20 KB took {:?}", began.elapsed());
}

/// A relay before a socket, and a socket before it.
async fn sockets(seed: u64, faults: UdpFaults) -> (UdpRelay, UdpSocket, UdpSocket) {
    let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let relay = UdpRelay::new(far.local_addr().unwrap(), seed, faults).await.unwrap();
    let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    near.connect(relay.address()).await.unwrap();
    (relay, near, far)
}

async fn heard(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 100];
    let (length, from) = soon("a datagram", socket.recv_from(&mut buffer)).await.unwrap();
    (buffer[..length].to_vec(), from)
}

/// Which of a thousand datagrams come out, and how often.
async fn survivors(seed: u64) -> (BTreeMap<Vec<u8>, u32>, haul_faults::UdpStats) {
    let faults = UdpFaults { lost: 0.1, doubled: 0.1, corrupted: 0.1, held: 0.1, ..UdpFaults::default() };
    let (relay, near, far) = sockets(seed, faults).await;
    let mut came = BTreeMap::new();
    for number in 0..1000u32 {
        near.send(&number.to_be_bytes()).await.unwrap();
        let taken = |stats: &haul_faults::UdpStats| {
            stats.carried + stats.lost - stats.doubled == u64::from(number) + 1
        };
        let all = soon("the datagram's fate", relay.until(taken)).await.carried;
        while came.values().map(|count| u64::from(*count)).sum::<u64>() < all {
            *came.entry(heard(&far).await.0).or_default() += 1;
        }
    }
    (came, relay.stats())
}

#[tokio::test]
async fn the_same_seed_loses_doubles_and_changes_the_same_datagrams_and_another_seed_others() {
    let (came, stats) = survivors(3).await;
    for count in [stats.lost, stats.doubled, stats.corrupted, stats.held] {
        assert!((50..150).contains(&count), "{stats:?}");
    }
    assert_eq!(survivors(3).await, (came.clone(), stats));
    assert_ne!(survivors(4).await.0, came);
}

#[tokio::test]
async fn a_datagram_that_is_held_back_is_overtaken() {
    let (relay, near, far) = sockets(1, UdpFaults { held: 1.0, ..UdpFaults::default() }).await;
    near.send(b"first").await.unwrap();
    soon("the first one to be held", relay.until(|stats| stats.held == 1)).await;
    relay.set(UdpFaults::default());
    near.send(b"second").await.unwrap();
    assert_eq!([heard(&far).await.0, heard(&far).await.0], [b"second".to_vec(), b"first".to_vec()]);
}

#[tokio::test]
async fn a_dark_relay_swallows_what_comes_and_what_is_under_way_and_carries_again_in_the_light() {
    let (relay, near, far) =
        sockets(1, UdpFaults { delay: Duration::from_secs(3600), ..UdpFaults::default() }).await;
    near.send(b"under way").await.unwrap();
    soon("the client", relay.until(|stats| stats.clients == 1)).await;
    relay.go_dark();
    near.send(b"in the dark").await.unwrap();
    soon("both to be swallowed", relay.until(|stats| stats.swallowed == 2)).await;
    relay.set(UdpFaults::default());
    relay.light_up();
    near.send(b"in the light").await.unwrap();
    assert_eq!(heard(&far).await.0, b"in the light");
}

#[tokio::test]
async fn a_client_keeps_its_port_until_the_relay_forgets_it_and_answers_find_it() {
    let (relay, near, far) = sockets(1, UdpFaults::default()).await;
    let mut ports = Vec::new();
    for forgets in [false, false, true] {
        if forgets {
            relay.rebind();
        }
        near.send(b"ask").await.unwrap();
        let (_, from) = heard(&far).await;
        far.send_to(b"answer", from).await.unwrap();
        assert_eq!(heard(&near).await.0, b"answer");
        ports.push(from.port());
    }
    assert!(ports[0] == ports[1] && ports[1] != ports[2], "{ports:?}");
}

#[tokio::test]
async fn what_is_under_way_has_a_bound_and_what_goes_beyond_is_counted() {
    let (relay, near, _far) =
        sockets(1, UdpFaults { delay: Duration::from_secs(3600), ..UdpFaults::default() }).await;
    let flood = async {
        loop {
            near.send(b"one of many").await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = flood => {}
        _ = soon("an overflow", relay.until(|stats| stats.overflowed > 0)) => {}
    }
    assert_eq!(relay.stats().carried, 0);
}

#[tokio::test]
async fn a_namespace_drops_udp_alone_and_heals() {
    let Some(network) = Namespace::new() else { return };
    let outside = std::net::UdpSocket::bind((network.outside(), 0)).unwrap();
    outside.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let target = outside.local_addr().unwrap();
    let listener = std::net::TcpListener::bind((network.outside(), 0)).unwrap();
    let place = listener.local_addr().unwrap();
    let ask = || {
        let asked = network.run(move || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            // What the rules drop on the way out is an error of the send.
            let _ = socket.send_to(b"hi", target);
            std::net::TcpStream::connect(place).is_ok()
        });
        assert!(asked.join().unwrap(), "TCP");
        let heard = outside.recv_from(&mut [0; 2]);
        heard.is_ok()
    };
    assert!(ask());
    network.drop_udp();
    assert!(!ask());
    network.heal();
    assert!(ask());
}
