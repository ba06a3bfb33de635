use haul_core::{Dial, Packet};

use crate::{listen, soon};

#[tokio::test]
async fn a_session_that_moves_to_another_socket_goes_on() {
    let listener = listen("").await;
    let dialer = haul_wt::Dialer::default();
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
    let path = client.stats().path.unwrap();
    assert!(!path.rtt.is_zero() && client.stats().rtt == Some(path.rtt), "{path:?}");
    client.abort(haul_core::CloseReason::NORMAL);
    drop((client, server));
    soon("the session to be forgotten", async {
        while dialer.migrate().unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
