//! The suites of the kit, over every framing and Unix sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use haul_kit::{Over, connection, dialer, listener};
use tokio::net::{TcpStream, UnixStream};

fn tcp(options: &str) -> Over {
    Over::new(format!("tcp://127.0.0.1:0{options}"), haul_tcp::Dialer, haul_tcp::listen)
}

fn unix(folder: &tempfile::TempDir) -> Over {
    let path = folder.path().join("haul-{n}.sock");
    Over::new(format!("unix://{}", path.display()), haul_tcp::Dialer, haul_tcp::listen)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    connection::suite("haul-tcp", tcp("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_lines() {
    connection::suite("haul-tcp/lines", tcp("?framing=lines")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_length() {
    connection::suite("haul-tcp/length", tcp("?framing=length")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_raw() {
    connection::suite("haul-tcp/raw", tcp("?framing=raw")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    connection::suite("haul-tcp/unix", unix(&folder)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners() {
    let half_open = |endpoint: haul_core::Endpoint| async move {
        let raw = TcpStream::connect(("127.0.0.1", endpoint.port().unwrap())).await.unwrap();
        Box::new(raw) as haul_kit::Raw
    };
    listener::Suite::new("haul-tcp", tcp("")).half_open(half_open).run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_on_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let half_open = |endpoint: haul_core::Endpoint| async move {
        Box::new(UnixStream::connect(endpoint.path()).await.unwrap()) as haul_kit::Raw
    };
    listener::Suite::new("haul-tcp/unix", unix(&folder)).half_open(half_open).run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialers() {
    dialer::suite("haul-tcp", tcp("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialers_to_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    dialer::suite("haul-tcp/unix", unix(&folder)).await;
}
