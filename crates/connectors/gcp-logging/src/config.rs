//! The configuration of the sink.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Place, Result, Template, duration_text, plain_value};
use serde::Deserialize;

/// What packets become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A `textPayload`: the text, or bytes in base64 with the label `haul.kind`.
    #[default]
    Text,
    /// A `jsonPayload`: packets that are no JSON object are refused.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("it is text or json".to_owned()),
        }
    }
}

/// The configuration of a [`GcpLoggingSink`](crate::GcpLoggingSink). Its `Debug` shows no token.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcpLoggingConfig {
    /// The project.
    pub project: String,
    /// The name of the log.
    pub log: String,
    /// The severity of an entry, such as `{level|INFO}`.
    #[serde(default = "severity")]
    pub severity: Template,
    /// The type of the monitored resource.
    #[serde(default = "resource")]
    pub resource: String,
    /// The labels of the monitored resource.
    #[serde(default)]
    pub resource_labels: Vec<(String, String)>,
    /// What packets become.
    #[serde(default, rename = "as")]
    pub format: Format,
    /// Bytes of a payload.
    #[serde(default = "max_packet", deserialize_with = "plain_value::size")]
    pub max_packet: usize,
    /// A service account's key, a JSON file. Without one and without `token`, what `GOOGLE_APPLICATION_CREDENTIALS` names, or
    /// else the account of the machine.
    #[serde(default)]
    pub credentials: Option<PathBuf>,
    /// A token that is not renewed.
    #[serde(default)]
    pub token: Option<String>,
    /// The host that knows the account of the machine.
    #[serde(default = "metadata_host")]
    pub metadata_host: String,
    /// Where Cloud Logging is.
    #[serde(default = "endpoint")]
    pub endpoint: String,
    /// That server may be spoken to in the clear though it is on another machine.
    #[serde(default)]
    pub insecure: bool,
    /// A PEM file of the CA to trust instead of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// For an answer, connecting included.
    #[serde(default = "timeout", deserialize_with = "duration_text::deserialize")]
    pub timeout: Duration,
}

fn severity() -> Template {
    Template::parse("{severity|DEFAULT}").expect("it is a template")
}

fn resource() -> String {
    "global".to_owned()
}

fn max_packet() -> usize {
    250_000
}

fn metadata_host() -> String {
    "metadata.google.internal".to_owned()
}

fn endpoint() -> String {
    "https://logging.googleapis.com".to_owned()
}

fn timeout() -> Duration {
    Duration::from_secs(30)
}

const KNOWN: &[&str] = &[
    "severity",
    "resource",
    "resource_labels",
    "as",
    "max_packet",
    "credentials",
    "metadata_host",
    "endpoint",
    "insecure",
    "ca",
    "timeout",
];

impl GcpLoggingConfig {
    /// The log of this name.
    pub fn new(project: impl Into<String>, log: impl Into<String>) -> Self {
        Self {
            project: project.into(),
            log: log.into(),
            severity: severity(),
            resource: resource(),
            resource_labels: Vec::new(),
            format: Format::default(),
            max_packet: max_packet(),
            credentials: None,
            token: None,
            metadata_host: metadata_host(),
            endpoint: endpoint(),
            insecure: false,
            ca: None,
            timeout: timeout(),
        }
    }

    /// Reads `gcp-logging://my-project/my-log?severity={level|INFO}&credentials=/etc/haul/key.json`; a password is the token.
    /// Errors: `Config`.
    pub fn from_endpoint(endpoint_: &Endpoint) -> Result<Self> {
        let options = endpoint_.options(Place::Query, KNOWN)?;
        let text = |name, or: fn() -> String| options.text(name).map_or_else(or, str::to_owned);
        let labels = options.text("resource_labels").into_iter().flat_map(|text| text.split(';')).map(label);
        let log = match endpoint_.path().trim_start_matches('/') {
            "" => {
                let why = "its path is the log, as in gcp-logging://my-project/my-log";
                return Err(Error::new(ErrorKind::Config, format!("endpoint {endpoint_}: {why}")));
            }
            log => log,
        };
        Ok(Self {
            severity: options.get("severity")?.unwrap_or_else(severity),
            resource: text("resource", resource),
            resource_labels: labels.collect::<Result<_>>()?,
            format: options.get("as")?.unwrap_or_default(),
            max_packet: options.bytes("max_packet")?.unwrap_or_else(max_packet),
            credentials: options.get("credentials")?,
            token: endpoint_.password().map(str::to_owned),
            metadata_host: text("metadata_host", metadata_host),
            endpoint: text("endpoint", endpoint),
            insecure: options.flag("insecure")?,
            ca: options.get("ca")?,
            timeout: options.duration("timeout")?.unwrap_or_else(timeout),
            ..Self::new(endpoint_.require_host()?, log)
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |why: String| {
            Err(Error::new(ErrorKind::Config, format!("gcp-logging {}/{}: {why}", self.project, self.log)))
        };
        let server = Endpoint::parse(&self.endpoint)?;
        let host = server.require_host()?;
        let loopback = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        match (self, server.scheme()) {
            (Self { timeout: Duration::ZERO, .. }, _) => wrong("timeout must be more than 0".to_owned()),
            (Self { token: Some(_), credentials: Some(_), .. }, _) => {
                wrong("token and credentials exclude one another: keep one".to_owned())
            }
            (_, "https") => Ok(()),
            (_, "http") if self.insecure || loopback => Ok(()),
            (_, "http") => wrong(format!(
                "endpoint={} would send packets and token in the clear: https, or insecure=true",
                self.endpoint
            )),
            _ => wrong(format!("endpoint={}: it begins with https:// or http://", self.endpoint)),
        }
    }
}

fn label(text: &str) -> Result<(String, String)> {
    let wrong =
        || Error::new(ErrorKind::Config, format!("resource_labels={text}: it is name:value;name:value"));
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    Ok((name.to_owned(), value.to_owned()))
}

impl fmt::Debug for GcpLoggingConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpLoggingConfig")
            .field("project", &self.project)
            .field("log", &self.log)
            .field("resource", &self.resource)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
