//! Sessions that move from one transport to another, and connections whose address changes, under load.

use std::time::Duration;

use haul_adaptive::{Adaptive, AdaptiveOptions, Candidate};
use haul_core::{Dial, Endpoint, Shared, State};
use haul_faults::{Cut, TcpFaults, TcpRelay, UdpFaults, UdpRelay};

use crate::soon;
use crate::traffic::Traffic;
use crate::transports::{Server, Transport, any, place, sessions, sessions_over};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_through_every_transport_while_packets_flow_and_loses_and_repeats_nothing() {
    let all = [Transport::Tcp, Transport::Quic, Transport::Ws, Transport::Wt, Transport::Sse];
    let server = Server::on(&all).await;
    let (client, mover, peer) = server.open(&sessions(), all[0].at(server.place(0))).await;
    let mut traffic = Traffic::between("a session that moves", client, peer);
    for round in 1..16 {
        let to = round % all.len();
        traffic.more(100).await;
        soon("a move", mover.move_to(all[to].at(server.place(to)))).await.unwrap();
    }
    traffic.more(100).await;
    traffic.ends().await;
}

/// Waits until the dialer's last winner at `host` is `name`.
pub(crate) async fn wins(dialer: &Adaptive, host: &Endpoint, name: &str) {
    let winner = async {
        while dialer.info(host).winner != Some(name) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(&format!("{name} to win"), winner).await;
}

/// Races WebTransport and WebSocket, and looks for the better one at each dial.
pub(crate) fn racing(wt: Endpoint, ws: Endpoint) -> Adaptive {
    // On a busy machine, too, the better one wins where it can.
    let (probe, head_start) = (Duration::from_millis(1), Duration::from_secs(2));
    let options = AdaptiveOptions { probe, head_start, ..AdaptiveOptions::default() };
    let wt = Candidate::new("webtransport", any()).always_at(wt);
    let ws = Candidate::new("websocket", any()).always_at(ws);
    Adaptive::new(options, [wt, ws]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_udp_goes_dark_moves_to_websocket_and_later_back_with_nothing_lost() {
    let server = Server::on(&[Transport::Wt, Transport::Ws]).await;
    let udp = UdpRelay::new(server.place(0), 1, UdpFaults::default()).await.unwrap();
    let tcp = TcpRelay::new(server.place(1), 1, TcpFaults::default()).await.unwrap();
    let dialer = racing(Transport::Wt.at(udp.address()), Transport::Ws.at(tcp.address()));
    let host = Endpoint::parse("wss://host.example/").unwrap();
    let sessions = sessions_over(Shared::new(dialer.clone()));
    let (client, _mover, peer) = server.open(&sessions, host.clone()).await;
    let mut traffic = Traffic::between("a session that falls back and returns", client, peer);
    for _ in 0..2 {
        wins(&dialer, &host, "webtransport").await;
        traffic.more(300).await;
        tcp.go_on();
        udp.go_dark();
        wins(&dialer, &host, "websocket").await;
        traffic.more(300).await;
        udp.light_up();
        // However slow the machine is, this is what it comes back to.
        tcp.refuse();
        tcp.cut(Cut::Reset);
    }
    wins(&dialer, &host, "webtransport").await;
    traffic.more(300).await;
    traffic.ends().await;
    assert_eq!(tcp.stats().open, 0, "the WebSocket is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quic_connection_whose_client_changes_its_address_under_load_is_the_same_and_loses_nothing() {
    let listener = Transport::Quic.listen().await;
    let dialer = haul_quic::Dialer::default();
    let dialing = dialer.dial(Transport::Quic.at_ease(place(&listener)));
    let (dialed, accepted) = soon("a connection", async { tokio::join!(dialing, listener.accept()) }).await;
    let (client, server) = (dialed.unwrap(), accepted.unwrap().unwrap());
    let watch = client.watch();
    let mut traffic = Traffic::between("a connection that migrates", client, server);
    for _ in 0..10 {
        traffic.more(200).await;
        assert_eq!(dialer.migrate().unwrap(), 1);
    }
    traffic.more(200).await;
    traffic.ends().await;
    assert!(matches!(watch.get(), State::Connected | State::Disconnected { .. }), "{:?}", watch.get());
    assert_eq!(listener.stats().accepted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_behind_a_nat_that_forgets_under_load_is_the_same_and_loses_nothing() {
    for transport in Transport::OVER_UDP {
        let listener = transport.listen().await;
        let relay = UdpRelay::new(place(&listener), 1, UdpFaults::default()).await.unwrap();
        let dialer = any();
        let dialing = dialer.dial(transport.at_ease(relay.address()));
        let (dialed, accepted) =
            soon("a connection", async { tokio::join!(dialing, listener.accept()) }).await;
        let mut traffic =
            Traffic::between(format!("{transport:?}"), dialed.unwrap(), accepted.unwrap().unwrap());
        for _ in 0..5 {
            traffic.more(200).await;
            relay.rebind();
        }
        traffic.more(200).await;
        traffic.ends().await;
        assert_eq!(listener.stats().accepted, 1, "{transport:?}");
    }
}
