//! Confirmed messages of a durable queue of RabbitMQ, against the client used by hand.

use std::collections::VecDeque;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use haul_amqp::{AmqpConfig, AmqpSink};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tempfile::TempDir;

use super::load::runtime;
use super::stored::{PAYLOAD, WINDOW, again, batches, free_port};
use crate::measure::Sample;

const QUEUE: &str = "bench";

/// What the queue keeps, so that the disk does not fill.
const KEPT: i32 = 50_000;

/// Starts the name service and the server, and ends both with its input.
const KEEPER: &str = r#"
epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" &
"$HAUL_SERVER" >/dev/null 2>&1 </dev/null &
server=$!
read -r _
kill -9 $(cat "$RABBITMQ_PID_FILE") && wait $server
kill -9 0
"#;

/// A server of our own, on disk.
pub(crate) struct Rabbit {
    port: u16,
    keeper: Child,
    _folder: TempDir,
}

impl Rabbit {
    /// `None` after saying what did not run.
    pub(crate) fn start() -> Option<Self> {
        let program = haul_services::rabbitmq_server()?;
        let [port, between, names] = [(); 3].map(|()| free_port());
        let folder = TempDir::new().expect("a folder of our own");
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("plugins"), "[].").expect("a file");
        let mut keeper = Command::new("sh");
        keeper
            .args(["-c", KEEPER])
            .env("HAUL_SERVER", program.get_program())
            .env("HOME", folder.path())
            .env("RABBITMQ_NODENAME", format!("haul{port}@localhost"))
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_DIST_PORT", between.to_string())
            .env("RABBITMQ_MNESIA_BASE", folder.path())
            .env("RABBITMQ_LOG_BASE", folder.path())
            .env("RABBITMQ_PID_FILE", file("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("plugins"))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", names.to_string())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let keeper = keeper.spawn().expect("a shell");
        let started = Self { port, keeper, _folder: folder };
        runtime().block_on(started.channel());
        Some(started)
    }

    /// Batches of haul's sink.
    pub(crate) fn haul(&self, length: Duration) -> Sample {
        runtime().block_on(async {
            self.channel().await;
            let url = format!("amqp://127.0.0.1:{}/?queue={QUEUE}&window={WINDOW}", self.port);
            let config = AmqpConfig::from_endpoint(&url.parse().expect("a URL")).expect("a configuration");
            batches(AmqpSink::new(config).expect("a sink"), 1, 4 * WINDOW, length).await
        })
    }

    /// As many messages on their way, persistent and mandatory.
    pub(crate) fn by_hand(&self, length: Duration) -> Sample {
        runtime().block_on(async {
            let (_connection, channel) = self.channel().await;
            let properties = BasicProperties::default().with_delivery_mode(2);
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let mut confirms = VecDeque::with_capacity(WINDOW);
            again(length, async || {
                let mut confirmed = 0;
                for _ in 0..WINDOW {
                    if confirms.len() == WINDOW {
                        let confirm: lapin::PublisherConfirm = confirms.pop_front().expect("it is full");
                        assert!(confirm.await.expect("a confirm").is_ack());
                        confirmed += 1;
                    }
                    let publish =
                        channel.basic_publish("".into(), QUEUE.into(), options, &PAYLOAD, properties.clone());
                    confirms.push_back(publish.await.expect("it is written"));
                }
                confirmed
            })
            .await
        })
    }

    /// The client, and the queue without messages.
    async fn channel(&self) -> (Connection, Channel) {
        let (url, begun) = (format!("amqp://127.0.0.1:{}", self.port), Instant::now());
        let connection = loop {
            match Connection::connect(&url, ConnectionProperties::default()).await {
                Ok(connection) => break connection,
                Err(why) => {
                    assert!(begun.elapsed() < Duration::from_secs(120), "RabbitMQ after 120 s: {why}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        };
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("it confirms");
        let mut bounds = FieldTable::default();
        bounds.insert("x-max-length".into(), AMQPValue::LongInt(KEPT));
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(QUEUE.into(), options, bounds).await.expect("a queue");
        channel.queue_purge(QUEUE.into(), QueuePurgeOptions::default()).await.expect("it is empty");
        (connection, channel)
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.stdin.take() {
            let _ = keeper.write_all(b"\n");
        }
        let _ = self.keeper.wait();
    }
}
