//! The configuration of sink and source.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Options, Place, Result, Template, duration_text, plain_value};
use serde::Deserialize;

/// Where the server is, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `redis://user:password@host:port`, or `rediss://` for TLS. Of a cluster or of sentinels, one of them.
    pub url: String,
    /// Further nodes of the cluster, or further sentinels: `host:port`.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// It is a cluster.
    #[serde(default)]
    pub cluster: bool,
    /// The hosts are sentinels, and this is the name of the master to ask them for.
    #[serde(default)]
    pub sentinel: Option<String>,
    /// The database.
    #[serde(default)]
    pub db: u16,
    /// A PEM file of the CA to trust instead of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A PEM file of the client's certificate; needs `key`.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// A PEM file of its key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// For name, socket, TLS and authentication together.
    #[serde(default = "connect_timeout", deserialize_with = "duration_text::deserialize")]
    pub connect_timeout: Duration,
    /// For an answer.
    #[serde(default = "timeout", deserialize_with = "duration_text::deserialize")]
    pub timeout: Duration,
}

const SERVER: [&str; 9] =
    ["nodes", "cluster", "sentinel", "db", "ca", "cert", "key", "connect_timeout", "timeout"];

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
            nodes: Vec::new(),
            cluster: false,
            sentinel: None,
            db: 0,
            ca: None,
            cert: None,
            key: None,
            connect_timeout: connect_timeout(),
            timeout: timeout(),
        }
    }

    fn from_options(endpoint: &Endpoint, options: &Options<'_>) -> Result<Self> {
        let nodes = options.text("nodes").map(|nodes| nodes.split(',').map(str::to_owned).collect());
        Ok(Self {
            url: endpoint.as_str().to_owned(),
            nodes: nodes.unwrap_or_default(),
            cluster: options.flag("cluster")?,
            sentinel: options.text("sentinel").map(str::to_owned),
            db: options.get("db")?.unwrap_or_default(),
            ca: options.get("ca")?,
            cert: options.get("cert")?,
            key: options.get("key")?,
            connect_timeout: options.duration("connect_timeout")?.unwrap_or_else(connect_timeout),
            timeout: options.duration("timeout")?.unwrap_or_else(timeout),
        })
    }
}

/// What packets become there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Entries of a stream (`XADD`).
    #[default]
    Stream,
    /// Elements of a list (`RPUSH`).
    List,
    /// Messages of a channel (`PUBLISH`).
    Channel,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stream" => Ok(Self::Stream),
            "list" => Ok(Self::List),
            "channel" => Ok(Self::Channel),
            _ => Err("it is stream, list or channel".to_owned()),
        }
    }
}

/// The configuration of a [`RedisSink`](crate::RedisSink).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// Where.
    pub server: Server,
    /// The key of the stream or list, or the channel.
    pub to: Template,
    /// What packets become there.
    #[serde(default, rename = "as")]
    pub target: Target,
    /// About how many entries the stream keeps (`MAXLEN ~`); all, if not given.
    #[serde(default)]
    pub max_len: Option<u64>,
    /// The fields of an entry instead of the usual ones; then metadata and ids are only where these put them.
    #[serde(default)]
    pub fields: Vec<(String, Template)>,
    /// Bytes of a payload.
    #[serde(default = "max_packet", deserialize_with = "plain_value::size")]
    pub max_packet: usize,
    /// Commands that go out before their answers are waited for.
    #[serde(default = "pipeline")]
    pub pipeline: usize,
}

fn max_packet() -> usize {
    16 << 20
}

fn pipeline() -> usize {
    1000
}

impl RedisConfig {
    /// Entries of the stream `to`.
    pub fn new(server: Server, to: Template) -> Self {
        Self {
            server,
            to,
            target: Target::default(),
            max_len: None,
            fields: Vec::new(),
            max_packet: max_packet(),
            pipeline: pipeline(),
        }
    }

    /// Reads `redis://user:password@host:6379/events-{session_id}?max_len=10000`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let known = [&SERVER[..], &["as", "max_len", "fields", "max_packet", "pipeline"]].concat();
        let options = endpoint.options(Place::Query, &known)?;
        let fields = options.text("fields").map(|fields| fields.split(';').map(field).collect::<Result<_>>());
        Ok(Self {
            target: options.get("as")?.unwrap_or_default(),
            max_len: options.get("max_len")?,
            fields: fields.transpose()?.unwrap_or_default(),
            max_packet: options.bytes("max_packet")?.unwrap_or_else(max_packet),
            pipeline: options.get("pipeline")?.unwrap_or_else(pipeline),
            ..Self::new(Server::from_options(endpoint, &options)?, Template::parse(key(endpoint)?)?)
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong =
            |why: &str| Err(Error::new(ErrorKind::Config, format!("redis {}: {why}", self.to.as_str())));
        match self {
            Self { pipeline: 0, .. } => wrong("pipeline must be more than 0"),
            Self { max_len: Some(0), .. } => wrong("max_len=0 would keep nothing"),
            Self { max_len: Some(_), target: Target::List | Target::Channel, .. } => {
                wrong("max_len is a stream's")
            }
            Self { fields, target: Target::List | Target::Channel, .. } if !fields.is_empty() => {
                wrong("fields are a stream's")
            }
            _ => Ok(()),
        }
    }
}

/// The configuration of a [`RedisSource`](crate::RedisSource).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// Where.
    pub server: Server,
    /// The key of the stream.
    pub stream: String,
    /// The consumer group; it is made where there is none.
    #[serde(default = "group")]
    pub group: String,
    /// Our name in the group: entries that were given to it and not acknowledged are given again.
    #[serde(default = "group")]
    pub consumer: String,
    /// Where a new group begins: `0` at the first entry, `$` at the next one, or behind an entry id.
    #[serde(default = "start")]
    pub start: String,
    /// Entries of other consumers are taken over when they were not acknowledged for so long; never, if not given.
    #[serde(default, deserialize_with = "duration_text::option::deserialize")]
    pub claim: Option<Duration>,
    /// Packets given and not acknowledged; `next` waits at this many.
    #[serde(default = "max_unacked")]
    pub max_unacked: usize,
}

fn group() -> String {
    "haul".to_owned()
}

fn start() -> String {
    "0".to_owned()
}

fn max_unacked() -> usize {
    1024
}

impl GroupConfig {
    /// The stream from its first entry, as the consumer `haul` of the group `haul`.
    pub fn new(server: Server, stream: impl Into<String>) -> Self {
        Self {
            server,
            stream: stream.into(),
            group: group(),
            consumer: group(),
            start: start(),
            claim: None,
            max_unacked: max_unacked(),
        }
    }

    /// Reads `redis://host/events?group=g&consumer=c&start=0&claim=60s&max_unacked=1024`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let known = [&SERVER[..], &["group", "consumer", "start", "claim", "max_unacked"]].concat();
        let options = endpoint.options(Place::Query, &known)?;
        let text = |name, or: fn() -> String| options.text(name).map_or_else(or, str::to_owned);
        Ok(Self {
            group: text("group", group),
            consumer: text("consumer", group),
            start: text("start", start),
            claim: options.duration("claim")?,
            max_unacked: options.get("max_unacked")?.unwrap_or_else(max_unacked),
            ..Self::new(Server::from_options(endpoint, &options)?, key(endpoint)?)
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::new(ErrorKind::Config, format!("redis {}: {why}", self.stream)));
        match self {
            Self { max_unacked: 0, .. } => wrong("max_unacked must be more than 0"),
            Self { claim: Some(Duration::ZERO), .. } => wrong("claim must be more than 0"),
            _ => Ok(()),
        }
    }
}

fn key(endpoint: &Endpoint) -> Result<&str> {
    match endpoint.path().trim_start_matches('/') {
        "" => Err(Error::new(
            ErrorKind::Config,
            format!("endpoint {endpoint}: its path is the key, as in redis://host/events"),
        )),
        key => Ok(key),
    }
}

fn field(text: &str) -> Result<(String, Template)> {
    let wrong = || Error::new(ErrorKind::Config, format!("fields={text}: it is name:template;name:template"));
    let (name, template) = text.split_once(':').ok_or_else(wrong)?;
    Ok((name.to_owned(), Template::parse(template)?))
}
