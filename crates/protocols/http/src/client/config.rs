//! How a client behaves.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use haul_core::{Error, ErrorKind, Options, Result, duration_text, plain_value};
use haul_tls::ClientOptions;
use serde::Deserialize;

use crate::parse;

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Version {
    /// HTTP/2 where TLS agrees on it (RFC 7301), HTTP/1.1 elsewhere.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1 alone.
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2 alone: without TLS by prior knowledge (RFC 9113 section 3.3).
    #[serde(rename = "2")]
    Http2,
}

impl FromStr for Version {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "1.1" => Ok(Self::Http1),
            "2" => Ok(Self::Http2),
            _ => Err("it must be auto, 1.1 or 2"),
        }
    }
}

/// The configuration of a [`Client`](crate::Client). Its `Debug` shows no secrets.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    /// What requests with a path alone are joined to: `https://api.example/v1`. Its user and password become basic
    /// authentication of the requests to its origin. Default none: requests name their host.
    pub base_url: Option<String>,
    /// Headers of each request that does not set them itself.
    pub headers: BTreeMap<String, String>,
    /// `Authorization: Bearer` of each request that does not set one itself. It goes to the origin of `base_url`
    /// alone, if there is one.
    pub bearer: Option<String>,
    /// Which HTTP is spoken. Default auto.
    pub version: Version,
    /// `http://`, `socks5://` or `socks5h://` with user and password, or empty for none. Default: what the
    /// environment's `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` say; never for loopback.
    pub proxy: Option<String>,
    /// Whom to trust and what to show.
    pub tls: ClientOptions,
    /// Name, socket, proxy and TLS together. Default 10 s.
    #[serde(deserialize_with = "duration_text::deserialize")]
    pub connect_timeout: Duration,
    /// From the call to the last byte of the response. Default none.
    #[serde(deserialize_with = "duration_text::option::deserialize")]
    pub timeout: Option<Duration>,
    /// How long nothing may move, of the request or of the response. Default 60 s.
    #[serde(deserialize_with = "duration_text::deserialize")]
    pub idle_timeout: Duration,
    /// Requests at once, until their responses are read or dropped; further ones wait. Default 1024.
    pub max_requests: usize,
    /// Of these, to one host. With HTTP/1.1 each has a connection. Default 128.
    pub max_requests_per_host: usize,
    /// Idle connections kept to one host; 0 makes a new one for each request. Default 32.
    pub max_idle_per_host: usize,
    /// How long an idle connection is kept. Default 90 s.
    #[serde(deserialize_with = "duration_text::deserialize")]
    pub keep_idle: Duration,
    /// How long the addresses of a host are kept, unless connecting to them fails. Default 30 s; 0 asks each time.
    #[serde(deserialize_with = "duration_text::deserialize")]
    pub dns_cache: Duration,
    /// Redirects followed, within http and https; one more is an error. Default 0: a redirect is the answer.
    pub redirects: usize,
    /// Whether to ask for compressed responses and to decompress them, unless a request sets `Accept-Encoding` or
    /// `Range` itself. Default yes.
    pub decompress: bool,
    /// Bytes of one response after decompression; more is `TooLarge`. Default 256 MiB.
    #[serde(deserialize_with = "plain_value::size")]
    pub max_decompressed: usize,
    /// Bytes of a collected response, and of a request that is collected for `length_only`. Default 16 MiB.
    #[serde(deserialize_with = "plain_value::size")]
    pub max_body: usize,
    /// Bytes of a response's head, at least 8 KiB. Default 64 KiB.
    #[serde(deserialize_with = "plain_value::size")]
    pub max_head: usize,
    /// Names of headers as `Content-Length`, not `content-length`, for servers that compare them wrongly (HTTP/1.1).
    pub title_case: bool,
    /// Each request has a `Content-Length`: bodies of unknown size are collected first, up to `max_body`, for servers
    /// that do not read chunks.
    pub length_only: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            base_url: None,
            headers: BTreeMap::new(),
            bearer: None,
            version: Version::default(),
            proxy: None,
            tls: ClientOptions::default(),
            connect_timeout: Duration::from_secs(10),
            timeout: None,
            idle_timeout: Duration::from_secs(60),
            max_requests: 1024,
            max_requests_per_host: 128,
            max_idle_per_host: 32,
            keep_idle: Duration::from_secs(90),
            dns_cache: Duration::from_secs(30),
            redirects: 0,
            decompress: true,
            max_decompressed: 256 << 20,
            max_body: 16 << 20,
            max_head: 64 << 10,
            title_case: false,
            length_only: false,
        }
    }
}

impl ClientConfig {
    /// The options that [`from_options`](Self::from_options) reads, besides those of `haul_tls::ClientOptions`.
    pub const OPTIONS: &[&'static str] = &[
        "headers",
        "bearer",
        "version",
        "proxy",
        "connect_timeout",
        "timeout",
        "idle_timeout",
        "max_requests",
        "max_requests_per_host",
        "max_idle_per_host",
        "keep_idle",
        "dns_cache",
        "redirects",
        "decompress",
        "max_decompressed",
        "max_body",
        "max_head",
        "title_case",
        "length_only",
    ];

    /// What `options` set, the others as by default; headers as `Name:value;Name:value`. Errors: `Config`.
    pub fn from_options(options: &Options<'_>) -> Result<Self> {
        let default = Self::default();
        let text = |name| options.text(name).map(str::to_owned);
        Ok(Self {
            base_url: None,
            headers: parse::headers(options.text("headers").unwrap_or_default())?.into_iter().collect(),
            bearer: text("bearer"),
            version: options.get("version")?.unwrap_or_default(),
            proxy: text("proxy"),
            tls: ClientOptions::from_lookup(|key| options.text(key))?,
            connect_timeout: options.duration("connect_timeout")?.unwrap_or(default.connect_timeout),
            timeout: options.duration("timeout")?,
            idle_timeout: options.duration("idle_timeout")?.unwrap_or(default.idle_timeout),
            max_requests: options.get("max_requests")?.unwrap_or(default.max_requests),
            max_requests_per_host: options
                .get("max_requests_per_host")?
                .unwrap_or(default.max_requests_per_host),
            max_idle_per_host: options.get("max_idle_per_host")?.unwrap_or(default.max_idle_per_host),
            keep_idle: options.duration("keep_idle")?.unwrap_or(default.keep_idle),
            dns_cache: options.duration("dns_cache")?.unwrap_or(default.dns_cache),
            redirects: options.get("redirects")?.unwrap_or(default.redirects),
            decompress: options.text("decompress").is_none() || options.flag("decompress")?,
            max_decompressed: options.bytes("max_decompressed")?.unwrap_or(default.max_decompressed),
            max_body: options.bytes("max_body")?.unwrap_or(default.max_body),
            max_head: options.bytes("max_head")?.unwrap_or(default.max_head),
            title_case: options.flag("title_case")?,
            length_only: options.flag("length_only")?,
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |why: &'static str| Err(Error::new(ErrorKind::Config, why));
        match self {
            Self { max_requests: 0, .. } => wrong("max_requests must be more than 0"),
            Self { max_requests_per_host: 0, .. } => wrong("max_requests_per_host must be more than 0"),
            Self { max_head: ..8192, .. } => wrong("max_head must be at least 8 KiB"),
            Self { connect_timeout: Duration::ZERO, .. } => wrong("connect_timeout must be more than 0"),
            Self { idle_timeout: Duration::ZERO, .. } => wrong("idle_timeout must be more than 0"),
            Self { timeout: Some(Duration::ZERO), .. } => wrong("timeout must be more than 0"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |url: &Option<String>| url.as_deref().map(parse::shown);
        f.debug_struct("ClientConfig")
            .field("base_url", &shown(&self.base_url))
            .field("headers", &self.headers.keys())
            .field("bearer", &self.bearer.as_ref().map(|_| "***"))
            .field("proxy", &shown(&self.proxy))
            .field("version", &self.version)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
