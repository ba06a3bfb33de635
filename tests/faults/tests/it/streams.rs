//! Sessions over byte streams, behind every fault of a TCP network.

use std::time::Duration;

use haul_faults::{Cut, TcpFaults, TcpRelay};

use crate::soon;
use crate::traffic::Traffic;
use crate::transports::{Server, Transport, sessions};

const SEEDS: std::ops::Range<u64> = 1..4;

/// A session through a relay, while `trouble` has its way; then everything must have come out. Answers what the relay did.
async fn survives(
    transport: Transport,
    seed: u64,
    faults: TcpFaults,
    trouble: impl AsyncFn(&TcpRelay, &mut Traffic),
) -> haul_faults::TcpStats {
    let server = Server::on(&[transport]).await;
    let what = format!("{transport:?}, seed {seed}, {faults:?}");
    let relay = TcpRelay::new(server.place(0), seed, faults).await.unwrap();
    let (client, _mover, peer) = server.open(&sessions(), transport.at(relay.address())).await;
    let mut traffic = Traffic::between(what, client, peer);
    trouble(&relay, &mut traffic).await;
    traffic.ends().await;
    relay.stats()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_links_end_every_few_kilobytes_loses_and_repeats_nothing() {
    // Less than a window: on most links a part of what was sent before is all that passes.
    is_cut(&[Transport::Tcp, Transport::Ws], (20_000, Cut::End), 20).await;
    // An event passes whole or not at all.
    is_cut(&[Transport::Sse], (100_000, Cut::End), 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_links_are_reset_again_and_again_loses_and_repeats_nothing() {
    is_cut(&[Transport::Tcp, Transport::Ws], (20_000, Cut::Reset), 20).await;
    is_cut(&[Transport::Sse], (100_000, Cut::Reset), 10).await;
}

async fn is_cut(transports: &[Transport], cut_after: (u64, Cut), count: u64) {
    for transport in transports.iter().copied() {
        for seed in SEEDS {
            let faults = TcpFaults { cut_after: Some(cut_after), ..TcpFaults::default() };
            survives(transport, seed, faults, async |relay, traffic| {
                while relay.stats().cut < count {
                    traffic.more(20).await;
                }
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_carried_in_pieces_late_and_slowly_loses_and_repeats_nothing() {
    let delay = Duration::from_millis(10);
    for transport in Transport::OVER_TCP {
        for seed in SEEDS {
            let faults = TcpFaults { split: Some(40), delay, rate: Some(400_000), ..TcpFaults::default() };
            survives(transport, seed, faults, async |relay, traffic| {
                traffic.more(1000).await;
                relay.set(TcpFaults { split: Some(40), delay, rate: Some(200_000), ..TcpFaults::default() });
                traffic.more(500).await;
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_falls_silent_is_given_up_and_the_session_goes_on_with_nothing_lost() {
    for transport in Transport::OVER_TCP {
        let stats = survives(transport, 1, TcpFaults::default(), async |relay, traffic| {
            traffic.more(500).await;
            relay.stall();
            // The silent link is given up and another one dialed, which is silent, too.
            let before = relay.stats().accepted;
            soon("another link", relay.until(|stats| stats.accepted > before)).await;
            relay.go_on();
            traffic.more(500).await;
        })
        .await;
        assert!(stats.accepted >= 2, "{transport:?}: {stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_links_are_changed_inside_tls_loses_and_repeats_nothing() {
    for transport in Transport::OVER_TLS {
        for seed in SEEDS {
            let faults = TcpFaults { corrupt_after: Some(100_000), ..TcpFaults::default() };
            survives(transport, seed, faults, async |relay, traffic| {
                while relay.stats().corrupted < 5 {
                    traffic.more(20).await;
                }
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_sessions_over_tcp_networks_that_cut_split_and_change() {
    let Some(length) = haul_services::soak() else { return };
    let (began, first) = (std::time::Instant::now(), haul_services::seed(1000));
    for seed in (first..).take_while(|_| began.elapsed() < length) {
        let transport = [Transport::Tcp, Transport::Ws, Transport::Sse][seed as usize % 3];
        let how = if seed % 2 == 0 { Cut::End } else { Cut::Reset };
        let delay = Duration::from_millis(seed % 5);
        let faults = TcpFaults {
            cut_after: Some((100_000 + seed % 30_000, how)),
            split: Some(1000),
            delay,
            ..TcpFaults::default()
        };
        survives(transport, seed, faults, async |relay, traffic| {
            soon("ten cuts", relay.until(|stats| stats.cut >= 10)).await;
            traffic.more(10).await;
        })
        .await;
    }
}
