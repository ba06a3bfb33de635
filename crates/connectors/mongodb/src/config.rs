//! The configuration of the sink.

use std::str::FromStr;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Options, Place, Result, Template, duration_text, plain_value};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// Where the server is, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// MongoDB's connection string: `mongodb://user:password@host:port,host:port/?replicaSet=name`.
    ///
    /// Without `w` and `journal`, a majority must have a document in its journal; without `wtimeoutMS`, within `timeout`.
    pub url: String,
    /// For finding a server that takes writes, and for connecting to it.
    #[serde(default = "connect_timeout", deserialize_with = "duration_text::deserialize")]
    pub connect_timeout: Duration,
    /// For an answer, once there is a server.
    #[serde(default = "timeout", deserialize_with = "duration_text::deserialize")]
    pub timeout: Duration,
}

/// Our own options of a server.
const SERVER: [&str; 3] = ["hosts", "connect_timeout", "timeout"];

/// Options of MongoDB's connection strings that have a meaning here.
const CONNECTION: [&str; 17] = [
    "appName",
    "authMechanism",
    "authMechanismProperties",
    "authSource",
    "directConnection",
    "heartbeatFrequencyMS",
    "journal",
    "loadBalanced",
    "maxPoolSize",
    "replicaSet",
    "retryWrites",
    "tls",
    "tlsAllowInvalidCertificates",
    "tlsCAFile",
    "tlsCertificateKeyFile",
    "w",
    "wtimeoutMS",
];

fn connect_timeout() -> Duration {
    Duration::from_secs(10)
}

fn timeout() -> Duration {
    Duration::from_secs(30)
}

impl Server {
    /// The server at `url`, with defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), connect_timeout: connect_timeout(), timeout: timeout() }
    }

    fn from_options(endpoint: &Endpoint, options: &Options<'_>) -> Result<Self> {
        Ok(Self {
            connect_timeout: options.duration("connect_timeout")?.unwrap_or_else(connect_timeout),
            timeout: options.duration("timeout")?.unwrap_or_else(timeout),
            ..Self::new(connection_string(endpoint, options))
        })
    }
}

/// What of an endpoint is MongoDB's.
fn connection_string(endpoint: &Endpoint, options: &Options<'_>) -> String {
    let text = endpoint.as_str();
    let rest = text.find("://").map_or(text, |at| &text[at + 3..]);
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    let mut url = format!("{}://{authority}", endpoint.scheme());
    if let Some(more) = options.text("hosts") {
        url.push(',');
        url.push_str(more);
    }
    // The database is where users are kept, unless `authSource` says another; a template names none.
    url.push_str(if path.contains(['{', '%']) || path.is_empty() { "/" } else { path });
    let mut mark = '?';
    for name in CONNECTION {
        if let Some(value) = options.text(name) {
            url.extend([mark]);
            url.push_str(name);
            url.push('=');
            url.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
            mark = '&';
        }
    }
    url
}

/// What a payload becomes in a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// Text a string, anything else binary data: byte for byte.
    #[default]
    Plain,
    /// A JSON object or array a document or array, by its meaning: its numbers have 64 bits.
    Json,
}

impl FromStr for Payload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "plain" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            _ => Err("it is plain or json".to_owned()),
        }
    }
}

/// The configuration of a [`MongoSink`](crate::MongoSink).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MongoConfig {
    /// Where.
    pub server: Server,
    /// The database.
    pub database: Template,
    /// The collection; the server makes it with its first document.
    pub collection: Template,
    /// What a payload becomes.
    #[serde(default)]
    pub payload: Payload,
    /// Documents of one insert.
    #[serde(default = "documents")]
    pub documents: usize,
    /// Bytes of a payload. A whole document has at most 16 MiB.
    #[serde(default = "max_packet", deserialize_with = "plain_value::size")]
    pub max_packet: usize,
}

/// The server's own bound is 100,000 of them.
const DOCUMENTS: usize = 100_000;

fn documents() -> usize {
    1000
}

fn max_packet() -> usize {
    15 << 20
}

impl MongoConfig {
    /// Documents of `collection` in `database`.
    pub fn new(server: Server, database: Template, collection: Template) -> Self {
        Self {
            server,
            database,
            collection,
            payload: Payload::default(),
            documents: documents(),
            max_packet: max_packet(),
        }
    }

    /// Reads `mongodb://user:password@host:27017/database?collection=events-{type}`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let own = ["collection", "payload", "documents", "max_packet"];
        let known = [&SERVER[..], &CONNECTION, &own].concat();
        let options = endpoint.options(Place::Query, &known)?;
        let needed = |what: &str| {
            let why = format!(
                "endpoint {endpoint}: it needs a {what}, as in mongodb://host/database?collection=events"
            );
            Error::new(ErrorKind::Config, why)
        };
        let database = Some(endpoint.path().trim_start_matches('/')).filter(|path| !path.is_empty());
        let database = Template::parse(database.ok_or_else(|| needed("database"))?)?;
        let collection = Template::parse(options.text("collection").ok_or_else(|| needed("collection"))?)?;
        Ok(Self {
            payload: options.get("payload")?.unwrap_or_default(),
            documents: options.get("documents")?.unwrap_or_else(documents),
            max_packet: options.bytes("max_packet")?.unwrap_or_else(max_packet),
            ..Self::new(Server::from_options(endpoint, &options)?, database, collection)
        })
    }

    /// As it is told in errors.
    pub(crate) fn place(&self) -> String {
        format!("{}.{}", self.database.as_str(), self.collection.as_str())
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong =
            |why: String| Err(Error::new(ErrorKind::Config, format!("mongodb {}: {why}", self.place())));
        match self {
            Self { documents, .. } if !(1..=DOCUMENTS).contains(documents) => {
                wrong(format!("documents must be between 1 and {DOCUMENTS}"))
            }
            Self { max_packet, .. } if *max_packet > crate::document::LARGEST => {
                wrong("max_packet is at most 16 MiB".to_owned())
            }
            _ => Ok(()),
        }
    }
}
