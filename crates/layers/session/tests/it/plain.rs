//! Peers without sessions, admitted beside those with them.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use haul_core::{Connection, Deliver as _, ErrorKind, Level, ListenerLimits, Packet, Receipt, Service as _};
use haul_session::{Acceptor, AcceptorOptions};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::bare::Bare;
use crate::{Net, endpoint, next, soon};

fn admitting() -> AcceptorOptions {
    AcceptorOptions { admit_plain: true, ..AcceptorOptions::default() }
}

async fn plain_client(net: &Net) -> Connection {
    soon("the dial", net.mem.dial(endpoint("mem://server"))).await.unwrap()
}

fn has_session(connection: &Connection) -> bool {
    connection.info().facts.get("session").is_some()
}

#[tokio::test]
async fn a_websocket_client_that_speaks_no_haul_is_heard_from_its_first_word_on() {
    let beneath = haul_ws::listen(endpoint("ws://127.0.0.1:0")).await.unwrap();
    let url = beneath.local_endpoint().to_string();
    let listener = Acceptor::new(admitting()).unwrap().listen(vec![beneath]).unwrap();
    let address = url.trim_start_matches("ws://").trim_end_matches('/').to_owned();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut client, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    client.send(Message::text("one")).await.unwrap();
    client.send(Message::text("two")).await.unwrap();
    let mut server = soon("the client", listener.accept()).await.unwrap().unwrap();
    assert_eq!((server.info().framing, has_session(&server)), ("messages", false));
    assert_eq!(next(&mut server).await.as_text(), Some("one"));
    assert_eq!(next(&mut server).await.as_text(), Some("two"));
    server.send(Packet::text("three")).await.unwrap();
    let answer = soon("the answer", client.next()).await.unwrap().unwrap();
    assert_eq!(answer, Message::text("three"));
}

#[tokio::test]
async fn the_first_packet_of_a_plain_client_is_answered_with_the_applications_receipt() {
    let net = Net::new(admitting());
    let client = plain_client(&net).await;
    let delivering = tokio::spawn(async move {
        let first = client.deliver(Packet::text("first")).await;
        client.send(Packet::text("second")).await.unwrap();
        (first, client)
    });
    let mut server = net.accept().await;
    let delivery = soon("the delivery", server.next()).await.unwrap().unwrap();
    assert_eq!(delivery.packet().as_text(), Some("first"));
    delivery.ack(Receipt::new(Level::Stored, None)).await.unwrap();
    let (receipt, _client) = soon("the receipt", delivering).await.unwrap();
    assert_eq!(receipt.unwrap().level, Level::Stored);
    assert_eq!(next(&mut server).await.as_text(), Some("second"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_admitted_after_its_time_and_can_be_spoken_to() {
    let net = Net::new(AcceptorOptions { greeting: Duration::from_secs(3), ..admitting() });
    let began = Instant::now();
    let mut client = plain_client(&net).await;
    let server = net.accept().await;
    assert!(began.elapsed() >= Duration::from_secs(3), "admitted after {:?}", began.elapsed());
    server.send(Packet::text("welcome")).await.unwrap();
    assert_eq!(next(&mut client).await.as_text(), Some("welcome"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_for_a_session_too_late_is_cut_and_may_dial_again() {
    let net = Net::new(admitting());
    let mut late = Bare::dial(&net.mem).await;
    let mut server = net.accept().await;
    let received = tokio::spawn(async move { server.recv().await });
    assert_eq!(late.ask("open 1 1 1000000").await, "cut");
    let error = soon("the end", received).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let (client, _) = soon("a session", net.dialer().open(endpoint("mem://server"))).await.unwrap();
    assert!(has_session(&net.accept().await));
    drop(client);
}

#[tokio::test]
async fn sessions_and_plain_connections_come_out_of_one_listener_each_as_what_it_is() {
    const EACH: usize = 20;
    let net = Net::new(admitting());
    let serving = async {
        let mut counts = [0; 2];
        for _ in 0..2 * EACH {
            let mut server = net.accept().await;
            let told = next(&mut server).await;
            assert_eq!(told.as_text(), Some(if has_session(&server) { "session" } else { "plain" }));
            counts[usize::from(has_session(&server))] += 1;
            server.send(Packet::text("welcome")).await.unwrap();
            tokio::spawn(async move { server.recv().await });
        }
        assert_eq!(counts, [EACH, EACH]);
    };
    let dialing = async {
        let mut clients = Vec::new();
        for _ in 0..EACH {
            for name in ["session", "plain"] {
                let client = match name {
                    "session" => {
                        soon("a session", net.dialer().call(endpoint("mem://server"))).await.unwrap()
                    }
                    _ => plain_client(&net).await,
                };
                client.send(Packet::text(name)).await.unwrap();
                clients.push(client);
            }
        }
        for client in &mut clients {
            assert_eq!(next(client).await.as_text(), Some("welcome"));
        }
        clients
    };
    let (_, _clients) = tokio::join!(serving, dialing);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_cuts_who_is_silent_and_waits_for_plain_connections() {
    let net = Net::new(admitting());
    let client = plain_client(&net).await;
    client.send(Packet::text("hi")).await.unwrap();
    let mut server = net.accept().await;
    assert_eq!(next(&mut server).await.as_text(), Some("hi"));
    let mut silent = plain_client(&net).await;
    let error = net.listener.shutdown(Duration::from_millis(100)).await.unwrap_err();
    assert!(error.to_string().contains("1 connections still open"), "{error}");
    let cut = soon("the cut", silent.recv()).await;
    assert!(!matches!(cut, Ok(Some(_))), "{cut:?}");
    drop((client, server));
    soon("the rest", net.listener.shutdown(Duration::from_secs(10))).await.unwrap();
}

#[tokio::test]
async fn one_plain_connection_too_many_is_told_to_try_again_later() {
    let limits = ListenerLimits { max_connections: 1, ..ListenerLimits::default() };
    let net = Net::new(AcceptorOptions { limits, ..admitting() });
    let first = plain_client(&net).await;
    first.send(Packet::text("hi")).await.unwrap();
    let server = net.accept().await;
    let mut second = plain_client(&net).await;
    second.send(Packet::text("hi")).await.unwrap();
    let error = soon("the refusal", second.recv()).await.unwrap_err();
    assert_eq!(crate::fact(&error, "code"), Some("1013"), "{error}");
    assert_eq!((net.listener.stats().refused, net.listener.stats().open), (1, 1));
    drop((first, server));
    soon("the room", async {
        while net.listener.stats().open > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
