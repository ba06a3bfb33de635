use haul_core::{Dial, Packet};

use crate::relay::Relay;
use crate::{listen, port, soon};

#[tokio::test]
async fn a_connection_that_moves_to_another_socket_goes_on() {
    let listener = listen("").await;
    let dialer = haul_quic::Dialer::default();
    let mut client = soon("the dial", dialer.dial(listener.local_endpoint().clone())).await.unwrap();
    let mut server = soon("the client", listener.accept()).await.unwrap().unwrap();
    for round in 0..5 {
        let packet = Packet::text(format!("round {round}"));
        client.send(packet.clone()).await.unwrap();
        assert_eq!(soon("the packet", server.recv()).await.unwrap().unwrap(), packet);
        server.send(packet.clone()).await.unwrap();
        assert_eq!(soon("the echo", client.recv()).await.unwrap().unwrap(), packet);
        assert_eq!(dialer.migrate().unwrap(), 1);
    }
    soon("the close", async {
        tokio::join!(client.close(haul_core::CloseReason::NORMAL), server.recv()).0.unwrap();
    })
    .await;
    drop((client, server));
    soon("the connection to be forgotten", async {
        while dialer.migrate().unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_listener_follows_a_peer_whose_address_changes() {
    let listener = listen("").await;
    let nat = Relay::before(([127, 0, 0, 1], port(&listener)).into()).await;
    let url = format!("quic://{}?insecure=true", nat.address);
    let mut client = crate::dial(&url).await.unwrap();
    let mut server = soon("the client", listener.accept()).await.unwrap().unwrap();
    for round in 0..5 {
        let packet = Packet::text(format!("round {round}"));
        client.send(packet.clone()).await.unwrap();
        assert_eq!(soon("the packet", server.recv()).await.unwrap().unwrap(), packet);
        server.send(packet.clone()).await.unwrap();
        assert_eq!(soon("the echo", client.recv()).await.unwrap().unwrap(), packet);
        nat.forget();
    }
}

#[tokio::test]
async fn the_statistics_tell_of_the_way_to_the_peer() {
    const PACKETS: u64 = 100;
    let listener = listen("").await;
    let lossy = Relay::before(([127, 0, 0, 1], port(&listener)).into()).await;
    let client = crate::dial(&format!("quic://{}?insecure=true", lossy.address)).await.unwrap();
    let mut server = soon("the client", listener.accept()).await.unwrap().unwrap();
    lossy.lose(20);
    let sending = async {
        for _ in 0..PACKETS {
            client.send(Packet::binary(vec![7; 10_000])).await.unwrap();
        }
    };
    let receiving = async {
        for _ in 0..PACKETS {
            assert_eq!(server.recv().await.unwrap().unwrap().len(), 10_000);
        }
    };
    soon("all packets", async { tokio::join!(sending, receiving) }).await;
    let stats = client.stats();
    let path = stats.path.unwrap();
    assert_eq!(stats.rtt, Some(path.rtt));
    assert!(!path.rtt.is_zero() && path.congestion_window >= 1200, "{path:?}");
    // Some may still be taken for lost.
    assert!(path.packets_lost > 0 && path.packets_lost < path.packets_sent / 2, "{path:?}");
    assert!(path.bytes_lost >= path.packets_lost, "{path:?}");
    let further = soon("a stream", client.open(haul_core::StreamOptions::default())).await.unwrap();
    assert!(further.stats().path.unwrap().packets_sent >= path.packets_sent);
}
