//! The configuration.

use std::str::FromStr;

use haul_core::{Endpoint, Error, ErrorKind, Place, Result};
use serde::{Deserialize, Serialize};

/// The configuration of a [`Log`](crate::Log) sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// The target of the events.
    pub target: String,
    /// Their level.
    pub level: Severity,
    /// Whether metadata is shown.
    pub metadata: bool,
    /// How binary payloads are shown.
    pub binary: BinaryAs,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { target: "haul".to_owned(), level: Severity::Info, metadata: true, binary: BinaryAs::Base64 }
    }
}

/// The level of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// `error`
    Error,
    /// `warn`
    Warn,
    /// `info`
    Info,
    /// `debug`
    Debug,
    /// `trace`
    Trace,
}

impl FromStr for Severity {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err("it must be error, warn, info, debug or trace"),
        }
    }
}

/// How a binary payload is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BinaryAs {
    /// All of it, in base64 (RFC 4648 section 4).
    Base64,
    /// All of it, in hexadecimal.
    Hex,
    /// Only how long it is.
    Length,
}

impl FromStr for BinaryAs {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "base64" => Ok(Self::Base64),
            "hex" => Ok(Self::Hex),
            "length" => Ok(Self::Length),
            _ => Err("it must be base64, hex or length"),
        }
    }
}

impl LogConfig {
    /// Reads `log://target?level=info&metadata=true&binary=base64`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let options = endpoint.options(Place::Query, &["level", "metadata", "binary"])?;
        let default = Self::default();
        let path = endpoint.path().trim_start_matches('/');
        let target = match (endpoint.host(), path) {
            (Some(_), path) if !path.is_empty() => {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("endpoint {endpoint}: the target is either the host or the path, not both"),
                ));
            }
            (Some(host), _) => host.to_owned(),
            (None, "") => default.target,
            (None, path) => path.to_owned(),
        };
        Ok(Self {
            target,
            level: options.get("level")?.unwrap_or(default.level),
            metadata: options.text("metadata").is_none() || options.flag("metadata")?,
            binary: options.get("binary")?.unwrap_or(default.binary),
        })
    }
}
