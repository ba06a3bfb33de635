//! Many sessions at once.

use haul_faults::{Cut, TcpFaults, TcpRelay};

use crate::soon;
use crate::traffic::numbered;
use crate::transports::{Server, Transport, sessions};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_over_websocket_that_are_cut_at_once_all_come_back() {
    const COUNT: usize = 1000;
    let server = Server::on(&[Transport::Ws]).await;
    let relay = TcpRelay::new(server.place(0), 1, TcpFaults::default()).await.unwrap();
    // Nobody is asked for a sign of life: whatever comes back does so because it was cut.
    let endpoint: haul_core::Endpoint = format!("ws://{}/", relay.address()).parse().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok(Some(mut session)) = server.listener.accept().await {
            tokio::spawn(async move {
                while let Ok(Some(packet)) = session.recv().await {
                    if session.send(packet).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let dialer = sessions();
    let mut clients = Vec::new();
    for _ in 0..COUNT {
        clients.push(soon("a session", dialer.open(endpoint.clone())).await.unwrap().0);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(numbered(number as u32)).await.unwrap();
        assert_eq!(soon("the echo", client.recv()).await.unwrap().unwrap(), numbered(number as u32));
    }
    relay.cut(Cut::Reset);
    let again: Vec<_> = (clients.into_iter().enumerate())
        .map(|(number, mut client)| {
            tokio::spawn(async move {
                let packet = numbered(number as u32 + 7);
                client.send(packet.clone()).await.unwrap();
                assert_eq!(client.recv().await.unwrap().unwrap(), packet);
                client
            })
        })
        .collect();
    for client in again {
        soon("a session to come back", client).await.unwrap();
    }
    let stats = relay.stats();
    assert!(stats.cut == COUNT as u64 && stats.accepted >= 2 * COUNT as u64, "{stats:?}");
    serving.abort();
}
