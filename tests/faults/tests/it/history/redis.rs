//! A real server among the sinks, killed and started again.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use haul_core::{AnySink, Packet, Template};
use haul_redis::{RedisConfig, RedisSink, Server};
use rand::RngExt;

use super::outboxes::Story;
use super::seeds;

/// A server in a folder of its own, which keeps what it answered through a kill.
struct Redis {
    program: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Redis {
    /// `None` after saying what did not run.
    fn start() -> Option<Self> {
        let command = haul_services::redis_server()?;
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Some(Self { program: run(command, port, &folder), port, folder })
    }

    fn kill(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }

    fn start_again(&mut self) {
        let command = haul_services::redis_server().expect("it was there");
        self.program = run(command, self.port, &self.folder);
    }

    fn sink(&self, stream: &str) -> AnySink {
        let mut server = Server::new(format!("redis://127.0.0.1:{}", self.port));
        (server.connect_timeout, server.timeout) = (Duration::from_secs(2), Duration::from_secs(2));
        let config = RedisConfig::new(server, Template::parse(stream).unwrap());
        AnySink::new(RedisSink::new(config).unwrap())
    }

    /// The texts in a stream, asked by the client library itself.
    async fn texts(&self, stream: &str) -> Vec<String> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut range = redis::cmd("XRANGE");
        range.arg(stream).arg("-").arg("+");
        let entries: Vec<(String, std::collections::HashMap<String, String>)> =
            range.query_async(&mut connection).await.unwrap();
        entries.into_iter().map(|(_, mut fields)| fields.remove("event_data").unwrap()).collect()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn run(mut command: Command, port: u16, folder: &tempfile::TempDir) -> Child {
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(folder.path());
    command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
    let program = command.stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !answers(port).unwrap_or(false) {
        assert!(started.elapsed() < Duration::from_secs(60), "redis-server does not answer after 60 s");
        std::thread::sleep(Duration::from_millis(10));
    }
    program
}

/// Whether it has read again what it had on disk.
fn answers(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG")
}

/// Packets go through an outbox and a drawn stack whose first sink is the server, which dies again and again.
async fn history(seed: u64, redis: &mut Redis) {
    let stream = format!("history-{seed}");
    let mut story = Story::new(seed, Some(redis.sink(&stream)));
    let outbox = story.open().await;
    for _ in 0..3 {
        story.store(&outbox).await;
        redis.kill();
        story.store(&outbox).await;
        let pause = Duration::from_millis(story.draw.dice.random_range(0..30));
        tokio::time::sleep(pause).await;
        redis.start_again();
    }
    story.store(&outbox).await;
    story.end(outbox).await;
    for text in redis.texts(&stream).await {
        story.draw.taken.add(0, Packet::text(text));
    }
    story.judge();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_server_among_the_sinks_that_is_killed_all_that_was_stored_arrives() {
    let Some(mut redis) = Redis::start() else { return };
    for seed in seeds(3_000_000, 12) {
        println!("HAUL_SEED={seed}");
        history(seed, &mut redis).await;
    }
}
