//! Entries of a stream of Redis, against the client used by hand.

use std::time::Duration;

use haul_redis::{RedisConfig, RedisSink};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tempfile::TempDir;

use super::load::runtime;
use super::stored::{PAYLOAD, Program, WINDOW, again, batches, free_port};
use crate::measure::Sample;

/// What a stream keeps, so that memory does not fill.
const KEPT: usize = 100_000;

/// A server of our own that keeps nothing on disk.
pub(crate) struct Redis {
    port: u16,
    _program: Program,
    _folder: TempDir,
}

impl Redis {
    /// `None` after saying what did not run.
    pub(crate) fn start() -> Option<Self> {
        let (mut command, port) = (haul_services::redis_server()?, free_port());
        let folder = TempDir::new().expect("a folder of our own");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.arg("--dir").arg(folder.path());
        Some(Self { port, _program: Program::start(command, port), _folder: folder })
    }

    /// Batches of haul's sink.
    pub(crate) fn haul(&self, length: Duration) -> Sample {
        let url = format!(
            "redis://127.0.0.1:{}/x?max_len={KEPT}&pipeline={WINDOW}&fields=event_data:{{@payload}}",
            self.port
        );
        let config = RedisConfig::from_endpoint(&url.parse().expect("a URL")).expect("a configuration");
        runtime().block_on(batches(RedisSink::new(config).expect("a sink"), 1, 4 * WINDOW, length))
    }

    /// Pipelines of as many commands.
    pub(crate) fn by_hand(&self, length: Duration) -> Sample {
        self.raw(length, WINDOW)
    }

    /// One command after the other, each awaited.
    pub(crate) fn one_by_one(&self, length: Duration) -> Sample {
        self.raw(length, 1)
    }

    fn raw(&self, length: Duration, commands: usize) -> Sample {
        runtime().block_on(async {
            let mut connection = self.connection().await;
            again(length, async || {
                let mut pipeline = Pipeline::with_capacity(commands);
                for _ in 0..commands {
                    let command = pipeline.cmd("XADD").arg("x").arg("MAXLEN").arg("~").arg(KEPT);
                    command.arg("*").arg("event_data").arg(&PAYLOAD[..]);
                }
                let ids: Vec<Value> = pipeline.query_async(&mut connection).await.expect("they are stored");
                ids.len() as u64
            })
            .await
        })
    }

    async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).expect("a URL");
        client.get_multiplexed_async_connection().await.expect("it listens")
    }
}
