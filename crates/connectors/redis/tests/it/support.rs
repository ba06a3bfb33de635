//! Servers, and what is in them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// A server of our own, in a folder of its own.
pub(crate) struct Redis {
    pub(crate) port: u16,
    program: Child,
    folder: TempDir,
    more: Vec<String>,
}

impl Redis {
    /// A server with further options; `None` after saying what did not run.
    pub(crate) fn start(more: &[&str]) -> Option<Self> {
        let command = haul_services::redis_server()?;
        let folder = TempDir::new().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let more: Vec<_> = more.iter().map(|text| (*text).to_owned()).collect();
        let program = run(command, port, &folder, &more);
        Some(Self { port, program, folder, more })
    }

    /// A sentinel with this configuration.
    pub(crate) fn sentinel(config: &str) -> Option<Self> {
        let mut command = haul_services::redis_server()?;
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("sentinel.conf");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::write(&file, format!("bind 127.0.0.1\nport {port}\n{config}")).unwrap();
        command.arg(&file).arg("--sentinel").stdout(Stdio::null());
        let program = listening(command.spawn().unwrap(), port);
        Some(Self { port, program, folder, more: Vec::new() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.id()
    }

    /// Kills it, and starts it again with what it had on disk.
    pub(crate) fn kill_and_start(&mut self) {
        self.kill();
        self.start_again();
    }

    pub(crate) fn kill(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        let command = haul_services::redis_server().expect("it was there");
        self.program = run(command, self.port, &self.folder, &self.more);
    }
}

fn run(mut command: Command, port: u16, folder: &TempDir, more: &[String]) -> Child {
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(folder.path());
    // What is answered is on disk before: a kill loses nothing.
    command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"]).args(more);
    listening(command.stdout(Stdio::null()).spawn().unwrap(), port)
}

/// Waits until it answers, having read again what it had on disk.
fn listening(child: Child, port: u16) -> Child {
    let started = std::time::Instant::now();
    while !answers(port).unwrap_or(false) {
        assert!(started.elapsed() < Duration::from_secs(30), "redis-server does not answer after 30 s");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn answers(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer[..5])?;
    Ok(!answer.starts_with(b"-LOAD"))
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// A key that nobody used.
pub(crate) fn fresh(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What is in a stream, asked by the client library itself.
pub(crate) async fn read_all(port: u16, stream: &str) -> Vec<Bytes> {
    entries(port, stream)
        .await
        .into_iter()
        .map(|(_, mut fields)| fields.remove("event_data").unwrap())
        .collect()
}

pub(crate) type Fields = std::collections::HashMap<String, Bytes>;

/// The entries of a stream: ids and fields.
pub(crate) async fn entries(port: u16, stream: &str) -> Vec<(String, Fields)> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut all = Vec::new();
    let mut from = "-".to_owned();
    loop {
        let mut range = redis::cmd("XRANGE");
        range.arg(stream).arg(&from).arg("+").arg("COUNT").arg(1000);
        let some: Vec<(String, std::collections::HashMap<String, Vec<u8>>)> =
            range.query_async(&mut connection).await.unwrap();
        let Some((last, _)) = some.last() else { return all };
        from = format!("({last}");
        all.extend(some.into_iter().map(|(id, fields)| {
            (id, fields.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect())
        }));
    }
}

/// Runs one command.
pub(crate) async fn ask<T: redis::FromRedisValue>(port: u16, words: &[&str]) -> T {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::Cmd::new();
    command.arg(words);
    command.query_async(&mut connection).await.unwrap()
}

/// A port where nobody listens.
pub(crate) async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .unwrap_or_else(|_| panic!("waited 60 s for {what}"))
}
