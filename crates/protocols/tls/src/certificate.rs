//! What a certificate says, as plain data.

use std::net::IpAddr;
use std::time::SystemTime;

use haul_core::{Error, ErrorKind, Result};
use serde::Serializer;
use x509_cert::Certificate;
use x509_cert::der::{DateTime, Decode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::Fingerprint;

/// What a certificate says about itself. Reading it proves nothing: only a handshake does.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CertificateInfo {
    /// Whom it names (RFC 4514 text, such as `CN=a.example,O=Example`); often empty today.
    pub subject: String,
    /// Who signed it (RFC 4514 text).
    pub issuer: String,
    /// The DNS names, IP addresses, URIs and mail addresses of the subject alternative name extension.
    pub names: Vec<String>,
    /// Valid from this time; RFC 3339 when serialized.
    #[serde(serialize_with = "as_rfc3339")]
    pub not_before: SystemTime,
    /// Valid up to this time; RFC 3339 when serialized.
    #[serde(serialize_with = "as_rfc3339")]
    pub not_after: SystemTime,
    /// The fingerprint to pin.
    pub sha256: Fingerprint,
}

impl CertificateInfo {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// `Tls` when it is not an X.509 certificate in strict DER.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let unreadable = |why: x509_cert::der::Error| {
            Error::new(ErrorKind::Tls, format!("read certificate {}: {why}", Fingerprint::of_der(der)))
        };
        let certificate = Certificate::from_der(der).map_err(unreadable)?;
        let facts = certificate.tbs_certificate();
        let names = facts.get_extension::<SubjectAltName>().map_err(unreadable)?;
        Ok(Self {
            subject: facts.subject().to_string(),
            issuer: facts.issuer().to_string(),
            names: names.iter().flat_map(|(_, names)| names.0.iter()).filter_map(name).collect(),
            not_before: facts.validity().not_before.to_system_time(),
            not_after: facts.validity().not_after.to_system_time(),
            sha256: Fingerprint::of_der(der),
        })
    }
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(text)
        | GeneralName::Rfc822Name(text)
        | GeneralName::UniformResourceIdentifier(text) => Some(text.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// A time as `2026-11-21T08:00:00Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    match DateTime::from_system_time(time) {
        Ok(time) => time.to_string(),
        Err(_) => "a time outside 1970 to 9999".to_owned(),
    }
}

fn as_rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}
