//! Where the cluster is, and who we are there.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Options, Result, duration_text};
use rdkafka::ClientConfig;
use serde::Deserialize;

use crate::SCHEMES;

/// The port of a broker that names none.
const PORT: u16 = 9092;

/// Where the cluster is, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `kafka://user:password@host:port`, or `kafkas://` for TLS: any broker of the cluster. With a user, it authenticates by
    /// [`sasl`](Self::sasl).
    pub url: String,
    /// Further brokers to ask first: `host:port`.
    #[serde(default)]
    pub brokers: Vec<String>,
    /// How name and password are shown.
    #[serde(default)]
    pub sasl: Sasl,
    /// A PEM file of the authorities that `kafkas` trusts instead of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A PEM file of the client's certificate and its chain; needs `cert_key`.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// A PEM file of the certificate's key.
    #[serde(default)]
    pub cert_key: Option<PathBuf>,
    /// For the cluster to answer at first, and again after it was lost.
    #[serde(default = "connect_timeout", deserialize_with = "duration_text::deserialize")]
    pub connect_timeout: Duration,
}

pub(crate) const OPTIONS: [&str; 6] = ["brokers", "sasl", "ca", "cert", "cert_key", "connect_timeout"];

fn connect_timeout() -> Duration {
    Duration::from_secs(10)
}

impl Server {
    /// The cluster of the broker at `url`, with defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            brokers: Vec::new(),
            sasl: Sasl::default(),
            ca: None,
            cert: None,
            cert_key: None,
            connect_timeout: connect_timeout(),
        }
    }

    pub(crate) fn from_options(endpoint: &Endpoint, options: &Options<'_>) -> Result<Self> {
        let brokers = options.text("brokers").map(|brokers| brokers.split(',').map(str::to_owned).collect());
        Ok(Self {
            url: endpoint.as_str().to_owned(),
            brokers: brokers.unwrap_or_default(),
            sasl: options.get("sasl")?.unwrap_or_default(),
            ca: options.get("ca")?,
            cert: options.get("cert")?,
            cert_key: options.get("cert_key")?,
            connect_timeout: options.duration("connect_timeout")?.unwrap_or_else(connect_timeout),
        })
    }

    /// What every client of it is told. Errors: `Config`; `Unsupported` for what needs the feature `tls`.
    pub(crate) fn client(&self) -> Result<ClientConfig> {
        let endpoint = Endpoint::parse(&self.url)?;
        let mut brokers = vec![address(&endpoint)?];
        for broker in &self.brokers {
            brokers.push(address(&Endpoint::parse(&format!("kafka://{broker}"))?)?);
        }
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", brokers.join(",")).set("client.id", "haul");
        client.set("reconnect.backoff.max.ms", "1000");
        let told = self.authenticates(&endpoint, &mut client).and_then(|sasl| {
            let tls = self.encrypts(&endpoint, &mut client)?;
            Ok(match (sasl, tls) {
                (false, false) => "plaintext",
                (false, true) => "ssl",
                (true, false) => "sasl_plaintext",
                (true, true) => "sasl_ssl",
            })
        });
        client.set("security.protocol", told.map_err(|why| why.while_doing(format!("kafka {endpoint}")))?);
        Ok(client)
    }

    /// Says who we are, if the URL does.
    fn authenticates(&self, endpoint: &Endpoint, client: &mut ClientConfig) -> Result<bool> {
        match (endpoint.user(), endpoint.password()) {
            (Some(user), Some(password)) if !user.is_empty() => {
                if self.sasl != Sasl::Plain {
                    needs_tls(self.sasl.as_str())?;
                }
                client.set("sasl.mechanism", self.sasl.as_str());
                client.set("sasl.username", user).set("sasl.password", password);
                Ok(true)
            }
            (None, None) if self.sasl == Sasl::Plain => Ok(false),
            (None, None) => Err(wrong("sasl needs a user and a password in the URL")),
            _ => Err(wrong("a user and a password need one another")),
        }
    }

    /// Says whom to trust, if the scheme is that of TLS.
    fn encrypts(&self, endpoint: &Endpoint, client: &mut ClientConfig) -> Result<bool> {
        let files = [
            ("ca", "ssl.ca.location", &self.ca),
            ("cert", "ssl.certificate.location", &self.cert),
            ("cert_key", "ssl.key.location", &self.cert_key),
        ];
        if endpoint.scheme() != "kafkas" {
            return match files.into_iter().find(|(_, _, file)| file.is_some()) {
                Some((option, ..)) => Err(wrong(format!("{option} is of kafkas://, which is TLS"))),
                None => Ok(false),
            };
        }
        needs_tls("kafkas://")?;
        if self.cert.is_some() != self.cert_key.is_some() {
            return Err(wrong("cert and cert_key need one another"));
        }
        for (option, setting, file) in files {
            if let Some(file) = file {
                client.set(setting, readable(option, file)?);
            }
        }
        Ok(true)
    }
}

fn wrong(why: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Config, why)
}

fn address(broker: &Endpoint) -> Result<String> {
    let host = broker.require_host()?;
    let port = broker.port().unwrap_or(PORT);
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// The client reads it when it begins, which is too late to be told of a wrong path.
fn readable<'a>(option: &str, file: &'a Path) -> Result<&'a str> {
    let failed = |why: std::io::Error| wrong(format!("{option} {}: {why}", file.display()));
    std::fs::File::open(file).map_err(failed)?;
    file.to_str().ok_or_else(|| wrong(format!("{option} {}: its name is not UTF-8", file.display())))
}

/// `what` is compiled in.
fn needs_tls(what: &str) -> Result<()> {
    if SCHEMES.contains(&"kafkas") {
        return Ok(());
    }
    let why = format!("{what} needs the feature kafka-tls of haul, or tls of haul-kafka: build with it");
    Err(Error::new(ErrorKind::Unsupported, why))
}

/// How name and password are shown to the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sasl {
    /// As they are.
    #[default]
    Plain,
    /// By proof that we know them (RFC 7677). Needs the feature `tls`, for its hashes.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// The same with the longer hash. Needs the feature `tls`.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl Sasl {
    /// As the client calls it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl FromStr for Sasl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Plain, Self::ScramSha256, Self::ScramSha512];
        let known = all.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(text));
        known.ok_or_else(|| "it is plain, scram-sha-256 or scram-sha-512".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str, change: impl FnOnce(&mut Server)) -> Error {
        let mut server = Server::new(url);
        change(&mut server);
        let why = server.client().expect_err("it should be refused");
        assert!(why.to_string().contains("kafka://") || why.to_string().contains("kafkas://"), "{why}");
        why
    }

    #[test]
    fn options_that_do_not_fit_the_url_are_refused_by_name() {
        let ca = |server: &mut Server| server.ca = Some("ca.pem".into());
        let scram = |server: &mut Server| server.sasl = Sasl::ScramSha512;
        for (why, said) in [
            (refused("kafka://host", ca), "ca is of kafkas://"),
            (refused("kafka://host", scram), "sasl needs a user"),
            (refused("kafka://only-user@host", |_| {}), "need one another"),
        ] {
            assert_eq!(why.kind(), ErrorKind::Config, "{why}");
            assert!(why.to_string().contains(said), "{why}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn files_that_cannot_be_read_are_named_before_anything_is_connected() {
        let half = |server: &mut Server| server.cert = Some("cert.pem".into());
        let missing = |server: &mut Server| server.ca = Some("/no/such/ca.pem".into());
        for (why, said) in [
            (refused("kafkas://host", half), "cert and cert_key need one another"),
            (refused("kafkas://host", missing), "ca /no/such/ca.pem: No such file"),
        ] {
            assert_eq!(why.kind(), ErrorKind::Config, "{why}");
            assert!(why.to_string().contains(said), "{why}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn what_needs_tls_names_the_feature() {
        let scram = |server: &mut Server| server.sasl = Sasl::ScramSha256;
        for why in [refused("kafkas://host", |_| {}), refused("kafka://a:b@host", scram)] {
            assert_eq!(why.kind(), ErrorKind::Unsupported, "{why}");
            assert!(why.to_string().contains("feature kafka-tls of haul"), "{why}");
        }
    }
}
