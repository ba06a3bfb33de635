//! The configuration of the sink.

use std::fmt;

use haul_core::{Endpoint, Error, ErrorKind, Place, Result, plain_value};
use haul_tls::ClientOptions;
use serde::Deserialize;

use crate::client::ClientConfig;
use crate::parse;

/// The method of deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
}

/// How the packets of a batch are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchAs {
    /// One request for each packet, one after the other.
    #[default]
    None,
    /// One request with a JSON array.
    Json,
    /// One request with one JSON value per line.
    Ndjson,
}

/// Where metadata goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetadataAs {
    /// Each name is a header: `session_id` becomes `session-id`.
    Headers,
    /// The payload stands in `{"id", "event", "metadata", "timestamp"}`.
    Envelope,
    /// Nowhere: packets with metadata are refused.
    None,
}

/// The configuration of an [`HttpSink`](crate::HttpSink). Its `Debug` shows no secrets.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where to; user and password become basic authentication.
    pub url: String,
    /// Default POST.
    #[serde(default)]
    pub method: Method,
    /// Default none.
    #[serde(default)]
    pub batch: BatchAs,
    /// Default headers, and an envelope where one request carries a batch.
    #[serde(default)]
    pub metadata: Option<MetadataAs>,
    /// What stands before the name of metadata in a header. Default nothing.
    #[serde(default)]
    pub header_prefix: String,
    /// The `Content-Type`. Default that of what is sent: text, bytes, JSON or JSON lines.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Whether bodies are compressed. Default no.
    #[serde(default)]
    pub gzip: bool,
    /// The header of the answer that names what was made of the packets. Default `location`.
    #[serde(default = "reference")]
    pub reference: String,
    /// The header that carries the packet's id; empty for none. Default `idempotency-key`.
    #[serde(default = "idempotency")]
    pub idempotency: String,
    /// A path whose GET answers 2xx while packets are taken. Default: `ready` asks for the OPTIONS of the URL.
    #[serde(default)]
    pub health: Option<String>,
    /// Bytes of the largest payload. Default 16 MiB.
    #[serde(default = "max_packet", deserialize_with = "plain_value::size")]
    pub max_packet: usize,
    /// Packets of one request. Default 1000.
    #[serde(default = "max_batch")]
    pub max_batch: usize,
    /// Bytes of one request with several packets, before compression. Default 4 MiB.
    #[serde(default = "max_batch_bytes", deserialize_with = "plain_value::size")]
    pub max_batch_bytes: usize,
    /// How requests are sent.
    #[serde(default)]
    pub client: ClientConfig,
}

fn reference() -> String {
    "location".to_owned()
}

fn idempotency() -> String {
    "idempotency-key".to_owned()
}

fn max_packet() -> usize {
    16 << 20
}

fn max_batch() -> usize {
    1000
}

fn max_batch_bytes() -> usize {
    4 << 20
}

const OWN: &[&str] = &[
    "method",
    "batch",
    "metadata",
    "header_prefix",
    "content_type",
    "gzip",
    "reference",
    "idempotency",
    "health",
    "max_packet",
    "max_batch",
    "max_batch_bytes",
];

impl HttpConfig {
    /// Posts each packet to `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            method: Method::default(),
            batch: BatchAs::default(),
            metadata: None,
            header_prefix: String::new(),
            content_type: None,
            gzip: false,
            reference: reference(),
            idempotency: idempotency(),
            health: None,
            max_packet: max_packet(),
            max_batch: max_batch(),
            max_batch_bytes: max_batch_bytes(),
            client: ClientConfig::default(),
        }
    }

    /// Reads `https://host/path?query#batch=ndjson&gzip=true`: the query belongs to the server, options stand in the
    /// fragment, those of the client beside those of the sink. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let known = [OWN, ClientConfig::OPTIONS, &ClientOptions::KEYS].concat();
        let options = endpoint.options(Place::Fragment, &known)?;
        let text = |name| options.text(name).map(str::to_owned);
        Ok(Self {
            url: endpoint.as_str().split('#').next().unwrap_or_default().to_owned(),
            method: options.get("method")?.unwrap_or_default(),
            batch: options.get("batch")?.unwrap_or_default(),
            metadata: options.get("metadata")?,
            header_prefix: text("header_prefix").unwrap_or_default(),
            content_type: text("content_type"),
            gzip: options.flag("gzip")?,
            reference: text("reference").unwrap_or_else(reference),
            idempotency: text("idempotency").unwrap_or_else(idempotency),
            health: text("health"),
            max_packet: options.bytes("max_packet")?.unwrap_or_else(max_packet),
            max_batch: options.get("max_batch")?.unwrap_or_else(max_batch),
            max_batch_bytes: options.bytes("max_batch_bytes")?.unwrap_or_else(max_batch_bytes),
            client: ClientConfig::from_options(&options)?,
        })
    }

    /// Where metadata goes, by default too.
    pub(crate) fn metadata(&self) -> MetadataAs {
        self.metadata.unwrap_or(match self.batch {
            BatchAs::None => MetadataAs::Headers,
            BatchAs::Json | BatchAs::Ndjson => MetadataAs::Envelope,
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |why: &'static str| Err(Error::new(ErrorKind::Config, why));
        match self {
            Self { max_batch: 0, .. } => wrong("max_batch must be more than 0"),
            Self { batch: BatchAs::Json | BatchAs::Ndjson, metadata: Some(MetadataAs::Headers), .. } => {
                wrong(
                    "one request carries a batch, and its headers cannot be those of each packet: metadata=envelope",
                )
            }
            Self { client: ClientConfig { base_url: Some(_), .. }, .. } => {
                wrong("base_url has no meaning beside url")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("url", &parse::shown(&self.url))
            .field("method", &self.method)
            .field("batch", &self.batch)
            .field("metadata", &self.metadata())
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl From<Method> for http::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Post => Self::POST,
            Method::Put => Self::PUT,
            Method::Patch => Self::PATCH,
        }
    }
}
