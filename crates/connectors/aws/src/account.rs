//! Who we are at AWS, and the way there.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use haul_core::{Endpoint, Error, ErrorKind, Options, Result, duration_text};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::Deserialize;

/// Who we are at AWS, and the way there. What is not given comes from the environment, the files below `~/.aws` and the
/// machine's role, as with every AWS client. Its `Debug` shows no secrets.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The region: `eu-west-1`.
    #[serde(default)]
    pub region: Option<String>,
    /// The profile in `~/.aws/config`.
    #[serde(default)]
    pub profile: Option<String>,
    /// The id of an access key; needs `secret_key`.
    #[serde(default)]
    pub access_key: Option<String>,
    /// The secret of the access key.
    #[serde(default)]
    pub secret_key: Option<String>,
    /// The token of a temporary access key.
    #[serde(default)]
    pub session_token: Option<String>,
    /// Another server than AWS's own: `http://127.0.0.1:4566`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// That server may be spoken to in the clear though it is on another machine.
    #[serde(default)]
    pub insecure: bool,
    /// A PEM file of the CA to trust instead of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// For name, socket and TLS together.
    #[serde(default = "connect_timeout", deserialize_with = "duration_text::deserialize")]
    pub connect_timeout: Duration,
    /// For an answer, connecting included.
    #[serde(default = "timeout", deserialize_with = "duration_text::deserialize")]
    pub timeout: Duration,
}

fn connect_timeout() -> Duration {
    Duration::from_secs(10)
}

fn timeout() -> Duration {
    Duration::from_secs(30)
}

impl Account {
    /// The options that [`from_options`](Self::from_options) reads.
    pub const OPTIONS: [&str; 6] = ["profile", "endpoint", "insecure", "ca", "connect_timeout", "timeout"];

    /// What the environment says, in this region.
    pub fn new(region: impl Into<String>) -> Self {
        Self { region: Some(region.into()), ..Self::default() }
    }

    /// The account of an endpoint: its host is the region, user and password are the access key. Errors: `Config`.
    pub fn from_options(endpoint: &Endpoint, options: &Options<'_>) -> Result<Self> {
        Ok(Self {
            region: endpoint.host().map(str::to_owned),
            profile: options.text("profile").map(str::to_owned),
            access_key: endpoint.user().map(str::to_owned),
            secret_key: endpoint.password().map(str::to_owned),
            session_token: None,
            endpoint: options.text("endpoint").map(str::to_owned),
            insecure: options.flag("insecure")?,
            ca: options.get("ca")?,
            connect_timeout: options.duration("connect_timeout")?.unwrap_or_else(connect_timeout),
            timeout: options.duration("timeout")?.unwrap_or_else(timeout),
        })
    }

    /// Whether it can be used as it is. Errors: `Config`, also for a CA that cannot be read.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::new(ErrorKind::Config, why));
        self.roots()?;
        match self {
            Self { access_key, secret_key, .. } if access_key.is_some() != secret_key.is_some() => {
                wrong("an access key is an id and a secret: give both".to_owned())
            }
            Self { session_token: Some(_), access_key: None, .. } => {
                wrong("session_token belongs to an access key: give access_key and secret_key".to_owned())
            }
            Self { timeout: Duration::ZERO, .. } | Self { connect_timeout: Duration::ZERO, .. } => {
                wrong("timeout and connect_timeout must be more than 0".to_owned())
            }
            Self { endpoint: Some(endpoint), insecure, .. } => match Endpoint::parse(endpoint) {
                Ok(server) if server.host().is_none() => {
                    wrong(format!("endpoint={endpoint}: it has no host"))
                }
                Ok(server) if server.scheme() == "https" => Ok(()),
                Ok(server) if server.scheme() == "http" && (*insecure || is_loopback(&server)) => Ok(()),
                Ok(server) if server.scheme() == "http" => wrong(format!(
                    "endpoint={endpoint} would send packets in the clear: https, or insecure=true"
                )),
                Ok(_) => wrong(format!("endpoint={endpoint}: it begins with https:// or http://")),
                Err(why) => Err(why),
            },
            _ => Ok(()),
        }
    }

    /// What a client of the SDK is made of. It never tries again by itself: that is for whoever calls.
    ///
    /// Errors: `Config`, also if nothing names a region. Cancelled, nothing was done.
    pub async fn raw(&self) -> Result<SdkConfig> {
        let tls = TlsContext::builder().with_trust_store(self.roots()?).build();
        let tls = tls.map_err(|why| Error::new(ErrorKind::Config, why.to_string()))?;
        let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
        let timeouts = TimeoutConfig::builder().connect_timeout(self.connect_timeout);
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http.tls_context(tls).build_https())
            .timeout_config(timeouts.operation_timeout(self.timeout).build())
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let (Some(id), Some(secret)) = (&self.access_key, &self.secret_key) {
            let token = self.session_token.clone();
            loader = loader.credentials_provider(Credentials::new(id, secret, token, None, "haul"));
        }
        let config = loader.load().await;
        if config.region().is_none() {
            let why = "no region is given: name it as the host of the URL, or set AWS_REGION";
            return Err(Error::new(ErrorKind::Config, why));
        }
        let mut config = config.into_builder();
        config.set_endpoint_url(self.endpoint.clone());
        Ok(config.build())
    }

    /// The CAs to trust. The client takes for granted that they can be read.
    fn roots(&self) -> Result<TrustStore> {
        let Some(path) = &self.ca else { return Ok(TrustStore::default()) };
        let wrong =
            |why: &dyn fmt::Display| Error::new(ErrorKind::Config, format!("ca={}: {why}", path.display()));
        let pem = std::fs::read(path).map_err(|why| wrong(&why))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.map_err(|why| wrong(&why))?).map_err(|why| wrong(&why))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"there is no certificate in it"));
        }
        Ok(TrustStore::empty().with_pem_certificate(pem))
    }
}

fn is_loopback(server: &Endpoint) -> bool {
    let host = server.host().unwrap_or_default();
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Default for Account {
    fn default() -> Self {
        Self {
            region: None,
            profile: None,
            access_key: None,
            secret_key: None,
            session_token: None,
            endpoint: None,
            insecure: false,
            ca: None,
            connect_timeout: connect_timeout(),
            timeout: timeout(),
        }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("region", &self.region)
            .field("profile", &self.profile)
            .field("access_key", &self.access_key)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Account)) -> String {
        let mut account = Account::new("eu-west-1");
        change(&mut account);
        let why = account.check().expect_err("it should be refused");
        assert_eq!(why.kind(), ErrorKind::Config);
        why.to_string()
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_asked() {
        let key = |account: &mut Account| account.access_key = Some("id".into());
        let token = |account: &mut Account| account.session_token = Some("t".into());
        let never = |account: &mut Account| account.timeout = Duration::ZERO;
        let clear = |account: &mut Account| account.endpoint = Some("http://far.example".into());
        let ca = |account: &mut Account| account.ca = Some("/no/such.pem".into());
        for (said, words) in [
            (refused(key), "give both"),
            (refused(token), "session_token belongs to an access key"),
            (refused(never), "must be more than 0"),
            (refused(clear), "would send packets in the clear"),
            (refused(ca), "ca=/no/such.pem: No such file"),
        ] {
            assert!(said.contains(words), "{said}");
        }
        let near = Account { endpoint: Some("http://127.0.0.1:4566".into()), ..Account::new("eu-west-1") };
        near.check().unwrap();
    }

    #[test]
    fn a_url_names_region_and_key_and_no_secret_is_shown() {
        let endpoint = Endpoint::parse("sqs://id:hidden@eu-west-1/q?timeout=5s&insecure=true").unwrap();
        let options = endpoint.options(haul_core::Place::Query, &Account::OPTIONS).unwrap();
        let account = Account::from_options(&endpoint, &options).unwrap();
        let file =
            "region = 'eu-west-1'\naccess_key = 'id'\nsecret_key = 'hidden'\ntimeout = '5s'\ninsecure = true";
        assert_eq!(account, toml::from_str(file).unwrap());
        assert!(!format!("{account:?}").contains("hidden"));
    }

    #[tokio::test]
    async fn what_the_account_says_is_what_the_client_is_made_of() {
        let account = Account {
            access_key: Some("id".into()),
            secret_key: Some("secret".into()),
            endpoint: Some("http://127.0.0.1:4566".into()),
            ..Account::new("eu-west-1")
        };
        let made = account.raw().await.unwrap();
        assert_eq!(made.region().map(AsRef::as_ref), Some("eu-west-1"));
        assert_eq!(made.endpoint_url(), Some("http://127.0.0.1:4566"));
        assert!(made.retry_config().is_some_and(|retry| !retry.has_retry()), "{made:?}");
    }
}
