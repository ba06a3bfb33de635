//! Certificates and keys from PEM, with errors that name the file.

use std::path::Path;

use haul_core::{Error, ErrorKind, Result};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// PEM text and where it came from.
pub(crate) struct Pem {
    origin: String,
    text: Vec<u8>,
}

impl Pem {
    pub(crate) fn file(path: &Path, role: &str) -> Result<Self> {
        let origin = format!("{role} {}", path.display());
        let text = std::fs::read(path).map_err(|why| config(format!("read {origin}: {why}")))?;
        Ok(Self { origin, text })
    }

    pub(crate) fn bytes(text: &[u8], role: &str) -> Self {
        Self { origin: role.to_owned(), text: text.to_vec() }
    }

    /// All certificates, at least one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        let found: Vec<_> = CertificateDer::pem_slice_iter(&self.text)
            .collect::<Result<_, _>>()
            .map_err(|why| self.wrong(&why))?;
        if found.is_empty() {
            return Err(config(format!("read {}: it holds no PEM certificate", self.origin)));
        }
        Ok(found)
    }

    /// The first private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|why| match why {
            pem::Error::NoItemsFound => {
                let hint = match self.text.windows(9).any(|part| part == b"ENCRYPTED") {
                    true => "the private key is encrypted: decrypt it with `openssl pkey`",
                    false => "it holds no PEM private key",
                };
                config(format!("read {}: {hint}", self.origin))
            }
            why => self.wrong(&why),
        })
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    fn wrong(&self, why: &pem::Error) -> Error {
        config(format!("read {}: it is not PEM: {why}", self.origin))
    }
}

pub(crate) fn config(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}
