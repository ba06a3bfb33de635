//! The configuration of sink and source.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Options, Place, Result, duration_text, plain_value};
use haul_tls::ClientOptions;
use serde::Deserialize;

/// Where the server is, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `postgres://user:password@host:port/database`.
    pub url: String,
    /// The folder of the server's Unix socket, instead of the URL's host.
    #[serde(default)]
    pub host: Option<PathBuf>,
    /// Whether the connection is encrypted. By default as [`SslMode::Require`] where `tls` says anything, and otherwise as
    /// [`SslMode::Prefer`].
    #[serde(default)]
    pub sslmode: Option<SslMode>,
    /// Whom to trust, and what to show.
    #[serde(default)]
    pub tls: ClientOptions,
    /// What the server calls us in its lists and logs.
    #[serde(default = "application_name")]
    pub application_name: String,
    /// Settings of the session, as on the server's command line: `-c search_path=events`.
    #[serde(default)]
    pub options: Option<String>,
    /// For name, socket, TLS, authentication, and making ready together.
    #[serde(default = "connect_timeout", deserialize_with = "duration_text::deserialize")]
    pub connect_timeout: Duration,
    /// For a statement: the server is told to give up then; if it says nothing a second later, it is given up on.
    #[serde(default = "timeout", deserialize_with = "duration_text::deserialize")]
    pub timeout: Duration,
}

/// Whether the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// It is not.
    Disable,
    /// It is where the server can, whatever its certificate says: no help against who stands in between.
    Prefer,
    /// It is, and certificate and name are checked; libpq says `verify-full` to that, which is the same here.
    #[serde(alias = "verify-full")]
    Require,
}

impl FromStr for SslMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" | "verify-full" => Ok(Self::Require),
            _ => Err("it is disable, prefer, or require, which checks all that verify-full does".to_owned()),
        }
    }
}

const SERVER: [&str; 6] = ["host", "sslmode", "application_name", "options", "connect_timeout", "timeout"];

fn application_name() -> String {
    "haul".to_owned()
}

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
            host: None,
            sslmode: None,
            tls: ClientOptions::default(),
            application_name: application_name(),
            options: None,
            connect_timeout: connect_timeout(),
            timeout: timeout(),
        }
    }

    fn from_options(endpoint: &Endpoint, options: &Options<'_>) -> Result<Self> {
        Ok(Self {
            host: options.get("host")?,
            sslmode: options.get("sslmode")?,
            tls: ClientOptions::from_lookup(|key| options.text(key))?,
            application_name: options.text("application_name").map_or_else(application_name, str::to_owned),
            options: options.text("options").map(str::to_owned),
            connect_timeout: options.duration("connect_timeout")?.unwrap_or_else(connect_timeout),
            timeout: options.duration("timeout")?.unwrap_or_else(timeout),
            ..Self::new(endpoint.as_str())
        })
    }
}

/// The type of the column `payload`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// Any bytes.
    #[default]
    Bytea,
    /// Text, without the character NUL.
    Text,
    /// JSON, which the server keeps by its meaning: not byte for byte.
    Jsonb,
}

impl FromStr for Payload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bytea" => Ok(Self::Bytea),
            "text" => Ok(Self::Text),
            "jsonb" => Ok(Self::Jsonb),
            _ => Err("it is bytea, text or jsonb".to_owned()),
        }
    }
}

/// The configuration of a [`PostgresSink`](crate::PostgresSink).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Where.
    pub server: Server,
    /// The table: `name` or `schema.name`.
    pub table: String,
    /// Make the table where there is none.
    #[serde(default)]
    pub create: bool,
    /// The type of its column `payload`.
    #[serde(default)]
    pub payload: Payload,
    /// Packets of one statement, which is one transaction.
    #[serde(default = "rows")]
    pub rows: usize,
    /// Bytes of a payload.
    #[serde(default = "max_packet", deserialize_with = "plain_value::size")]
    pub max_packet: usize,
}

fn rows() -> usize {
    1000
}

fn max_packet() -> usize {
    16 << 20
}

impl PostgresConfig {
    /// Rows of `table`.
    pub fn new(server: Server, table: impl Into<String>) -> Self {
        Self {
            server,
            table: table.into(),
            create: false,
            payload: Payload::default(),
            rows: rows(),
            max_packet: max_packet(),
        }
    }

    /// Reads `postgres://user:password@host/database?table=events&create=true`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let known =
            [&SERVER[..], &ClientOptions::KEYS, &["table", "create", "payload", "rows", "max_packet"]];
        let options = endpoint.options(Place::Query, &known.concat())?;
        Ok(Self {
            create: options.flag("create")?,
            payload: options.get("payload")?.unwrap_or_default(),
            rows: options.get("rows")?.unwrap_or_else(rows),
            max_packet: options.bytes("max_packet")?.unwrap_or_else(max_packet),
            ..Self::new(Server::from_options(endpoint, &options)?, table(endpoint, &options)?)
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::new(ErrorKind::Config, format!("postgres {}: {why}", self.table)));
        match self {
            Self { rows: 0, .. } => wrong("rows must be more than 0"),
            Self { max_packet, .. } if *max_packet > MAX_PACKET => wrong("max_packet is at most 256 MiB"),
            _ => Ok(()),
        }
    }
}

/// A statement's parameter has at most 1 GiB, and a payload may come on top of what a statement holds.
const MAX_PACKET: usize = 256 << 20;

/// The configuration of a [`PostgresSource`](crate::PostgresSource).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// Where.
    pub server: Server,
    /// The table: `name` or `schema.name`.
    pub table: String,
    /// Make the table where there is none.
    #[serde(default)]
    pub create: bool,
    /// The type of the column `payload` of a table that is made.
    #[serde(default)]
    pub payload: Payload,
    /// How long to wait before an empty table is looked at again.
    #[serde(default = "poll", deserialize_with = "duration_text::deserialize")]
    pub poll: Duration,
    /// Packets given and not acknowledged; `next` waits at this many.
    #[serde(default = "max_unacked")]
    pub max_unacked: usize,
}

fn poll() -> Duration {
    Duration::from_millis(500)
}

fn max_unacked() -> usize {
    1024
}

impl QueueConfig {
    /// The rows of `table`, from the first.
    pub fn new(server: Server, table: impl Into<String>) -> Self {
        Self {
            server,
            table: table.into(),
            create: false,
            payload: Payload::default(),
            poll: poll(),
            max_unacked: max_unacked(),
        }
    }

    /// Reads `postgres://user:password@host/database?table=events&poll=500ms&max_unacked=1024`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let known =
            [&SERVER[..], &ClientOptions::KEYS, &["table", "create", "payload", "poll", "max_unacked"]];
        let options = endpoint.options(Place::Query, &known.concat())?;
        Ok(Self {
            create: options.flag("create")?,
            payload: options.get("payload")?.unwrap_or_default(),
            poll: options.duration("poll")?.unwrap_or_else(poll),
            max_unacked: options.get("max_unacked")?.unwrap_or_else(max_unacked),
            ..Self::new(Server::from_options(endpoint, &options)?, table(endpoint, &options)?)
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::new(ErrorKind::Config, format!("postgres {}: {why}", self.table)));
        match self {
            Self { max_unacked: 0, .. } => wrong("max_unacked must be more than 0"),
            Self { poll: Duration::ZERO, .. } => wrong("poll must be more than 0"),
            _ => Ok(()),
        }
    }
}

fn table<'a>(endpoint: &Endpoint, options: &Options<'a>) -> Result<&'a str> {
    options.text("table").ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            format!("endpoint {endpoint}: it needs a table, as in postgres://host/database?table=events"),
        )
    })
}
