//! Records of a topic of Kafka, against the client used by hand.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use haul_kafka::{KafkaConfig, KafkaSink};
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use tempfile::TempDir;

use super::load::runtime;
use super::stored::{PAYLOAD, WINDOW, batches, free_port, sample};
use crate::measure::{Sample, cpu_seconds};

const TOPIC: &str = "bench";

/// A broker of our own, on disk.
pub(crate) struct Kafka {
    port: u16,
    shell: Child,
    _folder: TempDir,
}

/// Counts what is stored.
#[derive(Default)]
struct Stored(AtomicU64);

impl ClientContext for Stored {}

impl ProducerContext for Stored {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "a record is not stored");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Kafka {
    /// `None` after saying what did not run.
    pub(crate) fn start() -> Option<Self> {
        let mut format = haul_services::kafka()?;
        let folder = TempDir::new().expect("a folder of our own");
        let [port, controller] = [(); 2].map(|()| free_port());
        let properties = format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
log.dirs={}/data
log.retention.bytes=200000000
offsets.topic.replication.factor=1
",
            folder.path().display()
        );
        std::fs::write(folder.path().join("server.properties"), properties).expect("a file");
        format.args(["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAA"]);
        let formatted = format.args(["-c", "server.properties"]).current_dir(folder.path()).output();
        assert!(formatted.is_ok_and(|done| done.status.success()), "{format:?}");
        let java = haul_services::kafka()?;
        // Kafka ends with the shell's input.
        let mut shell = Command::new("sh");
        shell.args(["-c", "\"$@\" & read end; kill -9 $!", "sh"]);
        shell.arg(java.get_program()).args(java.get_args()).args(["kafka.Kafka", "server.properties"]);
        shell.current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Self { port, shell: shell.spawn().expect("a shell"), _folder: folder };
        runtime().block_on(started.topic());
        Some(started)
    }

    async fn topic(&self) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", format!("127.0.0.1:{}", self.port));
        config.set("reconnect.backoff.max.ms", "100").set_log_level(RDKafkaLogLevel::Emerg);
        let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
        let begun = Instant::now();
        while admin.inner().fetch_metadata(None, Duration::from_secs(1)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(120), "kafka does not answer after 120 s");
        }
        let topic = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(60)));
        admin.create_topics([&topic], &options).await.expect("an answer")[0].clone().expect("a topic");
    }

    /// Batches of haul's sink, two calls at once: one fills the buffer while the other waits for its last reports.
    pub(crate) fn haul(&self, length: Duration) -> Sample {
        let url = format!("kafka://127.0.0.1:{}/{TOPIC}", self.port);
        let config = KafkaConfig::from_endpoint(&url.parse().expect("a URL")).expect("a configuration");
        runtime().block_on(batches(KafkaSink::new(config).expect("a sink"), 2, 20 * WINDOW, length))
    }

    /// The same producer, as many records in its buffer.
    pub(crate) fn by_hand(&self, length: Duration) -> Sample {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", format!("127.0.0.1:{}", self.port))
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.kbytes", "32768")
            .set("message.max.bytes", "1065536");
        let producer: ThreadedProducer<Stored> =
            config.create_with_context(Stored::default()).expect("a producer");
        let record = || BaseRecord::<(), [u8]>::to(TOPIC).payload(&PAYLOAD[..]);
        producer.send(record()).map_err(|(why, _)| why).expect("it has room");
        producer.flush(Duration::from_secs(60)).expect("it is stored");
        let stored = || producer.context().0.load(Ordering::Relaxed);
        let (cpu, begun, before, mut sent) = (cpu_seconds(), Instant::now(), stored(), 0);
        while begun.elapsed() < length {
            if sent - (stored() - before) < 40 * WINDOW as u64 {
                for _ in 0..100 {
                    producer.send(record()).map_err(|(why, _)| why).expect("it has room");
                }
                sent += 100;
            } else {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        producer.flush(Duration::from_secs(60)).expect("all is stored");
        sample(stored() - before, begun, cpu)
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(mut shell) = self.shell.stdin.take() {
            let _ = shell.write_all(b"\n");
        }
        let _ = self.shell.wait();
    }
}
