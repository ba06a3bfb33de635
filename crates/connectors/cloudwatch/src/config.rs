//! The configuration of the sink.

use std::str::FromStr;

use haul_aws::Account;
use haul_core::{Endpoint, Error, ErrorKind, Place, Result, Template, plain_value};
use serde::Deserialize;

use crate::event::{LIMIT, OVERHEAD};

/// What packets become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A JSON object with `id`, `metadata` and `payload`, which is `base64` of what is no text.
    #[default]
    Envelope,
    /// The payload alone: packets without text, or with metadata, are refused.
    Payload,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "envelope" => Ok(Self::Envelope),
            "payload" => Ok(Self::Payload),
            _ => Err("it is envelope or payload".to_owned()),
        }
    }
}

/// The configuration of a [`CloudwatchSink`](crate::CloudwatchSink).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudwatchConfig {
    /// Who, and where.
    #[serde(default)]
    pub account: Account,
    /// The log group.
    pub group: String,
    /// The log stream of a packet.
    #[serde(default = "stream")]
    pub stream: Template,
    /// Groups and streams are made where they are missing.
    #[serde(default)]
    pub create: bool,
    /// What packets become.
    #[serde(default, rename = "as")]
    pub format: Format,
    /// When it happened: RFC 3339, or milliseconds since 1970. If not given, when it is delivered.
    #[serde(default)]
    pub time: Option<Template>,
    /// Bytes of a payload.
    #[serde(default = "max_packet", deserialize_with = "plain_value::size")]
    pub max_packet: usize,
    /// Streams that are written at once by a call.
    #[serde(default = "streams")]
    pub streams: usize,
}

fn stream() -> Template {
    Template::parse("haul").expect("it has no places")
}

fn max_packet() -> usize {
    LIMIT - OVERHEAD
}

fn streams() -> usize {
    8
}

impl CloudwatchConfig {
    /// The stream `haul` of this group.
    pub fn new(account: Account, group: impl Into<String>) -> Self {
        Self {
            account,
            group: group.into(),
            stream: stream(),
            create: false,
            format: Format::default(),
            time: None,
            max_packet: max_packet(),
            streams: streams(),
        }
    }

    /// Reads `cloudwatch://eu-west-1/my/group?stream={host}&create=true`; a group that begins with a slash has two. Errors:
    /// `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let known =
            [&Account::OPTIONS[..], &["stream", "create", "as", "time", "max_packet", "streams"]].concat();
        let options = endpoint.options(Place::Query, &known)?;
        Ok(Self {
            stream: options.get("stream")?.unwrap_or_else(stream),
            create: options.flag("create")?,
            format: options.get("as")?.unwrap_or_default(),
            time: options.get("time")?,
            max_packet: options.bytes("max_packet")?.unwrap_or_else(max_packet),
            streams: options.get("streams")?.unwrap_or_else(streams),
            ..Self::new(Account::from_options(endpoint, &options)?, group(endpoint)?)
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.account.check()?;
        match self {
            Self { streams: 0, .. } => {
                let why = format!("cloudwatch {}: streams must be more than 0", self.group);
                Err(Error::new(ErrorKind::Config, why))
            }
            _ => Ok(()),
        }
    }
}

fn group(endpoint: &Endpoint) -> Result<&str> {
    match endpoint.path().strip_prefix('/').unwrap_or_default() {
        "" => Err(Error::new(
            ErrorKind::Config,
            format!("endpoint {endpoint}: its path is the log group, as in cloudwatch://eu-west-1/my/group"),
        )),
        group => Ok(group),
    }
}
