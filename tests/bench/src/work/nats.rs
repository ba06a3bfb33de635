//! Packets into a stream of JetStream, 1000 on their way, against the client used by hand.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::IntoFuture as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use haul_core::{DeliverAll as _, Packet, Result, Template};
use haul_nats::{NatsConfig, NatsSink, Server};
use tempfile::TempDir;

use super::load::runtime;
use crate::measure::{Sample, cpu_seconds};

const WINDOW: usize = 1000;
const PAYLOAD: [u8; 200] = [b'7'; 200];

/// A server of our own, and a stream for each measurement.
pub(crate) struct Nats {
    program: Child,
    port: u16,
    streams: Cell<u32>,
    _folder: TempDir,
}

impl Nats {
    /// `None` after saying what did not run.
    pub(crate) fn start() -> Option<Self> {
        let mut command = haul_services::nats_server()?;
        let folder = TempDir::new().expect("a folder of our own");
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = free.expect("a free port").port();
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let program = command.spawn().expect("nats-server starts");
        let nats = Self { program, port, streams: Cell::new(0), _folder: folder };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "nats-server does not listen after 60 s");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(nats)
    }

    /// The client, and a stream that keeps little, so that the disk does not fill.
    async fn stream(&self) -> (jetstream::Context, String) {
        let client = async_nats::connect(format!("127.0.0.1:{}", self.port)).await.expect("it listens");
        let name = format!("bench-{}", self.streams.replace(self.streams.get() + 1));
        let context = jetstream::context::ContextBuilder::new().max_ack_inflight(2 * WINDOW).build(client);
        let config =
            stream::Config { name: name.clone(), max_messages: 100_000, ..stream::Config::default() };
        context.create_stream(config).await.expect("a stream");
        (context, name)
    }

    /// Batches of haul's sink: stored packets per second.
    pub(crate) fn haul(&self, length: Duration) -> Sample {
        runtime().block_on(async {
            let (_, stream) = self.stream().await;
            let server = Server::new(format!("nats://127.0.0.1:{}", self.port));
            let subject = Template::parse(&stream).expect("a plain subject");
            let sink = NatsSink::new(NatsConfig { pipeline: WINDOW, ..NatsConfig::new(server, subject) });
            let sink = sink.expect("a right configuration");
            let packet = Packet::text_from_utf8(Bytes::from_static(&PAYLOAD)).expect("digits");
            sink.deliver_all(vec![packet.clone()]).await.expect("the server takes it");
            let (cpu, begun, mut stored) = (cpu_seconds(), Instant::now(), 0);
            while begun.elapsed() < length {
                let outcomes = sink.deliver_all(vec![packet.clone(); 4 * WINDOW]).await;
                let outcomes: Result<Vec<_>> = outcomes.expect("the server takes them").into_iter().collect();
                stored += outcomes.expect("each is stored").len() as u64;
            }
            sample(stored, begun, cpu)
        })
    }

    /// The client, with as many acknowledgements awaited: stored messages per second.
    pub(crate) fn by_hand(&self, length: Duration) -> Sample {
        runtime().block_on(async {
            let (context, stream) = self.stream().await;
            let mut acks = VecDeque::with_capacity(WINDOW);
            let (cpu, begun, mut stored) = (cpu_seconds(), Instant::now(), 0);
            while begun.elapsed() < length {
                for _ in 0..4 * WINDOW {
                    if acks.len() == WINDOW {
                        let ack: jetstream::context::PublishAckFuture = acks.pop_front().expect("it is full");
                        ack.into_future().await.expect("it is stored");
                        stored += 1;
                    }
                    let ack = context.publish(stream.clone(), Bytes::from_static(&PAYLOAD)).await;
                    acks.push_back(ack.expect("the server takes it"));
                }
            }
            for ack in acks {
                ack.await.expect("it is stored");
                stored += 1;
            }
            sample(stored, begun, cpu)
        })
    }
}

fn sample(stored: u64, begun: Instant, cpu: f64) -> Sample {
    let seconds = begun.elapsed().as_secs_f64();
    Sample { value: stored as f64 / seconds, cpu: (cpu_seconds() - cpu) / stored.max(1) as f64 }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
