//! Early data, and that nothing is said twice.

use haul_core::{CloseReason, Connection, Dial, Endpoint, ErrorKind, Listener, Packet};
use haul_quic::Dialer;

use crate::relay::Relay;
use crate::{listen, port, soon};

fn numbered(count: u8, size: usize) -> Vec<Packet> {
    let packet = |number: u8| Packet::binary(vec![number; size]).identified();
    (0..count).map(packet).collect()
}

fn url(listener: &Listener) -> Endpoint {
    format!("quic://127.0.0.1:{}?insecure=true", port(listener)).parse().unwrap()
}

/// Dials, so that the dialer has a ticket for the next time: that comes before the first packet.
async fn acquaint(dialer: &Dialer, listener: &Listener, url: Endpoint) {
    let mut client = soon("the first dial", dialer.dial(url)).await.unwrap();
    let mut server = soon("the first client", listener.accept()).await.unwrap().unwrap();
    server.send(Packet::text("welcome")).await.unwrap();
    soon("the welcome", client.recv()).await.unwrap().unwrap();
    let close = client.close(CloseReason::NORMAL);
    soon("the close", async { tokio::join!(close, server.recv()).0.unwrap() }).await;
}

/// The packets come, of which the server has the first `have`, and then a last one.
async fn come_once(packets: &[Packet], have: usize, client: &Connection, server: &mut Connection) {
    client.send(Packet::text("the last")).await.unwrap();
    client.flush().await.unwrap();
    for packet in &packets[have..] {
        assert!(soon("a packet", server.recv()).await.unwrap().unwrap() == *packet);
    }
    assert_eq!(soon("the last", server.recv()).await.unwrap().unwrap().as_text(), Some("the last"));
    assert_eq!(client.stats().packets_sent, packets.len() as u64 + 1);
}

fn early_data(client: &Connection) -> Option<&str> {
    client.info().facts.get("early_data")
}

#[tokio::test]
async fn a_second_dial_says_it_before_it_has_heard_anything() {
    let listener = listen("?early_data=true").await;
    let relay = Relay::before(([127, 0, 0, 1], port(&listener)).into()).await;
    let url: Endpoint = format!("quic://{}?insecure=true", relay.address).parse().unwrap();
    let dialer = Dialer::default();
    acquaint(&dialer, &listener, url.clone()).await;
    relay.mute(true);
    let packets = numbered(3, 100);
    let dialing = tokio::spawn({
        let packets = packets.clone();
        async move { dialer.dial_early(url, packets).await }
    });
    let mut server = soon("the client", listener.accept()).await.unwrap().unwrap();
    let first = soon("the first packet", server.recv()).await.unwrap().unwrap();
    assert!(first == packets[0] && !dialing.is_finished());
    relay.mute(false);
    let client = soon("the dial", dialing).await.unwrap().unwrap();
    assert_eq!(early_data(&client), Some("accepted"));
    come_once(&packets, 1, &client, &mut server).await;
}

#[tokio::test]
async fn what_does_not_fit_before_the_handshake_follows_it() {
    let listener = listen("?early_data=true").await;
    let dialer = Dialer::default();
    acquaint(&dialer, &listener, url(&listener)).await;
    let packets = numbered(5, 1_000_000);
    let (client, server) = tokio::join!(
        soon("the dial", dialer.dial_early(url(&listener), packets.clone())),
        soon("the client", async {
            let mut server = listener.accept().await.unwrap().unwrap();
            for packet in &packets[..4] {
                assert!(server.recv().await.unwrap().unwrap() == *packet);
            }
            server
        })
    );
    let (client, mut server) = (client.unwrap(), server);
    assert_eq!(early_data(&client), Some("accepted"));
    come_once(&packets, 4, &client, &mut server).await;
}

#[tokio::test]
async fn a_listener_that_does_not_know_the_dialer_gets_it_after_the_handshake() {
    let (known, other) = (listen("?early_data=true").await, listen("?early_data=true").await);
    let dialer = Dialer::default();
    acquaint(&dialer, &known, url(&known)).await;
    let packets = numbered(3, 10_000);
    let client = soon("the dial", dialer.dial_early(url(&other), packets.clone())).await.unwrap();
    let mut server = soon("the client", other.accept()).await.unwrap().unwrap();
    assert_eq!(early_data(&client), None);
    come_once(&packets, 0, &client, &mut server).await;
}

#[tokio::test]
async fn a_listener_without_the_option_gets_it_after_the_handshake() {
    let listener = listen("").await;
    let dialer = Dialer::default();
    acquaint(&dialer, &listener, url(&listener)).await;
    let packets = numbered(3, 100);
    let client = soon("the dial", dialer.dial_early(url(&listener), packets.clone())).await.unwrap();
    let mut server = soon("the client", listener.accept()).await.unwrap().unwrap();
    assert_eq!(early_data(&client), None);
    come_once(&packets, 0, &client, &mut server).await;
}

#[tokio::test]
async fn what_must_not_come_twice_is_no_early_data() {
    let listener = listen("?early_data=true&max_packet=1000").await;
    let url: Endpoint = format!("{}&max_packet=1000", url(&listener).as_str()).parse().unwrap();
    for (packet, kind) in [
        (Packet::text("no id"), ErrorKind::Unsupported),
        (Packet::text("may be lost").identified().unreliable(), ErrorKind::Unsupported),
        (Packet::binary(vec![7; 1001]).identified(), ErrorKind::TooLarge),
    ] {
        let packets = [numbered(1, 10), vec![packet]].concat();
        let error = soon("the dial", Dialer::default().dial_early(url.clone(), packets)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert_eq!(listener.stats().open, 0);
    let both = "quic://127.0.0.1:0?early_data=true&self_signed=localhost&client_ca=ca.pem".parse().unwrap();
    let error = haul_quic::listen(both).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("client's certificate"), "{error}");
}
