//! Many connections at once and one after another.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::process::Stdio;
use std::time::Duration;

use haul_core::{CloseReason, Connection, Dial, Endpoint, Listener, Packet};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(120), work).await.unwrap_or_else(|_| panic!("waited 120 s for {what}"))
}

/// A stranger that connects ten thousand times, says so, and holds on until its input ends.
const CROWD: &str = r#"
import socket, sys
crowd = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(10000)]
print(len(crowd), flush=True)
sys.stdin.read()
"#;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn listen(options: &str) -> Listener {
    haul_ws::listen(Endpoint::parse(&format!("ws://127.0.0.1:0{options}")).unwrap()).await.unwrap()
}

async fn pair(listener: &Listener) -> (Connection, Connection) {
    let dialer = haul_ws::Dialer::default();
    let (client, server) = tokio::join!(dialer.dial(listener.local_endpoint().clone()), listener.accept());
    (client.unwrap(), server.unwrap().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_half_open_connections_do_not_keep_a_whole_one_out_and_are_cut() {
    let Some(python) = haul_services::python_websockets() else { return };
    let listener = listen("?handshake=20s").await;
    let port = listener.local_endpoint().port().unwrap();
    let mut command = Command::from(python);
    command
        .args(["-c", CROWD, &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut crowd = command.spawn().unwrap();
    let mut lines = BufReader::new(crowd.stdout.take().unwrap()).lines();
    let held = soon("the crowd", lines.next_line()).await.unwrap();
    assert_eq!(held.as_deref(), Some("10000"));
    let (client, mut server) = soon("a whole connection", pair(&listener)).await;
    client.send(Packet::text("through")).await.unwrap();
    assert_eq!(soon("the packet", server.recv()).await.unwrap().unwrap().as_text(), Some("through"));
    soon("the cuts", async {
        while listener.stats().failed < 10_000 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(listener.stats().open, 1, "connections open after the cuts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_connections_opened_and_closed_leave_memory_as_it_was() {
    const ROUND: usize = 25_000;
    let listener = listen("").await;
    let mut after_rounds = Vec::new();
    for _ in 0..4 {
        for _ in 0..ROUND {
            let (client, server) = soon("a pair", pair(&listener)).await;
            // Reset: a clean close would leave each port waiting for a minute.
            client.abort(CloseReason::NORMAL);
            server.abort(CloseReason::NORMAL);
        }
        soon("the last to go", async {
            while listener.stats().open > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        after_rounds.push(resident_kib());
    }
    let (first, last) = (after_rounds[0], after_rounds[3]);
    assert!(last < first + 4096, "resident memory in KiB after each {ROUND}: {after_rounds:?}");
}
