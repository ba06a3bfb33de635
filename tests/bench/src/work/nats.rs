//! Packets into a stream of JetStream, 1000 on their way, against the client used by hand.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::IntoFuture as _;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use haul_core::Template;
use haul_nats::{NatsConfig, NatsSink, Server};
use tempfile::TempDir;

use super::load::runtime;
use super::stored::{PAYLOAD, Program, WINDOW, again, batches, free_port};
use crate::measure::Sample;

/// A server of our own, and a stream for each measurement.
pub(crate) struct Nats {
    port: u16,
    streams: Cell<u32>,
    _program: Program,
    _folder: TempDir,
}

impl Nats {
    /// `None` after saying what did not run.
    pub(crate) fn start() -> Option<Self> {
        let (mut command, port) = (haul_services::nats_server()?, free_port());
        let folder = TempDir::new().expect("a folder of our own");
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder.path());
        let program = Program::start(command, port);
        Some(Self { port, streams: Cell::new(0), _program: program, _folder: folder })
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

    /// Batches of haul's sink.
    pub(crate) fn haul(&self, length: Duration) -> Sample {
        runtime().block_on(async {
            let (_, stream) = self.stream().await;
            let server = Server::new(format!("nats://127.0.0.1:{}", self.port));
            let subject = Template::parse(&stream).expect("a plain subject");
            let sink = NatsSink::new(NatsConfig { pipeline: WINDOW, ..NatsConfig::new(server, subject) });
            batches(sink.expect("a right configuration"), 1, 4 * WINDOW, length).await
        })
    }

    /// The client, with as many acknowledgements awaited.
    pub(crate) fn by_hand(&self, length: Duration) -> Sample {
        runtime().block_on(async {
            let (context, stream) = self.stream().await;
            let mut acks = VecDeque::with_capacity(WINDOW);
            again(length, async || {
                let mut stored = 0;
                for _ in 0..WINDOW {
                    if acks.len() == WINDOW {
                        let ack: jetstream::context::PublishAckFuture = acks.pop_front().expect("it is full");
                        ack.into_future().await.expect("it is stored");
                        stored += 1;
                    }
                    let ack = context.publish(stream.clone(), Bytes::from_static(&PAYLOAD)).await;
                    acks.push_back(ack.expect("the server takes it"));
                }
                stored
            })
            .await
        })
    }
}
