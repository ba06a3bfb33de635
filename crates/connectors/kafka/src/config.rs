//! The configuration of sink and source.

use std::str::FromStr;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Place, Result, Template, duration_text, plain_value};
use rdkafka::ClientConfig;
use serde::Deserialize;

use crate::server::{self, Server};

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By gzip.
    Gzip,
    /// By Snappy.
    Snappy,
    /// By LZ4.
    Lz4,
    /// By Zstandard.
    Zstd,
}

impl Compression {
    const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| "it is none, gzip, snappy, lz4 or zstd".to_owned())
    }
}

/// The configuration of a [`KafkaSink`](crate::KafkaSink).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Where.
    pub server: Server,
    /// The topic.
    pub topic: Template,
    /// The key of a record; records of one key keep their order. Without it they are spread over the partitions.
    #[serde(default)]
    pub key: Option<Template>,
    /// How batches are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// How long a record may wait for others of its batch.
    #[serde(default = "linger", deserialize_with = "duration_text::deserialize")]
    pub linger: Duration,
    /// Bytes of a batch.
    #[serde(default = "batch_size", deserialize_with = "plain_value::size")]
    pub batch_size: usize,
    /// Bytes of records that wait to be sent or answered; at this many, calls wait.
    #[serde(default = "buffer_memory", deserialize_with = "plain_value::size")]
    pub buffer_memory: usize,
    /// Bytes of a payload.
    #[serde(default = "max_packet", deserialize_with = "plain_value::size")]
    pub max_packet: usize,
    /// Each call is a transaction under this name: all of it, or nothing.
    #[serde(default)]
    pub transactional_id: Option<String>,
    /// How long a record is tried for, over lost connections and changes of leaders.
    #[serde(default = "timeout", deserialize_with = "duration_text::deserialize")]
    pub timeout: Duration,
}

const SINK: [&str; 8] = [
    "key",
    "compression",
    "linger",
    "batch_size",
    "buffer_memory",
    "max_packet",
    "transactional_id",
    "timeout",
];

/// What a record may have beside its payload: key and headers.
const BESIDE: usize = 64 << 10;

fn linger() -> Duration {
    Duration::from_millis(5)
}

fn batch_size() -> usize {
    1_000_000
}

fn buffer_memory() -> usize {
    32 << 20
}

fn max_packet() -> usize {
    1_000_000
}

fn timeout() -> Duration {
    Duration::from_secs(30)
}

impl KafkaConfig {
    /// Records of `topic`, with defaults.
    pub fn new(server: Server, topic: Template) -> Self {
        Self {
            server,
            topic,
            key: None,
            compression: Compression::default(),
            linger: linger(),
            batch_size: batch_size(),
            buffer_memory: buffer_memory(),
            max_packet: max_packet(),
            transactional_id: None,
            timeout: timeout(),
        }
    }

    /// Reads `kafka://host:9092/events-{session_id}?key={session_id}&compression=lz4`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let options = endpoint.options(Place::Query, &[&server::OPTIONS[..], &SINK].concat())?;
        Ok(Self {
            key: options.text("key").map(Template::parse).transpose()?,
            compression: options.get("compression")?.unwrap_or_default(),
            linger: options.duration("linger")?.unwrap_or_else(linger),
            batch_size: options.bytes("batch_size")?.unwrap_or_else(batch_size),
            buffer_memory: options.bytes("buffer_memory")?.unwrap_or_else(buffer_memory),
            max_packet: options.bytes("max_packet")?.unwrap_or_else(max_packet),
            transactional_id: options.text("transactional_id").map(str::to_owned),
            timeout: options.duration("timeout")?.unwrap_or_else(timeout),
            ..Self::new(Server::from_options(endpoint, &options)?, Template::parse(topic(endpoint)?)?)
        })
    }

    /// What the client is told. Errors: `Config`.
    pub(crate) fn client(&self) -> Result<ClientConfig> {
        let wrong =
            |why: String| Err(Error::new(ErrorKind::Config, format!("kafka {}: {why}", self.topic.as_str())));
        let most = self.max_packet + BESIDE;
        match self {
            Self { batch_size: 0, .. } => return wrong("batch_size must be more than 0".to_owned()),
            Self { timeout, .. } if *timeout < Duration::from_millis(10) => {
                return wrong("timeout must be 10ms at least".to_owned());
            }
            Self { linger, timeout, .. } if linger >= timeout => {
                return wrong("linger must be less than timeout".to_owned());
            }
            Self { max_packet, .. } if *max_packet > 1 << 29 => {
                return wrong("max_packet must be 512MiB at most".to_owned());
            }
            Self { buffer_memory, .. } if *buffer_memory < most => {
                return wrong(format!(
                    "buffer_memory must have room for one record of max_packet: {most} bytes"
                ));
            }
            _ => {}
        }
        let timeout = self.timeout.as_millis();
        let mut client = self.server.client()?;
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", self.compression.as_str())
            .set("linger.ms", (self.linger.as_micros() as f64 / 1000.0).to_string())
            .set("batch.size", self.batch_size.to_string())
            .set("queue.buffering.max.kbytes", self.buffer_memory.div_ceil(1024).to_string())
            .set("message.max.bytes", most.to_string())
            .set("message.timeout.ms", timeout.to_string())
            .set("socket.timeout.ms", timeout.clamp(10, 300_000).to_string())
            // A topic that was just made is not known everywhere at once.
            .set("topic.metadata.propagation.max.ms", timeout.min(5000).to_string());
        if let Some(name) = &self.transactional_id {
            client.set("transactional.id", name).set("transaction.timeout.ms", timeout.max(1000).to_string());
        }
        Ok(client)
    }
}

/// Where a group begins that has committed nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// At the first record there is.
    #[default]
    Earliest,
    /// At the next record that comes.
    Latest,
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => Err("it is earliest or latest".to_owned()),
        }
    }
}

/// The configuration of a [`KafkaSource`](crate::KafkaSource).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// Where.
    pub server: Server,
    /// The topic.
    pub topic: String,
    /// The consumer group.
    #[serde(default = "group")]
    pub group: String,
    /// Where a group begins that has committed nothing yet.
    #[serde(default)]
    pub start: Start,
    /// The name in the metadata that a record's key is given under; keys are left out, if not given.
    #[serde(default)]
    pub key: Option<String>,
    /// Packets given and not acknowledged; `next` waits at this many.
    #[serde(default = "max_unacked")]
    pub max_unacked: usize,
    /// How often what was acknowledged is committed.
    #[serde(default = "commit_interval", deserialize_with = "duration_text::deserialize")]
    pub commit_interval: Duration,
    /// After so long without a sign of life the group gives the partitions of a consumer to others.
    #[serde(default = "session_timeout", deserialize_with = "duration_text::deserialize")]
    pub session_timeout: Duration,
}

fn group() -> String {
    "haul".to_owned()
}

fn max_unacked() -> usize {
    1024
}

fn commit_interval() -> Duration {
    Duration::from_millis(100)
}

fn session_timeout() -> Duration {
    Duration::from_secs(45)
}

impl GroupConfig {
    /// The topic from its first record, in the group `haul`.
    pub fn new(server: Server, topic: impl Into<String>) -> Self {
        Self {
            server,
            topic: topic.into(),
            group: group(),
            start: Start::default(),
            key: None,
            max_unacked: max_unacked(),
            commit_interval: commit_interval(),
            session_timeout: session_timeout(),
        }
    }

    /// Reads `kafka://host/events?group=g&start=latest&max_unacked=1024`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let own = ["group", "start", "key", "max_unacked", "commit_interval", "session_timeout"];
        let known = [&server::OPTIONS[..], &own].concat();
        let options = endpoint.options(Place::Query, &known)?;
        Ok(Self {
            group: options.text("group").map_or_else(group, str::to_owned),
            start: options.get("start")?.unwrap_or_default(),
            key: options.text("key").map(str::to_owned),
            max_unacked: options.get("max_unacked")?.unwrap_or_else(max_unacked),
            commit_interval: options.duration("commit_interval")?.unwrap_or_else(commit_interval),
            session_timeout: options.duration("session_timeout")?.unwrap_or_else(session_timeout),
            ..Self::new(Server::from_options(endpoint, &options)?, topic(endpoint)?)
        })
    }

    /// What the client is told. Errors: `Config`.
    pub(crate) fn client(&self) -> Result<ClientConfig> {
        let wrong = |why: &str| Err(Error::new(ErrorKind::Config, format!("kafka {}: {why}", self.topic)));
        match self {
            Self { max_unacked: 0, .. } => return wrong("max_unacked must be more than 0"),
            Self { commit_interval: Duration::ZERO, .. } => {
                return wrong("commit_interval must be more than 0");
            }
            Self { session_timeout, .. } if *session_timeout < Duration::from_secs(1) => {
                return wrong("session_timeout must be 1s at least");
            }
            _ => {}
        }
        let start = match self.start {
            Start::Earliest => "earliest",
            Start::Latest => "latest",
        };
        let session = self.session_timeout.as_millis();
        let mut client = self.server.client()?;
        client
            .set("group.id", &self.group)
            .set("auto.offset.reset", start)
            // What is committed is what was acknowledged: the source says so, the client commits it.
            .set("enable.auto.offset.store", "false")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", self.commit_interval.as_millis().max(1).to_string())
            .set("session.timeout.ms", session.to_string())
            .set("heartbeat.interval.ms", (session / 3).min(3000).to_string())
            .set("queued.min.messages", self.max_unacked.min(100_000).to_string())
            .set("queued.max.messages.kbytes", "16384");
        Ok(client)
    }
}

fn topic(endpoint: &Endpoint) -> Result<&str> {
    match endpoint.path().trim_start_matches('/') {
        "" => Err(Error::new(
            ErrorKind::Config,
            format!("endpoint {endpoint}: its path is the topic, as in kafka://host/events"),
        )),
        topic => Ok(topic),
    }
}
