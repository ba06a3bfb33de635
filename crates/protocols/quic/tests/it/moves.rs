use std::net::SocketAddr;
use std::sync::Arc;

use haul_core::{Dial, Packet};
use tokio::net::UdpSocket;

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

/// Passes packets on between a dialer and `server`, from a new socket when told to: what a NAT does that forgets.
async fn nat(server: SocketAddr) -> (SocketAddr, tokio::sync::mpsc::Sender<()>) {
    let inside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = inside.local_addr().unwrap();
    let (forget, mut forgets) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let mut outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut client = None;
        let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
        loop {
            tokio::select! {
                Ok((len, from)) = inside.recv_from(&mut up) => {
                    // The handshake's packets are large; an empty one only asks whether anybody is there.
                    if len > 0 {
                        client = Some(from);
                        outside.send_to(&up[..len], server).await.unwrap();
                    }
                }
                Ok((len, _)) = outside.recv_from(&mut down) => {
                    inside.send_to(&down[..len], client.unwrap()).await.unwrap();
                }
                told = forgets.recv() => match told {
                    Some(()) => outside = UdpSocket::bind("127.0.0.1:0").await.unwrap(),
                    None => return,
                }
            }
        }
    });
    (address, forget)
}

#[tokio::test]
async fn a_listener_follows_a_peer_whose_address_changes() {
    let listener = listen("").await;
    let (address, forget) = nat(([127, 0, 0, 1], port(&listener)).into()).await;
    let url = format!("quic://{address}?insecure=true");
    let mut client = crate::dial(&url).await.unwrap();
    let mut server = soon("the client", listener.accept()).await.unwrap().unwrap();
    for round in 0..5 {
        let packet = Packet::text(format!("round {round}"));
        client.send(packet.clone()).await.unwrap();
        assert_eq!(soon("the packet", server.recv()).await.unwrap().unwrap(), packet);
        server.send(packet.clone()).await.unwrap();
        assert_eq!(soon("the echo", client.recv()).await.unwrap().unwrap(), packet);
        forget.send(()).await.unwrap();
    }
}
