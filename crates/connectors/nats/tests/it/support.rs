//! Servers, and what is in them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures_util::StreamExt;
use haul_core::Endpoint;
use haul_nats::{ConsumerConfig, NatsConfig, NatsSink, NatsSource};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// With JetStream, and room for packets of 1 MiB with headers.
pub(crate) const USUAL: &str = "jetstream { store_dir: '{folder}' }\nmax_payload: 2097152";

/// A server of our own, in a folder of its own.
pub(crate) struct Nats {
    pub(crate) port: u16,
    folder: TempDir,
    program: Child,
}

impl Nats {
    /// A server with [`USUAL`] configuration; `None` after saying what did not run.
    pub(crate) fn start() -> Option<Self> {
        Self::with(USUAL)
    }

    /// A server with this configuration, `{folder}` its folder.
    pub(crate) fn with(config: &str) -> Option<Self> {
        let command = haul_services::nats_server()?;
        let folder = TempDir::new().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = config.replace("{folder}", folder.path().to_str().unwrap());
        let config = format!("host: 127.0.0.1\nport: {port}\n{config}\n");
        std::fs::write(folder.path().join("nats.conf"), config).unwrap();
        let program = run(command, port, &folder);
        Some(Self { port, folder, program })
    }

    /// A URL of it, with this path and these options.
    pub(crate) fn url(&self, rest: &str) -> String {
        format!("nats://127.0.0.1:{}/{rest}", self.port)
    }

    /// Stops it, and waits until each of its threads stands still.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
        let started = Instant::now();
        while !stands_still(self.program.id()) {
            assert!(started.elapsed() < Duration::from_secs(60), "nats-server runs on 60 s after SIGSTOP");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.program.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill {name}");
    }

    pub(crate) fn kill(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }

    /// Starts it again with what it had on disk.
    pub(crate) fn start_again(&mut self) {
        let command = haul_services::nats_server().expect("it was there");
        self.program = run(command, self.port, &self.folder);
    }

    /// The client of the library itself.
    pub(crate) async fn client(&self) -> async_nats::Client {
        async_nats::connect(format!("127.0.0.1:{}", self.port)).await.unwrap()
    }

    /// Makes a stream by the library itself.
    pub(crate) async fn make(&self, config: stream::Config) -> stream::Stream {
        jetstream::new(self.client().await).create_stream(config).await.unwrap()
    }

    /// The payloads of a stream, in order, read by the library itself.
    pub(crate) async fn read_all(&self, stream: &str) -> Vec<Bytes> {
        read_all(self.client().await, stream).await
    }
}

fn run(mut command: Command, port: u16, folder: &TempDir) -> Child {
    command.arg("-c").arg(folder.path().join("nats.conf")).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let started = Instant::now();
    while !answers(port).unwrap_or(false) {
        assert!(started.elapsed() < Duration::from_secs(60), "nats-server does not answer after 60 s");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn stands_still(pid: u32) -> bool {
    let stopped = |stat: String| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" T"));
    let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.all(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).is_ok_and(stopped))
}

/// It says who it is as soon as it takes clients.
fn answers(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut said = [0; 5];
    stream.read_exact(&mut said)?;
    stream.write_all(b"PING\r\n")?;
    Ok(&said == b"INFO ")
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

pub(crate) async fn read_all(client: async_nats::Client, stream: &str) -> Vec<Bytes> {
    let Ok(mut stream) = jetstream::new(client).get_stream(stream).await else { return Vec::new() };
    let state = stream.info().await.unwrap().state.clone();
    let mut all = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        all.push(stream.get_raw_message(sequence).await.unwrap().payload);
    }
    all
}

/// Hears all that is published to a subject from now on.
#[derive(Clone)]
pub(crate) struct Ear(Arc<Mutex<(Subscriber, Vec<Bytes>)>>, async_nats::Client, String);

impl Ear {
    pub(crate) async fn at(nats: &Nats, subject: &str) -> Self {
        let client = nats.client().await;
        let heard = client.subscribe(subject.to_owned()).await.unwrap();
        let ear = Self(Arc::new(Mutex::new((heard, Vec::new()))), client, subject.to_owned());
        ear.heard().await;
        ear
    }

    /// All up to now: what the server has before this word.
    pub(crate) async fn heard(&self) -> Vec<Bytes> {
        const WORD: &[u8] = b"\0that is all";
        let mut ear = self.0.lock().await;
        self.1.publish(self.2.clone(), Bytes::from_static(WORD)).await.unwrap();
        loop {
            let message = soon("a message", ear.0.next()).await.unwrap();
            if message.payload == WORD {
                return ear.1.clone();
            }
            ear.1.push(message.payload);
        }
    }
}

pub(crate) fn sink(url: &str) -> NatsSink {
    NatsSink::new(NatsConfig::from_endpoint(&Endpoint::parse(url).unwrap()).unwrap()).unwrap()
}

pub(crate) fn source(url: &str) -> NatsSource {
    NatsSource::new(ConsumerConfig::from_endpoint(&Endpoint::parse(url).unwrap()).unwrap()).unwrap()
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
