#![doc = include_str!("../README.md")]

mod certificate;
mod client;
mod failure;
mod fingerprint;
mod options;
mod pem;
#[cfg(feature = "self-signed")]
mod self_signed;
mod server;
mod stream;
mod verify;

use std::sync::Arc;

pub use certificate::CertificateInfo;
pub use client::{ClientTls, ClientTlsBuilder};
pub use fingerprint::Fingerprint;
pub use options::{ClientOptions, ServerOptions};
#[cfg(feature = "self-signed")]
pub use self_signed::SelfSigned;
pub use server::{ServerTls, ServerTlsBuilder};
pub use stream::{TlsInfo, TlsStream};

/// The one crypto provider. It is handed to every builder: the process default is never read nor set.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
