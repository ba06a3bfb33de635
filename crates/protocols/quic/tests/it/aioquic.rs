//! A peer of another language and of other authors, which knows of haul only the wire format.

use std::process::Stdio;

use haul_core::{CloseReason, Connection, ErrorKind, Packet, StreamOptions};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::{dial, listen, port, soon};

const ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/echo.py");

/// The peer, and what it prints; it is killed with the test.
fn start(args: &[&str]) -> Option<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut python = Command::from(haul_services::python_aioquic()?);
    let mut child = python.arg(ECHO).args(args).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    Some((child, lines))
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    soon("a line of the peer", lines.next_line()).await.unwrap().expect("the peer ended")
}

async fn comes_back(connection: &mut Connection, packet: Packet) {
    connection.send(packet.clone()).await.unwrap();
    assert_eq!(soon("the echo", connection.recv()).await.unwrap().unwrap(), packet);
}

async fn carries_everything(mut connection: Connection) -> Connection {
    for size in [0, 1, 255, 256, 65_535, 65_536, 1_000_000] {
        comes_back(&mut connection, Packet::binary(vec![7; size])).await;
    }
    comes_back(&mut connection, Packet::text("grüße, 世界").with("session_id", "7")).await;
    // On one machine a datagram is hardly lost, but it may be: then the next one comes back.
    for try_ in 0.. {
        let packet = Packet::binary(vec![try_; 1000]).unreliable();
        connection.send(packet).await.unwrap();
        let wait = std::time::Duration::from_secs(2);
        if let Ok(back) = tokio::time::timeout(wait, connection.recv()).await {
            assert_eq!(back.unwrap().unwrap().len(), 1000);
            break;
        }
        assert!(try_ < 5, "no datagram came back");
    }
    let mut ordered = soon("a stream", connection.open(StreamOptions::default())).await.unwrap();
    comes_back(&mut ordered, Packet::text("on a stream of its own")).await;
    soon("the close", ordered.close(CloseReason::NORMAL)).await.unwrap();
    let mut unordered = soon("a stream", connection.open(StreamOptions::unordered())).await.unwrap();
    for size in 0..50 {
        unordered.send(Packet::binary(vec![7; size * 100])).await.unwrap();
    }
    let mut sizes = Vec::new();
    for _ in 0..50 {
        sizes.push(soon("an echo", unordered.recv()).await.unwrap().unwrap().len());
    }
    sizes.sort_unstable();
    assert_eq!(sizes, (0..50).map(|size| size * 100).collect::<Vec<_>>());
    soon("the close", unordered.close(CloseReason::NORMAL)).await.unwrap();
    connection
}

#[tokio::test]
async fn a_client_of_another_language_is_served() {
    let listener = listen("").await;
    let Some((_child, mut lines)) = start(&["client", &port(&listener).to_string()]) else { return };
    let server = soon("the client", listener.accept()).await.unwrap().unwrap();
    let mut server = carries_everything(server).await;
    server.send(Packet::text("bye")).await.unwrap();
    let error = soon("the close", server.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(error.to_string().contains("4000") && error.to_string().contains("as you say"), "{error}");
    drop(server);
    assert_eq!(line(&mut lines).await, "ended 4000 as you say");
}

#[tokio::test]
async fn a_server_of_another_language_is_dialed() {
    let made = haul_tls::SelfSigned::new(["localhost"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("cert.pem"), &made.certificate_pem).unwrap();
    std::fs::write(path("key.pem"), &made.key_pem).unwrap();
    let Some((_child, mut lines)) = start(&["server", &path("cert.pem"), &path("key.pem")]) else { return };
    let port = line(&mut lines).await;
    let client = dial(&format!("quic://127.0.0.1:{port}?pin={}", made.fingerprint)).await.unwrap();
    let client = carries_everything(client).await;
    soon("the close", client.close(CloseReason::new(4001, "enough"))).await.unwrap();
    assert_eq!(line(&mut lines).await, "ended 4001 enough");
}
