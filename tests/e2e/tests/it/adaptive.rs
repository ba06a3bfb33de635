//! `haul-adaptive` over real transports: hosts that have some of them, none, or ones that only seem to be there.

use std::net::UdpSocket;
use std::time::Duration;

use haul_adaptive::{Adaptive, AdaptiveOptions, Candidate, FACT};
use haul_core::{Connection, Dial, Endpoint, ErrorKind, Listener, Packet, State, Status};
use haul_reconnect::{ReconnectLayer, ReconnectOptions};
use tokio::net::TcpListener;
use tower_layer::Layer;

/// `doing`, or a failure that says what was waited for.
async fn soon<T>(what: &str, doing: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, doing).await.unwrap_or_else(|_| panic!("waited {limit:?} for {what}"))
}

/// A WebSocket server that greets, and answers with what it gets.
async fn websocket() -> Listener {
    haul_ws::listen("ws://127.0.0.1:0/live".parse().unwrap()).await.unwrap()
}

async fn greeting(listener: Listener) {
    while let Ok(Some(mut peer)) = listener.accept().await {
        tokio::spawn(async move {
            peer.send(Packet::text("welcome")).await?;
            while let Some(packet) = peer.recv().await? {
                peer.send(packet).await?;
            }
            Ok::<(), haul_core::Error>(())
        });
    }
}

fn wt(port: u16) -> Candidate {
    let endpoint = format!("wt://127.0.0.1:{port}/live#insecure");
    Candidate::new("webtransport", haul_wt::Dialer::default()).always_at(endpoint.parse().unwrap())
}

fn sse(port: u16) -> Candidate {
    let endpoint = format!("sse://127.0.0.1:{port}/live");
    Candidate::new("sse", haul_sse::Dialer::default()).always_at(endpoint.parse().unwrap())
}

fn ws() -> Candidate {
    Candidate::new("websocket", haul_ws::Dialer::default())
}

/// A race that the preferred one wins on a busy machine, too, where it can.
fn adaptive(candidates: impl Into<Vec<Candidate>>) -> Adaptive {
    let options = AdaptiveOptions { head_start: Duration::from_secs(2), ..AdaptiveOptions::default() };
    Adaptive::new(options, candidates).unwrap()
}

fn transport(connection: &Connection) -> &str {
    connection.info().facts.get(FACT).unwrap()
}

async fn hears(connection: &mut Connection, text: &str) {
    let packet = soon(text, connection.recv()).await.unwrap().unwrap();
    assert_eq!(packet.as_text(), Some(text));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_udp_a_black_hole_websocket_connects_and_is_remembered() {
    // A socket that takes datagrams and never answers.
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = websocket().await;
    let endpoint = listener.local_endpoint().clone();
    tokio::spawn(greeting(listener));
    let port = endpoint.port().unwrap();
    let dialer = adaptive([wt(hole.local_addr().unwrap().port()), ws(), sse(port)]);
    let mut connection = soon("the race", dialer.dial(endpoint.clone())).await.unwrap();
    assert_eq!(transport(&connection), "websocket");
    hears(&mut connection, "welcome").await;
    connection.send(Packet::text("over websocket")).await.unwrap();
    hears(&mut connection, "over websocket").await;
    assert_eq!(dialer.info(&endpoint).order, ["websocket", "webtransport", "sse"]);
    assert!(
        hole.set_nonblocking(true).is_ok() && hole.recv(&mut [0; 2000]).is_ok(),
        "nothing dialed over UDP"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_no_transport_is_one_error_with_each_reason() {
    // Ports that were free a moment ago, and are not listened on.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let endpoint = Endpoint::parse(&format!("ws://127.0.0.1:{port}/live")).unwrap();
    let options = AdaptiveOptions { attempt_timeout: Duration::from_secs(2), ..AdaptiveOptions::default() };
    let dialer = Adaptive::new(options, [wt(port), ws(), sse(port)]).unwrap();
    let error = soon("all to fail", dialer.dial(endpoint)).await.unwrap_err();
    let text = error.to_string();
    for name in ["webtransport: dial wt://", "websocket: dial ws://", "sse: dial sse://"] {
        assert!(text.contains(name), "{text}");
    }
    assert_eq!(error.status(), Status::Transient, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_connects_and_never_delivers_starts_last() {
    // It accepts and says nothing: to a peer of lines, a connection that stands.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deaf = format!("tcp://{}?framing=lines&idle=1s", silent.local_addr().unwrap());
    let listener = websocket().await;
    let endpoint = listener.local_endpoint().clone();
    tokio::spawn(greeting(listener));
    let tcp = Candidate::new("tcp", haul_tcp::Dialer).always_at(deaf.parse().unwrap());
    let dialer = adaptive([tcp, ws()]);
    let mut connection = soon("the race", dialer.dial(endpoint.clone())).await.unwrap();
    assert_eq!(transport(&connection), "tcp");
    assert_eq!(soon("the silence", connection.recv()).await.unwrap_err().kind(), ErrorKind::Timeout);
    drop(connection);
    let demoted = async {
        while dialer.info(&endpoint).demoted.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon("its demotion", demoted).await;
    let mut connection = soon("the race", dialer.dial(endpoint.clone())).await.unwrap();
    assert_eq!(transport(&connection), "websocket");
    hears(&mut connection, "welcome").await;
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnect_moves_to_the_transport_that_is_left() {
    let preferred = haul_tcp::listen("tcp://127.0.0.1:0".parse().unwrap()).await.unwrap();
    let listener = websocket().await;
    let endpoint = listener.local_endpoint().clone();
    tokio::spawn(greeting(listener));
    let tcp = Candidate::new("tcp", haul_tcp::Dialer).always_at(preferred.local_endpoint().clone());
    let dialer = adaptive([tcp, ws()]);
    let options = ReconnectOptions { base: Duration::from_millis(10), ..ReconnectOptions::default() };
    let reconnect = ReconnectLayer::new(options).unwrap().layer(dialer.clone());
    let (dialed, accepted) =
        tokio::join!(soon("a dial", reconnect.dial(endpoint.clone())), preferred.accept());
    let (mut connection, peer) = (dialed.unwrap(), accepted.unwrap().unwrap());
    peer.send(Packet::text("over tcp")).await.unwrap();
    hears(&mut connection, "over tcp").await;
    // The host loses it, while the connection stands.
    drop(preferred);
    peer.abort(haul_core::CloseReason::GOING_AWAY);
    assert_eq!(soon("the gap", connection.recv()).await.unwrap_err().kind(), ErrorKind::Gap);
    hears(&mut connection, "welcome").await;
    assert!(matches!(connection.state(), State::Connected));
    assert_eq!(dialer.info(&endpoint).winner, Some("websocket"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_dials_at_once_to_one_host_leave_a_hundred_connections_there() {
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = websocket().await;
    let endpoint = listener.local_endpoint().clone();
    let dialer = adaptive([wt(hole.local_addr().unwrap().port()), ws()]);
    let dials: Vec<_> = (0..100)
        .map(|_| {
            let (dialer, endpoint) = (dialer.clone(), endpoint.clone());
            tokio::spawn(async move { dialer.dial(endpoint).await })
        })
        .collect();
    let mut accepted = Vec::new();
    while accepted.len() < 100 {
        accepted.push(soon("a connection", listener.accept()).await.unwrap().unwrap());
    }
    let mut dialed = Vec::new();
    for dial in dials {
        dialed.push(soon("a dial", dial).await.unwrap().unwrap());
    }
    assert!(dialed.iter().all(|connection| transport(connection) == "websocket"));
    assert_eq!((listener.stats().accepted, listener.stats().open, dialer.hosts()), (100, 100, 1));
    drop(dialed);
    for mut connection in accepted {
        assert!(soon("its end", connection.recv()).await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn losers_leave_no_connection_with_their_server() {
    // Both answer; the second one is asked only because the first is slow to accept.
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fast = websocket().await;
    let endpoint = fast.local_endpoint().clone();
    tokio::spawn(greeting(fast));
    let place: Endpoint = format!("ws://{}/live", slow.local_addr().unwrap()).parse().unwrap();
    let dialer = adaptive([
        Candidate::new("slow", haul_ws::Dialer::default()).always_at(place),
        Candidate::new("fast", haul_ws::Dialer::default()),
    ]);
    let connection = soon("the race", dialer.dial(endpoint)).await.unwrap();
    assert_eq!(transport(&connection), "fast");
    let (mut loser, _) = soon("the loser's socket", slow.accept()).await.unwrap();
    let mut request = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut loser, &mut request);
    soon("the end of the loser's socket", read).await.unwrap();
    assert!(request.starts_with(b"GET /live"), "{request:?}");
}
