//! The configuration of sink and source.

use std::str::FromStr;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Options, Place, Result, Template, duration_text, plain_value};
use haul_tls::ClientOptions;
use rumqttc::v5::mqttbytes::valid_filter;
use serde::{Deserialize, Deserializer};

/// Where the broker is, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `mqtt://user:password@host:port`, or `mqtts://` for TLS.
    pub url: String,
    /// Our name there; of two with one name the broker throws out the first. Where a sink has none, the broker finds one.
    #[serde(default)]
    pub client_id: Option<String>,
    /// The TLS of `mqtts`.
    #[serde(default)]
    pub tls: ClientOptions,
    /// How often a silent connection is asked whether it stands, in whole seconds; the broker may ask for another time.
    #[serde(default = "keep_alive", deserialize_with = "duration_text::deserialize")]
    pub keep_alive: Duration,
    /// For name, socket, TLS and authentication together.
    #[serde(default = "connect_timeout", deserialize_with = "duration_text::deserialize")]
    pub connect_timeout: Duration,
    /// For an answer.
    #[serde(default = "timeout", deserialize_with = "duration_text::deserialize")]
    pub timeout: Duration,
}

const SERVER: [&str; 4] = ["client_id", "keep_alive", "connect_timeout", "timeout"];

fn keep_alive() -> Duration {
    Duration::from_secs(15)
}

fn connect_timeout() -> Duration {
    Duration::from_secs(10)
}

fn timeout() -> Duration {
    Duration::from_secs(30)
}

impl Server {
    /// The broker at `url`, with defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            client_id: None,
            tls: ClientOptions::default(),
            keep_alive: keep_alive(),
            connect_timeout: connect_timeout(),
            timeout: timeout(),
        }
    }

    fn from_options(endpoint: &Endpoint, options: &Options<'_>) -> Result<Self> {
        Ok(Self {
            url: endpoint.as_str().to_owned(),
            client_id: options.text("client_id").map(str::to_owned),
            tls: ClientOptions::from_lookup(|key| options.text(key))?,
            keep_alive: options.duration("keep_alive")?.unwrap_or_else(keep_alive),
            connect_timeout: options.duration("connect_timeout")?.unwrap_or_else(connect_timeout),
            timeout: options.duration("timeout")?.unwrap_or_else(timeout),
        })
    }

    fn wrong(&self) -> Option<&'static str> {
        match self {
            Self { keep_alive, .. }
                if keep_alive.subsec_nanos() != 0 || !(1..=65_535).contains(&keep_alive.as_secs()) =>
            {
                Some("keep_alive is whole seconds, 1 to 65535")
            }
            Self { client_id: Some(name), .. } if name.len() > 65_535 => {
                Some("client_id has at most 65535 bytes")
            }
            _ => None,
        }
    }
}

/// What broker and client owe one another for a packet (MQTT 5.0, section 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// 0: it is sent, and nobody says what became of it.
    AtMostOnce,
    /// 1: the receiver says that it has it.
    #[default]
    AtLeastOnce,
    /// 2: and has it once, as long as the session lasts.
    ExactlyOnce,
}

impl FromStr for Qos {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "0" => Ok(Self::AtMostOnce),
            "1" => Ok(Self::AtLeastOnce),
            "2" => Ok(Self::ExactlyOnce),
            _ => Err("it is 0, 1 or 2".to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for Qos {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        plain_value::parse(from, str::parse)
    }
}

/// The configuration of a [`MqttSink`](crate::MqttSink).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    /// Where.
    pub server: Server,
    /// The topic.
    pub topic: Template,
    /// How far the broker answers for a packet.
    #[serde(default)]
    pub qos: Qos,
    /// Whether the broker keeps the last packet of a topic for those who subscribe later.
    #[serde(default)]
    pub retain: bool,
    /// Whether a packet is an error of which the broker says that nobody subscribes to its topic. Not of those that it
    /// retains.
    #[serde(default = "mandatory")]
    pub mandatory: bool,
    /// How long the broker keeps a packet for those who are away, in whole seconds; for ever, if not given.
    #[serde(default, deserialize_with = "duration_text::option::deserialize")]
    pub expiry: Option<Duration>,
    /// Bytes of a payload. The broker's largest packet bounds it, too.
    #[serde(default = "max_packet", deserialize_with = "plain_value::size")]
    pub max_packet: usize,
    /// Packets that go out before the first of them is answered, of all calls together. The broker's receive maximum bounds
    /// them, too.
    #[serde(default = "pipeline")]
    pub pipeline: u16,
}

fn mandatory() -> bool {
    true
}

fn max_packet() -> usize {
    1 << 20
}

fn pipeline() -> u16 {
    1000
}

impl MqttConfig {
    /// Packets to `topic`, at QoS 1.
    pub fn new(server: Server, topic: Template) -> Self {
        Self {
            server,
            topic,
            qos: Qos::default(),
            retain: false,
            mandatory: mandatory(),
            expiry: None,
            max_packet: max_packet(),
            pipeline: pipeline(),
        }
    }

    /// Reads `mqtt://user:password@host:1883/events/{session_id}?qos=1&retain=true`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let own = ["qos", "retain", "mandatory", "expiry", "max_packet", "pipeline"];
        let options = options(endpoint, &own)?;
        Ok(Self {
            qos: options.get("qos")?.unwrap_or_default(),
            retain: options.flag("retain")?,
            mandatory: options.get("mandatory")?.unwrap_or_else(mandatory),
            expiry: options.duration("expiry")?,
            max_packet: options.bytes("max_packet")?.unwrap_or_else(max_packet),
            pipeline: options.get("pipeline")?.unwrap_or_else(pipeline),
            ..Self::new(Server::from_options(endpoint, &options)?, Template::parse(topic(endpoint)?)?)
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = match self {
            Self { pipeline: 0, .. } => Some("pipeline must be more than 0"),
            Self { expiry: Some(expiry), .. } if seconds(*expiry).is_none() => {
                Some("expiry is whole seconds, 1 to 4294967295")
            }
            Self { server, .. } => server.wrong(),
        };
        refuse(wrong, self.topic.as_str())
    }
}

/// The configuration of a [`MqttSource`](crate::MqttSource).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionConfig {
    /// Where; its `client_id` is the name of the session, and a must.
    pub server: Server,
    /// Topics, with wildcards if need be: `events/#`, `$share/group/events/+`.
    pub filters: Vec<String>,
    /// The most that the broker owes us for a packet: 1 or 2. A packet has no more than its publisher asked for.
    #[serde(default)]
    pub qos: Qos,
    /// How long the broker keeps the session while nobody reads it, in whole seconds.
    #[serde(default = "session", deserialize_with = "duration_text::deserialize")]
    pub session: Duration,
    /// The metadata that takes a packet's topic, if any.
    #[serde(default)]
    pub topic_as: Option<String>,
    /// How long a packet that was refused waits, if the refusal does not say.
    #[serde(default = "again", deserialize_with = "duration_text::deserialize")]
    pub again: Duration,
    /// Packets given and not acknowledged; the broker sends no more.
    #[serde(default = "max_unacked")]
    pub max_unacked: u16,
    /// Bytes of a whole packet. A larger one is an error, and the broker keeps it.
    #[serde(default = "max_incoming", deserialize_with = "plain_value::size")]
    pub max_packet: usize,
}

fn session() -> Duration {
    Duration::from_secs(7 * 24 * 3600)
}

fn again() -> Duration {
    Duration::from_secs(1)
}

fn max_unacked() -> u16 {
    1024
}

fn max_incoming() -> usize {
    16 << 20
}

impl SubscriptionConfig {
    /// What is published to `filter`, in the session `client_id`, at QoS 1.
    pub fn new(mut server: Server, client_id: impl Into<String>, filter: impl Into<String>) -> Self {
        server.client_id = Some(client_id.into());
        Self {
            server,
            filters: vec![filter.into()],
            qos: Qos::default(),
            session: session(),
            topic_as: None,
            again: again(),
            max_unacked: max_unacked(),
            max_packet: max_incoming(),
        }
    }

    /// Reads `mqtt://host/events/%23?client_id=reader&session=1h&max_unacked=1024`; `#` is written `%23`, and there may be
    /// several filters with commas between. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let own = ["qos", "session", "topic_as", "again", "max_unacked", "max_packet"];
        let options = options(endpoint, &own)?;
        Ok(Self {
            server: Server::from_options(endpoint, &options)?,
            filters: topic(endpoint)?.split(',').map(str::to_owned).collect(),
            qos: options.get("qos")?.unwrap_or_default(),
            session: options.duration("session")?.unwrap_or_else(session),
            topic_as: options.text("topic_as").map(str::to_owned),
            again: options.duration("again")?.unwrap_or_else(again),
            max_unacked: options.get("max_unacked")?.unwrap_or_else(max_unacked),
            max_packet: options.bytes("max_packet")?.unwrap_or_else(max_incoming),
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = match self {
            Self { server: Server { client_id: None, .. }, .. } => {
                Some("a source needs client_id=, the name of its session")
            }
            Self { server: Server { client_id: Some(name), .. }, .. } if name.is_empty() => {
                Some("client_id is empty")
            }
            Self { filters, .. } if !filters.iter().all(|it| it.len() <= 65_535 && valid_filter(it)) => {
                Some("a filter is empty, too long, or has a wildcard inside a level or # before the last")
            }
            Self { filters, .. } if filters.is_empty() => Some("a source needs a filter"),
            Self { qos: Qos::AtMostOnce, .. } => {
                Some("at QoS 0 nothing can be acknowledged, and so nothing read: qos is 1 or 2")
            }
            Self { max_unacked: 0, .. } => Some("max_unacked must be more than 0"),
            Self { session, .. } if seconds(*session).is_none() => {
                Some("session is whole seconds, 1 to 4294967295")
            }
            Self { server, .. } => server.wrong(),
        };
        refuse(wrong, &self.filters.join(","))
    }
}

/// A time as it goes into an interval of MQTT.
pub(crate) fn seconds(time: Duration) -> Option<u32> {
    let whole = time.subsec_nanos() == 0 && time.as_secs() > 0;
    u32::try_from(time.as_secs()).ok().filter(|_| whole)
}

fn options<'a>(endpoint: &'a Endpoint, own: &[&'static str]) -> Result<Options<'a>> {
    endpoint.options(Place::Query, &[&SERVER[..], &ClientOptions::KEYS, own].concat())
}

fn topic(endpoint: &Endpoint) -> Result<&str> {
    match endpoint.path().strip_prefix('/').unwrap_or_default() {
        "" => Err(Error::new(
            ErrorKind::Config,
            format!("endpoint {endpoint}: its path is the topic, as in mqtt://host/events"),
        )),
        topic => Ok(topic),
    }
}

fn refuse(wrong: Option<&str>, topic: &str) -> Result<()> {
    match wrong {
        Some(why) => Err(Error::new(ErrorKind::Config, format!("mqtt {topic}: {why}"))),
        None => Ok(()),
    }
}
