//! TLS as it stands in endpoint URLs and configuration files.

use std::path::PathBuf;

use haul_core::Result;

use crate::pem::config;
use crate::{ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder};

/// The options of a dialing endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientOptions {
    /// A PEM file of CAs to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Whether to trust the system's roots too when `ca` is given.
    pub system_roots: bool,
    /// SHA-256 fingerprints of the certificates to trust alone, separated by commas.
    pub pin: Option<String>,
    /// A PEM file of the client certificate and its chain; needs `key`.
    pub cert: Option<PathBuf>,
    /// A PEM file of the client certificate's key.
    pub key: Option<PathBuf>,
    /// The name to ask for and to check, instead of the host that is dialed.
    pub sni: Option<String>,
    /// ALPN protocols to offer, best first, separated by commas.
    pub alpn: Option<String>,
    /// Accept any certificate. For development only.
    pub insecure: bool,
}

impl ClientOptions {
    /// The keys that [`from_lookup`](Self::from_lookup) asks for.
    pub const KEYS: [&str; 8] = ["ca", "system_roots", "pin", "cert", "key", "sni", "alpn", "insecure"];

    /// Reads each of [`KEYS`](Self::KEYS) by `lookup`; other keys are the caller's.
    ///
    /// # Errors
    /// `Config` for a flag that is neither `true` nor `false`.
    pub fn from_lookup<V: Into<String>>(mut lookup: impl FnMut(&str) -> Option<V>) -> Result<Self> {
        let mut text = |key| lookup(key).map(Into::into);
        Ok(Self {
            ca: text("ca").map(PathBuf::from),
            system_roots: flag("system_roots", text("system_roots"))?,
            pin: text("pin"),
            cert: text("cert").map(PathBuf::from),
            key: text("key").map(PathBuf::from),
            sni: text("sni"),
            alpn: text("alpn"),
            insecure: flag("insecure", text("insecure"))?,
        })
    }

    /// Reads the files and makes the configuration.
    ///
    /// # Errors
    /// As [`ClientTlsBuilder::build`]; `Config` for `cert` without `key` or the reverse, and for a bad pin.
    pub fn build(&self) -> Result<ClientTls> {
        let mut builder: ClientTlsBuilder = ClientTls::builder();
        if let Some(ca) = &self.ca {
            builder = builder.ca_file(ca)?;
        }
        if self.system_roots {
            builder = builder.with_system_roots();
        }
        if let Some(pins) = &self.pin {
            for pin in pins.split(',') {
                builder = builder.pin(pin.parse()?);
            }
        }
        if let Some((chain, key)) = pair(&self.cert, &self.key)? {
            builder = builder.identity_files(chain, key)?;
        }
        if let Some(sni) = &self.sni {
            builder = builder.sni(sni);
        }
        if let Some(alpn) = &self.alpn {
            builder = builder.alpn(list("alpn", alpn)?);
        }
        if self.insecure {
            builder = builder.dangerously_accept_any_certificate();
        }
        builder.build()
    }
}

/// The options of a listening endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerOptions {
    /// A PEM file of the certificate and its chain; needs `key`.
    pub cert: Option<PathBuf>,
    /// A PEM file of the certificate's key.
    pub key: Option<PathBuf>,
    /// A PEM file of the CAs that sign client certificates; these are then required.
    pub client_ca: Option<PathBuf>,
    /// Let in clients without a certificate although `client_ca` is given.
    pub allow_anonymous: bool,
    /// Names to make a self-signed certificate for, separated by commas, instead of `cert` and `key`.
    pub self_signed: Option<String>,
    /// ALPN protocols to speak, best first, separated by commas.
    pub alpn: Option<String>,
}

impl ServerOptions {
    /// The keys that [`from_lookup`](Self::from_lookup) asks for.
    pub const KEYS: [&str; 6] = ["cert", "key", "client_ca", "allow_anonymous", "self_signed", "alpn"];

    /// Reads each of [`KEYS`](Self::KEYS) by `lookup`; other keys are the caller's.
    ///
    /// # Errors
    /// `Config` for a flag that is neither `true` nor `false`.
    pub fn from_lookup<V: Into<String>>(mut lookup: impl FnMut(&str) -> Option<V>) -> Result<Self> {
        let mut text = |key| lookup(key).map(Into::into);
        Ok(Self {
            cert: text("cert").map(PathBuf::from),
            key: text("key").map(PathBuf::from),
            client_ca: text("client_ca").map(PathBuf::from),
            allow_anonymous: flag("allow_anonymous", text("allow_anonymous"))?,
            self_signed: text("self_signed"),
            alpn: text("alpn"),
        })
    }

    /// Reads the files and makes the configuration.
    ///
    /// # Errors
    /// As [`ServerTlsBuilder::build`]; `Config` for `cert` without `key` or the reverse, or besides `self_signed`;
    /// `Unsupported` for `self_signed` in a build without that feature.
    pub fn build(&self) -> Result<ServerTls> {
        let mut builder: ServerTlsBuilder = ServerTls::builder();
        match (pair(&self.cert, &self.key)?, &self.self_signed) {
            (Some(_), Some(_)) => {
                return Err(config("`cert` and `self_signed` exclude one another: keep one".into()));
            }
            (Some((chain, key)), None) => builder = builder.identity_files(chain, key)?,
            (None, Some(names)) => builder = self_signed(builder, &list("self_signed", names)?)?,
            (None, None) => {}
        }
        if let Some(ca) = &self.client_ca {
            builder = builder.client_ca_file(ca)?;
        }
        if self.allow_anonymous {
            builder = builder.allow_anonymous_clients();
        }
        if let Some(alpn) = &self.alpn {
            builder = builder.alpn(list("alpn", alpn)?);
        }
        builder.build()
    }
}

#[cfg(feature = "self-signed")]
fn self_signed(builder: ServerTlsBuilder, names: &[&str]) -> Result<ServerTlsBuilder> {
    let made = crate::SelfSigned::new(names.iter().copied())?;
    Ok(builder.identity_pem(made.certificate_pem, made.key_pem))
}

#[cfg(not(feature = "self-signed"))]
fn self_signed(_: ServerTlsBuilder, _: &[&str]) -> Result<ServerTlsBuilder> {
    Err(haul_core::Error::new(
        haul_core::ErrorKind::Unsupported,
        "`self_signed` needs the feature `self-signed` of haul-tls; without it give `cert=` and `key=`",
    ))
}

fn pair<'a>(
    cert: &'a Option<PathBuf>,
    key: &'a Option<PathBuf>,
) -> Result<Option<(&'a PathBuf, &'a PathBuf)>> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(config("`cert` needs `key`".into())),
        (None, Some(_)) => Err(config("`key` needs `cert`".into())),
    }
}

fn list<'a>(key: &str, text: &'a str) -> Result<Vec<&'a str>> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    match parts.iter().any(|part| part.is_empty()) {
        true => Err(config(format!("`{key}={text}` has an empty part: give names separated by commas"))),
        false => Ok(parts),
    }
}

fn flag(key: &str, text: Option<String>) -> Result<bool> {
    match text.as_deref() {
        None | Some("false" | "0") => Ok(false),
        Some("" | "true" | "1") => Ok(true),
        Some(other) => Err(config(format!("`{key}={other}`: it must be true or false"))),
    }
}
