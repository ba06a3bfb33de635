//! The dialing end.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use haul_core::{Error, ErrorKind, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::failure::{self, Side};
use crate::pem::{Pem, config};
use crate::verify::{Anyone, Noting, Pinned, noting_refusal};
use crate::{Fingerprint, TlsStream, provider};

/// How to dial with TLS. Cloning is cheap, and clones share their sessions: a second dial to a name resumes.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    sni: Option<ServerName<'static>>,
}

impl ClientTls {
    /// Starts with the system's roots, TLS 1.2 and 1.3, no client certificate and no ALPN.
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder::default()
    }

    /// Shakes hands over `stream` with the peer that is to prove `server_name`, a DNS name or an IP address (IPv6 with or
    /// without brackets). It has no deadline of its own; dropping the future drops the stream.
    ///
    /// # Errors
    /// `Config` for a name that cannot be one. `Tls`, with nothing sent: permanent for certificates, versions, ALPN
    /// and a peer without TLS, transient when the connection was lost.
    pub async fn connect<S>(&self, stream: S, server_name: &str) -> Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let name = match &self.sni {
            Some(name) => name.clone(),
            None => parse_name(server_name)?,
        };
        let connector = TlsConnector::from(self.config.clone());
        match noting_refusal(connector.connect(name, stream)).await {
            Ok(stream) => Ok(TlsStream::new(stream.into())),
            Err((why, refused)) => Err(failure::handshake(why, Side::Client, refused.as_ref())
                .while_doing(format_args!("TLS handshake with {server_name}"))),
        }
    }

    /// The rustls configuration, for protocols with a TLS of their own, such as QUIC. Not covered by haul's
    /// promise of stability.
    pub fn raw(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("sni", &self.sni).finish_non_exhaustive()
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>> {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    ServerName::try_from(bare)
        .map(|name| name.to_owned())
        .map_err(|_| config(format!("{name:?} is neither a DNS name nor an IP address")))
}

/// What to trust and to show when dialing.
#[derive(Default)]
pub struct ClientTlsBuilder {
    cas: Vec<Pem>,
    system_roots: Option<bool>,
    pins: Vec<Fingerprint>,
    identity: Option<(Pem, Pem)>,
    sni: Option<String>,
    alpn: Vec<Vec<u8>>,
    insecure: bool,
}

impl ClientTlsBuilder {
    /// Trusts the CAs of a PEM file **instead of** the system's; [`with_system_roots`](Self::with_system_roots)
    /// trusts both. May be repeated.
    ///
    /// # Errors
    /// `Config` when the file cannot be read.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Result<Self> {
        self.cas.push(Pem::file(path.as_ref(), "CA")?);
        Ok(self)
    }

    /// As [`ca_file`](Self::ca_file), from PEM text.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.cas.push(Pem::bytes(pem.as_ref(), "CA"));
        self
    }

    /// Trusts the system's roots besides the CAs given.
    #[must_use]
    pub fn with_system_roots(mut self) -> Self {
        self.system_roots = Some(true);
        self
    }

    /// Trusts the certificate with this fingerprint alone: the pin replaces the checks of chain and name. Its dates and the
    /// proof of its key are still checked. May be repeated, for a renewal.
    #[must_use]
    pub fn pin(mut self, fingerprint: Fingerprint) -> Self {
        self.pins.push(fingerprint);
        self
    }

    /// Shows a client certificate: PEM files of the chain, own certificate first, and of the key.
    ///
    /// # Errors
    /// `Config` when a file cannot be read.
    pub fn identity_files(mut self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self> {
        let chain = Pem::file(chain.as_ref(), "client certificate")?;
        self.identity = Some((chain, Pem::file(key.as_ref(), "client key")?));
        Ok(self)
    }

    /// As [`identity_files`](Self::identity_files), from PEM text.
    #[must_use]
    pub fn identity_pem(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let chain = Pem::bytes(chain.as_ref(), "client certificate");
        self.identity = Some((chain, Pem::bytes(key.as_ref(), "client key")));
        self
    }

    /// Asks for this name, and checks the certificate against it, whatever name is dialed.
    #[must_use]
    pub fn sni(mut self, name: impl Into<String>) -> Self {
        self.sni = Some(name.into());
        self
    }

    /// Offers these ALPN protocols, best first. A server without ALPN ignores them: see [`TlsInfo::alpn`](crate::TlsInfo::alpn).
    #[must_use]
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
        self
    }

    /// Accepts **any** certificate: whoever is in between reads and changes everything. For development only.
    #[must_use]
    pub fn dangerously_accept_any_certificate(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// Reads the system's roots if they are asked for, and makes the configuration.
    ///
    /// # Errors
    /// `Config` for PEM that holds not what it should, a key that does not fit, no system roots, a name that cannot be one,
    /// or two ways of trust that exclude one another.
    pub fn build(self) -> Result<ClientTls> {
        let provider = provider();
        let trust = usize::from(self.insecure)
            + usize::from(!self.pins.is_empty())
            + usize::from(!self.cas.is_empty() || self.system_roots == Some(true));
        if trust > 1 {
            return Err(config(
                "`pin`, `insecure` and `ca` or `system_roots` exclude one another: keep one".into(),
            ));
        }
        let verifier: Arc<dyn ServerCertVerifier> = if self.insecure {
            Arc::new(Anyone(provider.clone()))
        } else if !self.pins.is_empty() {
            Arc::new(Pinned { pins: self.pins, provider: provider.clone() })
        } else {
            let mut roots = RootCertStore::empty();
            for ca in &self.cas {
                add_all(&mut roots, ca)?;
            }
            if self.system_roots.unwrap_or(self.cas.is_empty()) {
                let found = rustls_native_certs::load_native_certs();
                add_system(&mut roots, found.certs, &found.errors)?;
            }
            WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
                .build()
                .map_err(|why| config(format!("trust the given CAs: {why}")))?
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|why| Error::new(ErrorKind::Internal, format!("choose TLS versions: {why}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Noting(verifier)));
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let (chain, key, origin) = identity(chain, key)?;
                builder.with_client_auth_cert(chain, key).map_err(|why| misfit(&origin, &why))?
            }
        };
        config.alpn_protocols = self.alpn;
        Ok(ClientTls { config: Arc::new(config), sni: self.sni.as_deref().map(parse_name).transpose()? })
    }
}

pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, String);

/// Chain and key, and what to call them in an error.
pub(crate) fn identity(chain: &Pem, key: &Pem) -> Result<Identity> {
    let origin = format!("{} with {}", chain.origin(), key.origin());
    Ok((chain.certificates()?, key.key()?, origin))
}

pub(crate) fn misfit(origin: &str, why: &rustls::Error) -> Error {
    config(format!("use {origin}: the key does not fit the certificate or is not supported: {why}"))
}

pub(crate) fn add_all(roots: &mut RootCertStore, ca: &Pem) -> Result<()> {
    ca.certificates()?
        .into_iter()
        .try_for_each(|der| roots.add(der).map_err(|why| config(format!("trust {}: {why}", ca.origin()))))
}

/// Adds what can be used of the system's roots: a few odd ones are usual, none at all is an error.
fn add_system(
    roots: &mut RootCertStore,
    found: Vec<CertificateDer<'static>>,
    errors: &[impl fmt::Display],
) -> Result<()> {
    let (added, _) = roots.add_parsable_certificates(found);
    if added > 0 {
        return Ok(());
    }
    let why: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
    Err(config(format!(
        "find the system's root certificates: there are none{why}: install them (package ca-certificates), name them \
         in SSL_CERT_FILE, or give `ca=` or `pin=`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_roots_is_told_what_to_install() {
        let error = add_system(&mut RootCertStore::empty(), Vec::new(), &["no such file"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        for part in ["no such file", "ca-certificates", "`ca=`"] {
            assert!(error.message().contains(part), "{error}");
        }
    }

    #[test]
    fn names_are_dns_names_and_addresses_with_or_without_brackets() {
        for name in ["a.example", "127.0.0.1", "::1", "[::1]"] {
            assert!(parse_name(name).is_ok(), "{name}");
        }
        assert_eq!(parse_name("not a name").unwrap_err().kind(), ErrorKind::Config);
    }
}
