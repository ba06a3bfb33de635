//! A peer of another language and of other authors, which knows of haul only the wire format.

use std::process::Stdio;
use std::time::Duration;

use haul_core::{Connection, ErrorKind, Packet, StreamOptions};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::{dial, listen, port, soon};

const ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/echo.py");

/// The peer, and what it prints; it is killed with the test.
fn start(args: &[&str]) -> Option<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut python = Command::from(haul_services::python_aioquic()?);
    let mut child = python.arg(ECHO).args(args).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    Some((child, lines))
}

async fn comes_back(connection: &mut Connection, packet: Packet) {
    connection.send(packet.clone()).await.unwrap();
    assert_eq!(soon("the echo", connection.recv()).await.unwrap().unwrap(), packet);
}

async fn carries_everything(mut connection: Connection) {
    for size in [0, 1, 255, 256, 65_535, 65_536, 1_000_000] {
        comes_back(&mut connection, Packet::binary(vec![7; size])).await;
    }
    comes_back(&mut connection, Packet::text("grüße, 世界").with("session_id", "7")).await;
    // On one machine a datagram is hardly lost, but it may be: then the next one comes back.
    for turn in 0.. {
        connection.send(Packet::binary(vec![turn; 1000]).unreliable()).await.unwrap();
        if let Ok(back) = timeout(Duration::from_secs(2), connection.recv()).await {
            assert_eq!(back.unwrap().unwrap().len(), 1000);
            break;
        }
        assert!(turn < 5, "no datagram came back");
    }
    let mut further = soon("a stream", connection.open(StreamOptions::default())).await.unwrap();
    comes_back(&mut further, Packet::text("on a stream of its own")).await;
    connection.send(Packet::text("bye")).await.unwrap();
    let error = soon("the close", connection.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(error.to_string().contains("4000") && error.to_string().contains("as you say"), "{error}");
}

#[tokio::test]
async fn a_client_of_another_language_is_served() {
    let listener = listen("/live").await;
    let Some((_child, _lines)) = start(&["client", &port(&listener).to_string()]) else { return };
    let server = soon("the client", listener.accept()).await.unwrap().unwrap();
    assert_eq!(server.info().facts.get("query"), Some("room=7"));
    carries_everything(server).await;
}

#[tokio::test]
async fn a_server_of_another_language_is_dialed() {
    let made = haul_tls::SelfSigned::new(["localhost"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("cert.pem"), &made.certificate_pem).unwrap();
    std::fs::write(path("key.pem"), &made.key_pem).unwrap();
    let Some((_child, mut lines)) = start(&["server", &path("cert.pem"), &path("key.pem")]) else { return };
    let port = soon("the port", lines.next_line()).await.unwrap().unwrap();
    let client = dial(&format!("wt://127.0.0.1:{port}/#pin={}", made.fingerprint)).await.unwrap();
    carries_everything(client).await;
}
