//! Certificates made on the spot, for development and tests.

use std::ops::Range;
use std::time::SystemTime;

use haul_core::{Error, ErrorKind, Result};
use rcgen::{CertificateParams, CertifiedKey, KeyPair};

use crate::{Fingerprint, ServerTls};

/// A certificate that vouches for itself, and its key (ECDSA P-256). Clients pin it, or take its PEM as their CA.
#[non_exhaustive]
pub struct SelfSigned {
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// The private key in PEM (PKCS#8).
    pub key_pem: String,
    /// What clients pin.
    pub fingerprint: Fingerprint,
}

impl SelfSigned {
    /// Makes one for these DNS names and IP addresses.
    ///
    /// # Errors
    /// `Config` for a name that cannot stand in a certificate, or none at all.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Result<Self> {
        Self::make(names, None)
    }

    /// As [`new`](Self::new), valid in that time alone: browsers pin only certificates that are valid for at most 14 days
    /// (WebTransport, `serverCertificateHashes`). Clocks differ: let it begin a while ago.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn valid_in<N: Into<String>>(
        names: impl IntoIterator<Item = N>,
        time: Range<SystemTime>,
    ) -> Result<Self> {
        Self::make(names, Some(time))
    }

    fn make<N: Into<String>>(
        names: impl IntoIterator<Item = N>,
        time: Option<Range<SystemTime>>,
    ) -> Result<Self> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.is_empty() {
            return Err(Error::new(
                ErrorKind::Config,
                "a self-signed certificate needs a name, such as localhost",
            ));
        }
        let asked = names.join(", ");
        let made = certificate(names, time).map_err(|why| {
            Error::new(ErrorKind::Config, format!("make a self-signed certificate for {asked}: {why}"))
        })?;
        Ok(Self {
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            fingerprint: Fingerprint::of_der(made.cert.der()),
        })
    }
}

fn certificate(
    names: Vec<String>,
    time: Option<Range<SystemTime>>,
) -> std::result::Result<CertifiedKey<KeyPair>, rcgen::Error> {
    let signing_key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    if let Some(time) = time {
        (params.not_before, params.not_after) = (time.start.into(), time.end.into());
    }
    Ok(CertifiedKey { cert: params.self_signed(&signing_key)?, signing_key })
}

impl ServerTls {
    /// A server with a new self-signed certificate; [`fingerprint`](Self::fingerprint) is what clients pin.
    ///
    /// # Errors
    /// As [`SelfSigned::new`].
    pub fn self_signed<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Result<Self> {
        let made = SelfSigned::new(names)?;
        Self::builder().identity_pem(made.certificate_pem, made.key_pem).build()
    }
}
