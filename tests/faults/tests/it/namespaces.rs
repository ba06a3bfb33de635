//! Networks whose packets the kernel drops, between two network namespaces.

use std::sync::Arc;

use haul_adaptive::Adaptive;
use haul_core::{Connection, Dial, Endpoint, Listener, Packet, Shared};
use haul_faults::Namespace;
use haul_session::{Acceptor, AcceptorOptions};
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::moves::{racing, wins};
use crate::soon;
use crate::stalls::echoing;
use crate::traffic::Traffic;
use crate::transports::{any, dialed_at, registry, sessions_over};

/// A server outside, on WebTransport and WebSocket, and how a client inside dials it.
async fn serve(network: &Namespace) -> (Listener, Adaptive) {
    let wt = haul_wt::listen(format!("wt://{}:0/", network.outside()).parse().unwrap()).await.unwrap();
    let ws = haul_ws::listen(format!("ws://{}:0/", network.outside()).parse().unwrap()).await.unwrap();
    let [udp, tcp] = [&wt, &ws].map(|listener| listener.local_endpoint().port().unwrap());
    let dialer = racing(
        format!("wt://{}:{udp}/#insecure&idle=1s&ping=200ms", network.outside()).parse().unwrap(),
        format!("ws://{}:{tcp}/#idle=1s&ping=200ms", network.outside()).parse().unwrap(),
    );
    let options = AcceptorOptions { replay_bytes: 64 << 10, ..AcceptorOptions::default() };
    (Acceptor::new(options).unwrap().listen(vec![wt, ws]).unwrap(), dialer)
}

/// Dials inside. The connection lives as long as the answered sender.
async fn dial_inside(
    network: &Namespace,
    dialer: Shared<Endpoint>,
    host: Endpoint,
) -> (Connection, oneshot::Sender<()>) {
    let (give, given) = oneshot::channel();
    let (hold, held) = oneshot::channel();
    network.run(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dialed = sessions_over(dialer).dial(host).await;
            assert!(give.send(dialed).is_ok(), "nobody waits for it");
            // What it is dropped for does not matter.
            let _ = held.await;
        });
    });
    (soon("a dial inside", given).await.unwrap().unwrap(), hold)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_udp_packets_the_kernel_drops_moves_to_websocket_and_later_back_with_nothing_lost() {
    let Some(network) = Namespace::new() else { return };
    let (listener, dialer) = serve(&network).await;
    let host = Endpoint::parse("wss://host.example/").unwrap();
    let dialing = dial_inside(&network, Shared::new(dialer.clone()), host.clone());
    let ((client, _hold), accepted) =
        soon("a session", async { tokio::join!(dialing, listener.accept()) }).await;
    let mut traffic = Traffic::between("a session between namespaces", client, accepted.unwrap().unwrap());
    wins(&dialer, &host, "webtransport").await;
    traffic.more(300).await;
    network.drop_udp();
    wins(&dialer, &host, "websocket").await;
    traffic.more(300).await;
    // WebSocket is cut, and WebTransport is there again.
    network.reset_tcp();
    wins(&dialer, &host, "webtransport").await;
    network.heal();
    traffic.more(300).await;
    traffic.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_over_webtransport_outlives_a_kernel_that_drops_one_packet_in_twenty() {
    let Some(network) = Namespace::new() else { return };
    let (listener, dialer) = serve(&network).await;
    network.lose(5);
    let host = Endpoint::parse("wss://host.example/").unwrap();
    let dialing = dial_inside(&network, Shared::new(dialer), host);
    let ((client, _hold), accepted) =
        soon("a session", async { tokio::join!(dialing, listener.accept()) }).await;
    let mut traffic = Traffic::between("a session that loses packets", client, accepted.unwrap().unwrap());
    traffic.more(2000).await;
    traffic.ends().await;
}

/// Of so many dials, how many do not end with an echo.
async fn failures(dialer: Shared<Endpoint>, endpoint: Endpoint, dials: usize) -> usize {
    let most = Arc::new(Semaphore::new(25));
    let mut running = JoinSet::new();
    for _ in 0..dials {
        let (dialer, endpoint, most) = (dialer.clone(), endpoint.clone(), most.clone());
        running.spawn(async move {
            let _turn = most.acquire_owned().await.unwrap();
            let mut connection = dialer.dial(endpoint).await?;
            connection.send(Packet::text("hello")).await?;
            connection.recv().await
        });
    }
    let ended = soon("the dials", running.join_all()).await;
    ended.iter().filter(|ended| !matches!(ended, Ok(Some(_)))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_dials_through_a_kernel_that_drops_one_packet_in_twenty_ninety_nine_succeed() {
    let Some(network) = Namespace::new() else { return };
    network.lose(5);
    for scheme in ["tcp", "ws", "sse", "quic", "wt"] {
        let endpoint = format!("{scheme}://{}:0", network.outside()).parse().unwrap();
        let listener = registry().listen(endpoint).await.unwrap();
        let place = (network.outside(), listener.local_endpoint().port().unwrap()).into();
        let endpoint = dialed_at(scheme, place);
        echoing(listener);
        let dials = network.run(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(failures(any(), endpoint, 100))
        });
        let failures = tokio::task::spawn_blocking(|| dials.join()).await.unwrap().unwrap();
        assert!(failures <= 1, "{failures} of 100 dials over {scheme} failed");
    }
}
