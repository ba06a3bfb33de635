//! The configuration of sink and source.

use std::str::FromStr;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Options, Place, Result, Template, duration_text, plain_value};
use haul_tls::ClientOptions;
use serde::Deserialize;

/// Where the server is, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `amqp://user:password@host:port/vhost`, or `amqps://` for TLS. Without a path it is the virtual host `/`; without a
    /// user it is `guest`.
    pub url: String,
    /// The TLS of `amqps`.
    #[serde(default)]
    pub tls: ClientOptions,
    /// How long nothing may be heard before the connection counts as lost, in whole seconds; 0: what the server asks for.
    #[serde(default, deserialize_with = "duration_text::deserialize")]
    pub heartbeat: Duration,
    /// Bytes of a frame; 0: what the server asks for. The client keeps 64 frames of memory.
    #[serde(default, deserialize_with = "plain_value::size")]
    pub frame_max: usize,
    /// For name, socket, TLS and authentication together.
    #[serde(default = "connect_timeout", deserialize_with = "duration_text::deserialize")]
    pub connect_timeout: Duration,
    /// For an answer: confirms of a window, among others.
    #[serde(default = "timeout", deserialize_with = "duration_text::deserialize")]
    pub timeout: Duration,
}

const SERVER: [&str; 4] = ["heartbeat", "frame_max", "connect_timeout", "timeout"];

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
            tls: ClientOptions::default(),
            heartbeat: Duration::ZERO,
            frame_max: 0,
            connect_timeout: connect_timeout(),
            timeout: timeout(),
        }
    }

    fn from_options(endpoint: &Endpoint, options: &Options<'_>) -> Result<Self> {
        Ok(Self {
            url: endpoint.as_str().to_owned(),
            tls: ClientOptions::from_lookup(|key| options.text(key))?,
            heartbeat: options.duration("heartbeat")?.unwrap_or_default(),
            frame_max: options.bytes("frame_max")?.unwrap_or_default(),
            connect_timeout: options.duration("connect_timeout")?.unwrap_or_else(connect_timeout),
            timeout: options.duration("timeout")?.unwrap_or_else(timeout),
        })
    }

    fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::new(ErrorKind::Config, format!("amqp: {why}")));
        match self {
            Self { heartbeat, .. } if heartbeat.subsec_nanos() != 0 || heartbeat.as_secs() > 65_535 => {
                wrong("heartbeat is whole seconds, at most 65535")
            }
            Self { frame_max, .. } if *frame_max != 0 && !(8192..=1 << 20).contains(frame_max) => {
                wrong("frame_max is between 8KiB and 1MiB, or 0")
            }
            _ => Ok(()),
        }
    }
}

/// The type of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeType {
    /// To queues that are bound with the routing key.
    Direct,
    /// To all queues that are bound.
    Fanout,
    /// To queues whose binding fits the routing key.
    Topic,
    /// To queues whose binding fits the headers.
    Headers,
}

impl FromStr for ExchangeType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "direct" => Ok(Self::Direct),
            "fanout" => Ok(Self::Fanout),
            "topic" => Ok(Self::Topic),
            "headers" => Ok(Self::Headers),
            _ => Err("it is direct, fanout, topic or headers".to_owned()),
        }
    }
}

/// Whether durable queues write a message to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryMode {
    /// They do.
    #[default]
    Persistent,
    /// They keep it in memory.
    Transient,
}

impl FromStr for DeliveryMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "persistent" => Ok(Self::Persistent),
            "transient" => Ok(Self::Transient),
            _ => Err("it is persistent or transient".to_owned()),
        }
    }
}

/// The configuration of an [`AmqpSink`](crate::AmqpSink).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmqpConfig {
    /// Where.
    pub server: Server,
    /// The exchange; the default one, if it is empty.
    #[serde(default = "nothing")]
    pub exchange: Template,
    /// The routing key; `queue`, if it is not given and the exchange is the default one.
    #[serde(default)]
    pub routing_key: Option<Template>,
    /// A queue: where the default exchange brings packets, or what `declare` binds to the exchange.
    #[serde(default)]
    pub queue: Option<String>,
    /// Declare `queue`, and exchanges if `exchange_type` is given, where they are not: durable.
    #[serde(default)]
    pub declare: bool,
    /// The type of exchanges that are declared.
    #[serde(default)]
    pub exchange_type: Option<ExchangeType>,
    /// The key with which `declare` binds the queue to the exchange.
    #[serde(default)]
    pub binding: String,
    /// A packet that no queue takes is an error. Otherwise the server confirms and forgets it.
    #[serde(default = "yes")]
    pub mandatory: bool,
    /// Whether durable queues write it to disk.
    #[serde(default)]
    pub delivery_mode: DeliveryMode,
    /// The priority in queues that have priorities.
    #[serde(default)]
    pub priority: Option<u8>,
    /// How long it may wait in a queue.
    #[serde(default, deserialize_with = "duration_text::option::deserialize")]
    pub expiration: Option<Duration>,
    /// Bytes of a payload.
    #[serde(default = "max_packet", deserialize_with = "plain_value::size")]
    pub max_packet: usize,
    /// Packets that go out before their confirms are waited for.
    #[serde(default = "window")]
    pub window: usize,
}

const SINK: [&str; 12] = [
    "exchange",
    "routing_key",
    "queue",
    "declare",
    "exchange_type",
    "binding",
    "mandatory",
    "delivery_mode",
    "priority",
    "expiration",
    "max_packet",
    "window",
];

fn nothing() -> Template {
    Template::parse("").expect("no text has no wrong places")
}

fn yes() -> bool {
    true
}

fn max_packet() -> usize {
    16 << 20
}

fn window() -> usize {
    1000
}

impl AmqpConfig {
    /// To `queue`, through the default exchange.
    pub fn new(server: Server, queue: impl Into<String>) -> Self {
        Self { queue: Some(queue.into()), ..Self::through(server, nothing()) }
    }

    /// Through `exchange`, with an empty routing key.
    pub fn through(server: Server, exchange: Template) -> Self {
        Self {
            server,
            exchange,
            routing_key: None,
            queue: None,
            declare: false,
            exchange_type: None,
            binding: String::new(),
            mandatory: yes(),
            delivery_mode: DeliveryMode::default(),
            priority: None,
            expiration: None,
            max_packet: max_packet(),
            window: window(),
        }
    }

    /// Reads `amqp://user:password@host:5672/vhost?exchange=events&routing_key={session_id}`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let options = endpoint.options(Place::Query, &[&SERVER[..], &ClientOptions::KEYS, &SINK].concat())?;
        let exchange = Template::parse(options.text("exchange").unwrap_or_default())?;
        Ok(Self {
            routing_key: options.text("routing_key").map(Template::parse).transpose()?,
            queue: options.text("queue").map(str::to_owned),
            declare: options.flag("declare")?,
            exchange_type: options.get("exchange_type")?,
            binding: options.text("binding").unwrap_or_default().to_owned(),
            mandatory: options.get("mandatory")?.unwrap_or_else(yes),
            delivery_mode: options.get("delivery_mode")?.unwrap_or_default(),
            priority: options.get("priority")?,
            expiration: options.duration("expiration")?,
            max_packet: options.bytes("max_packet")?.unwrap_or_else(max_packet),
            window: options.get("window")?.unwrap_or_else(window),
            ..Self::through(Server::from_options(endpoint, &options)?, exchange)
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::new(ErrorKind::Config, format!("amqp: {why}")));
        let plain = self.exchange.as_str().is_empty();
        match self {
            Self { window: 0, .. } => wrong("window must be more than 0"),
            Self { routing_key: None, queue: None, .. } if plain => {
                wrong("give queue=, routing_key= or exchange=: nothing says where packets go")
            }
            Self { declare: true, queue: None, exchange_type: None, .. } => {
                wrong("declare needs queue or exchange_type: what is to be declared?")
            }
            Self { declare: false, exchange_type: Some(_), .. } => wrong("exchange_type needs declare=true"),
            Self { exchange_type: Some(_), .. } if plain => wrong("exchange_type needs exchange"),
            Self { queue: Some(_), declare: false, .. } if !plain => {
                wrong("queue beside exchange is what declare=true binds to it")
            }
            Self { binding, .. } if !binding.is_empty() && (plain || self.queue.is_none()) => {
                wrong("binding needs queue and exchange")
            }
            Self { queue: Some(queue), .. } if !short(queue) => wrong("queue has 1 to 255 bytes"),
            Self { binding, .. } if binding.len() > 255 => wrong("binding has at most 255 bytes"),
            Self { expiration: Some(after), .. } if after.as_millis() > u128::from(u32::MAX) => {
                wrong("expiration is at most 49 days")
            }
            _ => self.server.check(),
        }
    }
}

/// The configuration of an [`AmqpSource`](crate::AmqpSource).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumerConfig {
    /// Where.
    pub server: Server,
    /// The queue.
    pub queue: String,
    /// Declare it where it is not: durable.
    #[serde(default)]
    pub declare: bool,
    /// An exchange to bind it to when it is declared.
    #[serde(default)]
    pub exchange: Option<String>,
    /// The key with which it is bound.
    #[serde(default)]
    pub binding: String,
    /// Packets given and not acknowledged: the prefetch count. At most 65535.
    #[serde(default = "max_unacked")]
    pub max_unacked: usize,
}

fn max_unacked() -> usize {
    1024
}

impl ConsumerConfig {
    /// The queue as it is there.
    pub fn new(server: Server, queue: impl Into<String>) -> Self {
        Self {
            server,
            queue: queue.into(),
            declare: false,
            exchange: None,
            binding: String::new(),
            max_unacked: max_unacked(),
        }
    }

    /// Reads `amqp://host/vhost?queue=events&declare=true&max_unacked=1024`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let own = ["queue", "declare", "exchange", "binding", "max_unacked"];
        let options = endpoint.options(Place::Query, &[&SERVER[..], &ClientOptions::KEYS, &own].concat())?;
        Ok(Self {
            declare: options.flag("declare")?,
            exchange: options.text("exchange").map(str::to_owned),
            binding: options.text("binding").unwrap_or_default().to_owned(),
            max_unacked: options.get("max_unacked")?.unwrap_or_else(max_unacked),
            ..Self::new(Server::from_options(endpoint, &options)?, options.text("queue").unwrap_or_default())
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::new(ErrorKind::Config, format!("amqp {}: {why}", self.queue)));
        match self {
            Self { queue, .. } if !short(queue) => {
                wrong("queue is needed, of 1 to 255 bytes, as in ?queue=events")
            }
            Self { max_unacked, .. } if !(1..=65_535).contains(max_unacked) => {
                wrong("max_unacked is between 1 and 65535")
            }
            Self { declare: false, exchange: Some(_), .. } => wrong("exchange needs declare=true"),
            Self { exchange: Some(exchange), .. } if !short(exchange) => wrong("exchange has 1 to 255 bytes"),
            Self { exchange: None, binding, .. } if !binding.is_empty() => wrong("binding needs exchange"),
            Self { binding, .. } if binding.len() > 255 => wrong("binding has at most 255 bytes"),
            _ => self.server.check(),
        }
    }
}

/// A name as AMQP carries it.
fn short(name: &str) -> bool {
    (1..=255).contains(&name.len())
}
