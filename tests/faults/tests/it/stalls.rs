//! Transports that connect and deliver nothing, and readers that read nothing.

use std::time::Duration;

use haul_adaptive::{Adaptive, AdaptiveOptions, Candidate, FACT};
use haul_core::{Connection, Dial, Endpoint, ErrorKind, Listener, Packet, StreamOptions};
use haul_faults::{TcpFaults, TcpRelay, UdpFaults, UdpRelay};

use crate::soon;
use crate::traffic::numbered;
use crate::transports::{Transport, any, place};

/// Answers with what it gets.
pub(crate) fn echoing(listener: Listener) {
    tokio::spawn(async move {
        while let Ok(Some(mut peer)) = listener.accept().await {
            tokio::spawn(async move {
                while let Some(packet) = peer.recv().await? {
                    peer.send(packet).await?;
                }
                Ok::<(), haul_core::Error>(())
            });
        }
    });
}

fn candidate(name: &'static str, endpoint: Endpoint) -> Candidate {
    Candidate::new(name, any()).always_at(endpoint)
}

fn transport(connection: &Connection) -> &str {
    connection.info().facts.get(FACT).unwrap()
}

/// A dialer whose preferred transport connects, and carries nothing after `silence`; the other one is WebSocket.
async fn demotes(preferred: Endpoint, silence: impl FnOnce()) {
    let good = Transport::Ws.listen().await;
    let other = candidate("other", Transport::Ws.at(place(&good)));
    echoing(good);
    // On a busy machine, too, the preferred one wins where it can.
    let options = AdaptiveOptions { head_start: Duration::from_secs(2), ..AdaptiveOptions::default() };
    let dialer = Adaptive::new(options, [candidate("preferred", preferred), other]).unwrap();
    let host = Endpoint::parse("ws://host.example/").unwrap();
    let mut connection = soon("the race", dialer.dial(host.clone())).await.unwrap();
    assert_eq!(transport(&connection), "preferred");
    silence();
    connection.send(Packet::text("is anybody there?")).await.unwrap();
    let why = soon("the silence to end it", connection.recv()).await.unwrap_err();
    assert_eq!(why.kind(), ErrorKind::Timeout, "{why}");
    drop(connection);
    let demoted = async {
        while dialer.info(&host).demoted.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon("its demotion", demoted).await;
    let mut connection = soon("the race", dialer.dial(host)).await.unwrap();
    assert_eq!(transport(&connection), "other");
    connection.send(Packet::text("and here?")).await.unwrap();
    let answer = soon("the answer", connection.recv()).await.unwrap().unwrap();
    assert_eq!(answer.as_text(), Some("and here?"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webtransport_that_connects_and_never_delivers_starts_last() {
    let listener = Transport::Wt.listen().await;
    let relay = UdpRelay::new(place(&listener), 1, UdpFaults::default()).await.unwrap();
    echoing(listener);
    demotes(Transport::Wt.at(relay.address()), || relay.go_dark()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_stream_that_connects_and_never_delivers_starts_last() {
    let listener = Transport::Tcp.listen().await;
    let relay = TcpRelay::new(place(&listener), 1, TcpFaults::default()).await.unwrap();
    echoing(listener);
    // Without pings: their answers would be a sign of life.
    let endpoint = format!("tcp://{}?idle=1s", relay.address()).parse().unwrap();
    demotes(endpoint, || relay.stall()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_holds_up_its_sender_and_no_other_stream_of_its_session() {
    const COUNT: u32 = 3000;
    for transport in Transport::OVER_UDP {
        let listener = transport.listen().await;
        let faults = UdpFaults { lost: 0.01, ..UdpFaults::default() };
        let relay = UdpRelay::new(place(&listener), 1, faults).await.unwrap();
        let dialer = any();
        let dialing = dialer.dial(transport.at_ease(relay.address()));
        let (dialed, accepted) =
            soon("a connection", async { tokio::join!(dialing, listener.accept()) }).await;
        let (client, server) = (dialed.unwrap(), accepted.unwrap().unwrap());
        let slow = client.open(StreamOptions::default()).await.unwrap();
        slow.send(Packet::text("slow")).await.unwrap();
        let mut unread = soon("the slow stream", server.accept()).await.unwrap().unwrap();
        assert_eq!(soon("its name", unread.recv()).await.unwrap().unwrap().as_text(), Some("slow"));
        // Until it is held up: 64 KiB each, far more than the windows of both ends take.
        let (sender, _held) = slow.split();
        let sending = tokio::spawn(async move {
            for number in 0..COUNT {
                sender.send(large(number)).await.unwrap();
            }
            sender.flush().await.unwrap();
        });
        let mut fast = server;
        for number in 0..COUNT {
            client.send(numbered(number)).await.unwrap();
            assert_eq!(
                soon("a packet of the fast stream", fast.recv()).await.unwrap().unwrap(),
                numbered(number)
            );
        }
        assert!(!sending.is_finished(), "{transport:?}: the stream that nobody reads took everything");
        for number in 0..COUNT {
            let packet = soon("a packet of the slow stream", unread.recv()).await.unwrap().unwrap();
            assert_eq!(packet, large(number), "{transport:?}: packet {number}");
        }
        soon("the slow stream's sender", sending).await.unwrap();
    }
}

fn large(number: u32) -> Packet {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(16 << 10, number as u8);
    Packet::binary(payload)
}
