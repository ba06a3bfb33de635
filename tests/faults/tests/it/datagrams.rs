//! Sessions over QUIC and WebTransport, behind every fault of a UDP network.

use std::time::Duration;

use haul_faults::{UdpFaults, UdpRelay, UdpStats};

use crate::soon;
use crate::traffic::Traffic;
use crate::transports::{Server, Transport, sessions};

const SEEDS: std::ops::Range<u64> = 1..3;

/// A session through a relay, while `trouble` has its way; then everything must have come out. Answers what the relay did.
async fn survives(
    transport: Transport,
    seed: u64,
    faults: UdpFaults,
    trouble: impl AsyncFn(&UdpRelay, &mut Traffic),
) -> UdpStats {
    let server = Server::on(&[transport]).await;
    let what = format!("{transport:?}, seed {seed}, {faults:?}");
    let relay = UdpRelay::new(server.place(0), seed, faults).await.unwrap();
    let (client, _mover, peer) = server.open(&sessions(), transport.at(relay.address())).await;
    let mut traffic = Traffic::between(what, client, peer);
    trouble(&relay, &mut traffic).await;
    traffic.ends().await;
    relay.stats()
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_that_are_lost_doubled_changed_held_back_and_late_lose_and_repeat_no_packet() {
    let delay = Duration::from_millis(5);
    let each = [
        UdpFaults { lost: 0.05, ..UdpFaults::default() },
        UdpFaults { doubled: 0.3, ..UdpFaults::default() },
        UdpFaults { corrupted: 0.05, ..UdpFaults::default() },
        UdpFaults { held: 0.3, delay, ..UdpFaults::default() },
        UdpFaults { lost: 0.02, doubled: 0.1, corrupted: 0.02, held: 0.1, delay },
    ];
    for transport in Transport::OVER_UDP {
        for faults in &each {
            for seed in SEEDS {
                let stats = survives(transport, seed, faults.clone(), async |_, traffic| {
                    traffic.more(1000).await;
                })
                .await;
                let happened = [
                    (faults.lost, stats.lost),
                    (faults.doubled, stats.doubled),
                    (faults.corrupted, stats.corrupted),
                    (faults.held, stats.held),
                ];
                let wanted = happened.iter().all(|(chance, count)| (*chance > 0.0) == (*count > 0));
                assert!(wanted, "{faults:?} made {stats:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_goes_dark_for_longer_than_a_link_lasts_loses_and_repeats_no_packet() {
    for transport in Transport::OVER_UDP {
        let stats = survives(transport, 1, UdpFaults::default(), async |relay, traffic| {
            traffic.more(500).await;
            let before = relay.stats().clients;
            relay.go_dark();
            // The link is given up after a second and others are dialed, each from a socket of its own.
            soon("another dial", relay.until(|stats| stats.clients > before + 1)).await;
            relay.light_up();
            traffic.more(500).await;
        })
        .await;
        assert!(stats.swallowed > 0, "{stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_sessions_over_udp_networks_that_lose_double_and_change() {
    let Some(length) = haul_services::soak() else { return };
    let (began, first) = (std::time::Instant::now(), haul_services::seed(1000));
    for seed in (first..).take_while(|_| began.elapsed() < length) {
        let transport = Transport::OVER_UDP[seed as usize % 2];
        let faults = UdpFaults {
            lost: (seed % 10) as f64 / 100.0,
            doubled: 0.1,
            corrupted: 0.02,
            held: 0.1,
            delay: Duration::from_millis(seed % 7),
        };
        survives(transport, seed, faults, async |_, traffic| traffic.more(2000).await).await;
    }
}
