//! Outages that a server outlasts, and those that it does not: nothing is lost, or one gap says what may be.

use std::time::Duration;

use haul_core::{Connection, ErrorKind, State};
use haul_faults::{Cut, TcpFaults, TcpRelay, UdpFaults, UdpRelay};
use haul_session::AcceptorOptions;

use crate::restarts::{Heard, all_of, hear_until, send_numbered};
use crate::soon;
use crate::traffic::Traffic;
use crate::transports::{Server, Transport, sessions};

/// A network that can be taken away.
pub(crate) enum Network {
    Tcp(TcpRelay),
    Udp(UdpRelay),
}

impl Network {
    pub(crate) async fn before(transport: Transport, place: std::net::SocketAddr) -> Self {
        match Transport::OVER_UDP.contains(&transport) {
            true => Self::Udp(UdpRelay::new(place, 1, UdpFaults::default()).await.unwrap()),
            false => Self::Tcp(TcpRelay::new(place, 1, TcpFaults::default()).await.unwrap()),
        }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        match self {
            Self::Tcp(relay) => relay.address(),
            Self::Udp(relay) => relay.address(),
        }
    }

    pub(crate) fn lead_to(&self, place: std::net::SocketAddr) {
        match self {
            Self::Tcp(relay) => relay.lead_to(place),
            Self::Udp(relay) => relay.lead_to(place),
        }
    }

    fn take_away(&self) {
        match self {
            Self::Tcp(relay) => {
                relay.refuse();
                relay.cut(Cut::Reset);
            }
            Self::Udp(relay) => relay.go_dark(),
        }
    }

    fn give_back(&self) {
        match self {
            Self::Tcp(relay) => relay.go_on(),
            Self::Udp(relay) => relay.light_up(),
        }
    }

    /// Until some dials went nowhere.
    async fn is_missed(&self) {
        match self {
            Self::Tcp(relay) => drop(relay.until(|stats| stats.refused >= 5).await),
            Self::Udp(relay) => drop(relay.until(|stats| stats.clients >= 4).await),
        }
    }
}

const ALL: [Transport; 5] = [Transport::Tcp, Transport::Ws, Transport::Sse, Transport::Quic, Transport::Wt];

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_the_server_outlasts_loses_and_repeats_nothing() {
    for transport in ALL {
        let server = Server::on(&[transport]).await;
        let network = Network::before(transport, server.place(0)).await;
        let (client, _mover, peer) = server.open(&sessions(), transport.at(network.address())).await;
        let mut traffic = Traffic::between(format!("{transport:?}"), client, peer);
        traffic.more(300).await;
        network.take_away();
        soon("dials that go nowhere", network.is_missed()).await;
        network.give_back();
        traffic.more(300).await;
        traffic.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_the_server_does_not_outlast_is_one_gap_with_its_bounds_at_both_ends() {
    for transport in ALL {
        let options = AcceptorOptions {
            retention: Duration::from_millis(100),
            replay_bytes: 64 << 10,
            ..AcceptorOptions::default()
        };
        let server = Server::keeping(options, &[transport]).await;
        let network = Network::before(transport, server.place(0)).await;
        let (client, _mover, mut peer) = server.open(&sessions(), transport.at(network.address())).await;
        let sent = send_numbered(client);
        let mut first = Heard::default();
        hear_until(&mut peer, &mut first, 300).await;
        network.take_away();
        let end = soon("the server to give the session up", give_up(&mut peer, &mut first)).await;
        assert_eq!(end.kind(), ErrorKind::Closed, "{transport:?}: {end}");
        assert!(matches!(peer.state(), State::Failed { .. }), "{transport:?}: {:?}", peer.state());
        network.give_back();
        let mut next = soon("the next session", server.listener.accept()).await.unwrap().unwrap();
        let mut second = Heard::default();
        hear_until(&mut next, &mut second, 300).await;
        let ((count, gaps), ()) = tokio::join!(sent.end(), hear_until(&mut next, &mut second, usize::MAX));
        all_of(&format!("{transport:?}"), count, &first, &second, &gaps);
    }
}

/// Hears until the connection fails.
async fn give_up(peer: &mut Connection, heard: &mut Heard) -> haul_core::Error {
    loop {
        match peer.recv().await {
            Ok(packet) => heard.packet(&packet.expect("no end without a word")),
            Err(why) => return why,
        }
    }
}
