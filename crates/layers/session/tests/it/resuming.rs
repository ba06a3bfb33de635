//! Coming back: how long it takes, and how many can at once.

use std::time::Duration;

use haul_core::{Connection, ListenerLimits, Packet};
use haul_session::{AcceptorOptions, SessionLayer, SessionOptions};
use tokio::time::{Instant, sleep};
use tower_layer::Layer as _;

use crate::relay::Relay;
use crate::{Net, endpoint, next, soon};

async fn open(net: &Net) -> (Connection, Connection) {
    let options = SessionOptions {
        stable_after: Duration::ZERO,
        connect_timeout: Duration::from_secs(60),
        ..SessionOptions::default()
    };
    let dialer = SessionLayer::new(options).unwrap().layer(net.mem.dialer());
    let (client, server) = tokio::join!(dialer.open(endpoint("mem://relay")), net.accept());
    (client.unwrap().0, server)
}

#[tokio::test(start_paused = true)]
async fn after_a_cut_both_ends_have_the_next_packet_within_two_round_trips() {
    let one_way = Duration::from_millis(100);
    let round_trip = 2 * one_way;
    let net = Net::new(AcceptorOptions::default());
    let relay = Relay::new(&net.mem, one_way);
    let (mut client, mut server) = open(&net).await;
    for _ in 0..3 {
        sleep(Duration::from_secs(1)).await;
        // They are on their way when the link is cut.
        client.send(Packet::text("to the server")).await.unwrap();
        server.send(Packet::text("to the client")).await.unwrap();
        sleep(one_way / 2).await;
        relay.cut();
        let cut = Instant::now();
        let heard = |end| async move { (next(end).await, cut.elapsed()) };
        let (at_client, at_server) = tokio::join!(heard(&mut client), heard(&mut server));
        assert_eq!(at_client.0.as_text(), Some("to the client"));
        assert_eq!(at_server.0.as_text(), Some("to the server"));
        assert!(at_client.1 <= round_trip + one_way / 10, "the client had it after {:?}", at_client.1);
        assert!(at_server.1 <= 2 * round_trip, "the server had it after {:?}", at_server.1);
    }
}

fn numbered(session: u32, number: u32) -> Packet {
    Packet::binary([session.to_be_bytes(), number.to_be_bytes()].concat())
}

async fn send(end: &Connection, session: u32, numbers: std::ops::Range<u32>) {
    for number in numbers {
        end.send(numbered(session, number)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_that_are_cut_at_once_lose_and_repeat_nothing() {
    const SESSIONS: u32 = 1000;
    const PACKETS: u32 = 15;
    // On a busy machine, too, they come back in time.
    let limits = ListenerLimits { handshake_deadline: Duration::from_secs(60), ..ListenerLimits::default() };
    let net = Net::new(AcceptorOptions { limits, ..AcceptorOptions::default() });
    let relay = Relay::new(&net.mem, Duration::ZERO);
    let mut ends = Vec::new();
    for session in 0..SESSIONS {
        let (client, server) = soon("a session", open(&net)).await;
        for end in [client, server] {
            // Nobody receives yet: all of it is on its way, or read ahead and not settled.
            soon("room", send(&end, session, 0..PACKETS)).await;
            ends.push((session, end.watch(), end));
        }
    }
    relay.cut();
    let going_on = ends.into_iter().map(|(session, mut watch, mut end)| {
        tokio::spawn(async move {
            watch.changed().await.unwrap();
            send(&end, session, PACKETS..2 * PACKETS).await;
            for number in 0..2 * PACKETS {
                assert_eq!(end.recv().await.unwrap().unwrap(), numbered(session, number));
            }
            end
        })
    });
    let going_on: Vec<_> = going_on.collect();
    let mut kept = Vec::new();
    for end in going_on {
        kept.push(soon("all packets of a session", end).await.unwrap());
    }
    assert_eq!(kept.len(), 2 * SESSIONS as usize);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_slow_to_greet_again_is_waited_for_and_not_taken_for_one_without_sessions() {
    let net = Net::new(AcceptorOptions::default());
    let relay = Relay::new(&net.mem, Duration::ZERO);
    let (mut client, server) = open(&net).await;
    relay.stall(Duration::from_secs(5));
    relay.cut();
    sleep(Duration::from_secs(1)).await;
    server.send(Packet::text("still here")).await.unwrap();
    assert_eq!(next(&mut client).await.as_text(), Some("still here"));
}
