//! The configuration of sink and source.

use std::str::FromStr;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Options, Place, Result, Template, duration_text, plain_value};
use haul_tls::ClientOptions;
use serde::{Deserialize, Deserializer};

/// Where the server is, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `nats://user:password@host:port`, or `nats+tls://` where TLS is a must. A user without a password is a token.
    pub url: String,
    /// Further servers of the cluster: `host:port`.
    #[serde(default)]
    pub servers: Vec<String>,
    /// Whom to trust and what to show where TLS is spoken. `sni` and `alpn` are not for NATS.
    #[serde(default)]
    pub tls: ClientOptions,
    /// For name, socket, TLS and authentication with one server.
    #[serde(default = "connect_timeout", deserialize_with = "duration_text::deserialize")]
    pub connect_timeout: Duration,
    /// For an answer.
    #[serde(default = "timeout", deserialize_with = "duration_text::deserialize")]
    pub timeout: Duration,
}

const SERVER: [&str; 9] =
    ["servers", "ca", "system_roots", "pin", "cert", "key", "insecure", "connect_timeout", "timeout"];

fn connect_timeout() -> Duration {
    Duration::from_secs(10)
}

fn timeout() -> Duration {
    Duration::from_secs(30)
}

impl Server {
    /// The server at `url`, with defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            servers: Vec::new(),
            tls: ClientOptions::default(),
            connect_timeout: connect_timeout(),
            timeout: timeout(),
        }
    }

    fn from_options(endpoint: &Endpoint, options: &Options<'_>) -> Result<Self> {
        Ok(Self {
            url: endpoint.as_str().to_owned(),
            servers: list(options, "servers"),
            tls: ClientOptions::from_lookup(|key| options.text(key))?,
            connect_timeout: options.duration("connect_timeout")?.unwrap_or_else(connect_timeout),
            timeout: options.duration("timeout")?.unwrap_or_else(timeout),
        })
    }
}

/// The configuration of a [`NatsSink`](crate::NatsSink).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// Where.
    pub server: Server,
    /// The subject.
    pub subject: Template,
    /// Whether a stream of JetStream must say that it stored each packet. Otherwise they are published and no more.
    #[serde(default = "jetstream")]
    pub jetstream: bool,
    /// The stream that must store them, rather than whichever takes the subject.
    #[serde(default)]
    pub stream: Option<String>,
    /// The subjects of [`stream`](Self::stream), which is made with them where there is none.
    #[serde(default)]
    pub create: Vec<String>,
    /// On how many servers of a cluster a stream that is made is kept.
    #[serde(default = "replicas")]
    pub replicas: usize,
    /// How long a stream that is made knows ids again.
    #[serde(default = "dedupe", deserialize_with = "duration_text::deserialize")]
    pub dedupe: Duration,
    /// Bytes of a payload. What the server takes of payload and headers together bounds it, too.
    #[serde(default = "max_packet", deserialize_with = "plain_value::size")]
    pub max_packet: usize,
    /// Packets of a call that go out before the first of them is answered.
    #[serde(default = "pipeline")]
    pub pipeline: usize,
}

fn jetstream() -> bool {
    true
}

fn replicas() -> usize {
    1
}

fn dedupe() -> Duration {
    Duration::from_secs(120)
}

fn max_packet() -> usize {
    1 << 20
}

fn pipeline() -> usize {
    1000
}

impl NatsConfig {
    /// Packets to `subject`, which a stream takes.
    pub fn new(server: Server, subject: Template) -> Self {
        Self {
            server,
            subject,
            jetstream: jetstream(),
            stream: None,
            create: Vec::new(),
            replicas: replicas(),
            dedupe: dedupe(),
            max_packet: max_packet(),
            pipeline: pipeline(),
        }
    }

    /// Reads `nats://user:password@host:4222/events.{session_id}?stream=EVENTS&create=events.*`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let own = ["jetstream", "stream", "create", "replicas", "dedupe", "max_packet", "pipeline"];
        let options = endpoint.options(Place::Query, &[&SERVER[..], &own].concat())?;
        let subject = Template::parse(subject(endpoint)?)?;
        Ok(Self {
            jetstream: with_jetstream(&options)?,
            stream: options.text("stream").map(str::to_owned),
            create: list(&options, "create"),
            replicas: options.get("replicas")?.unwrap_or_else(replicas),
            dedupe: options.duration("dedupe")?.unwrap_or_else(dedupe),
            max_packet: options.bytes("max_packet")?.unwrap_or_else(max_packet),
            pipeline: options.get("pipeline")?.unwrap_or_else(pipeline),
            ..Self::new(Server::from_options(endpoint, &options)?, subject)
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong =
            |why: &str| Err(Error::new(ErrorKind::Config, format!("nats {}: {why}", self.subject.as_str())));
        match self {
            Self { pipeline: 0, .. } => wrong("pipeline must be more than 0"),
            Self { replicas: 0, .. } => wrong("replicas must be more than 0"),
            Self { jetstream: false, stream: Some(_), .. } => {
                wrong("a stream is JetStream's: jetstream=true")
            }
            Self { stream: None, create, .. } if !create.is_empty() => {
                wrong("create needs the name of the stream: stream=EVENTS")
            }
            _ => Ok(()),
        }
    }
}

/// Where a new consumer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first message that the stream has.
    #[default]
    All,
    /// Behind the last one.
    New,
    /// At this sequence.
    At(u64),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "new" => Ok(Self::New),
            number => number.parse().map(Self::At).map_err(|_| "it is all, new, or a sequence".to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        plain_value::parse(from, str::parse)
    }
}

/// The configuration of a [`NatsSource`](crate::NatsSource).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumerConfig {
    /// Where.
    pub server: Server,
    /// The subject, with wildcards if need be: `events.>`.
    pub subject: String,
    /// The stream; if not given, the one that has the subject.
    #[serde(default)]
    pub stream: Option<String>,
    /// The durable consumer; it is made where there is none, and used as it is where there is one.
    #[serde(default = "consumer")]
    pub consumer: String,
    /// Where a new consumer begins.
    #[serde(default)]
    pub start: Start,
    /// How long the server waits for a reader that is gone before it gives its packets to the next.
    #[serde(default = "ack_wait", deserialize_with = "duration_text::deserialize")]
    pub ack_wait: Duration,
    /// How long a packet that was refused waits, if the refusal does not say.
    #[serde(default = "again", deserialize_with = "duration_text::deserialize")]
    pub again: Duration,
    /// Packets given and not acknowledged; `next` waits at this many.
    #[serde(default = "max_unacked")]
    pub max_unacked: usize,
}

fn consumer() -> String {
    "haul".to_owned()
}

fn ack_wait() -> Duration {
    Duration::from_secs(10)
}

fn again() -> Duration {
    Duration::from_secs(1)
}

fn max_unacked() -> usize {
    1024
}

impl ConsumerConfig {
    /// What a stream has of `subject` from its beginning, as the consumer `haul`.
    pub fn new(server: Server, subject: impl Into<String>) -> Self {
        Self {
            server,
            subject: subject.into(),
            stream: None,
            consumer: consumer(),
            start: Start::default(),
            ack_wait: ack_wait(),
            again: again(),
            max_unacked: max_unacked(),
        }
    }

    /// Reads `nats://host/events.*?stream=EVENTS&consumer=haul&start=all&ack_wait=10s&max_unacked=1024`; `>` is written
    /// `%3E`.
    ///
    /// Errors: `Config`; `Unsupported` for `jetstream=false`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let own = ["jetstream", "stream", "consumer", "start", "ack_wait", "again", "max_unacked"];
        let options = endpoint.options(Place::Query, &[&SERVER[..], &own].concat())?;
        if !with_jetstream(&options)? {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "endpoint {endpoint}: without JetStream nothing can be acknowledged, and so nothing read"
                ),
            ));
        }
        Ok(Self {
            stream: options.text("stream").map(str::to_owned),
            consumer: options.text("consumer").map_or_else(consumer, str::to_owned),
            start: options.get("start")?.unwrap_or_default(),
            ack_wait: options.duration("ack_wait")?.unwrap_or_else(ack_wait),
            again: options.duration("again")?.unwrap_or_else(again),
            max_unacked: options.get("max_unacked")?.unwrap_or_else(max_unacked),
            ..Self::new(Server::from_options(endpoint, &options)?, subject(endpoint)?)
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::new(ErrorKind::Config, format!("nats {}: {why}", self.subject)));
        match self {
            Self { max_unacked: 0, .. } => wrong("max_unacked must be more than 0"),
            Self { ack_wait, .. } if *ack_wait < Duration::from_millis(100) => {
                wrong("ack_wait must be at least 100ms")
            }
            Self { consumer, .. } if consumer.is_empty() || consumer.contains(['.', '*', '>', ' ']) => {
                wrong("consumer is a name without dots, spaces and wildcards")
            }
            _ => Ok(()),
        }
    }
}

fn with_jetstream(options: &Options<'_>) -> Result<bool> {
    Ok(options.text("jetstream").is_none() || options.flag("jetstream")?)
}

fn list(options: &Options<'_>, name: &str) -> Vec<String> {
    options.text(name).map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default()
}

fn subject(endpoint: &Endpoint) -> Result<&str> {
    match endpoint.path().trim_start_matches('/') {
        "" => Err(Error::new(
            ErrorKind::Config,
            format!("endpoint {endpoint}: its path is the subject, as in nats://host/events"),
        )),
        subject => Ok(subject),
    }
}
