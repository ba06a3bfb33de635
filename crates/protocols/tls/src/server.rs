//! The listening end.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use haul_core::{Error, ErrorKind, Result};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::client::{add_all, identity, misfit};
use crate::failure::{self, Side};
use crate::pem::{Pem, config};
use crate::verify::{Noting, noting_refusal};
use crate::{Fingerprint, TlsStream, provider};

/// How to accept with TLS. Cloning is cheap. Renewed files are read by building another.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

impl ServerTls {
    /// Starts with TLS 1.2 and 1.3, no client certificates and no ALPN; a certificate must be given.
    pub fn builder() -> ServerTlsBuilder {
        ServerTlsBuilder::default()
    }

    /// Shakes hands over `stream`. It has no deadline of its own: a listener sets one. Dropping the future drops the
    /// stream.
    ///
    /// # Errors
    /// `Tls`: permanent for certificates, versions, ALPN and a client without TLS, transient when the connection was
    /// lost.
    pub async fn accept<S>(&self, stream: S) -> Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let acceptor = TlsAcceptor::from(self.config.clone());
        match noting_refusal(acceptor.accept(stream)).await {
            Ok(stream) => Ok(TlsStream::new(stream.into())),
            Err((why, refused)) => {
                Err(failure::handshake(why, Side::Server, refused.as_ref())
                    .while_doing("accept a TLS handshake"))
            }
        }
    }

    /// The fingerprint of the certificate, for clients to pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The rustls configuration, for protocols with a TLS of their own, such as QUIC. Not covered by haul's
    /// promise of stability.
    pub fn raw(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// What to show and whom to let in when listening.
#[derive(Default)]
pub struct ServerTlsBuilder {
    identity: Option<(Pem, Pem)>,
    client_cas: Vec<Pem>,
    anonymous: bool,
    alpn: Vec<Vec<u8>>,
}

impl ServerTlsBuilder {
    /// The certificate to show: PEM files of the chain, own certificate first, and of the key.
    ///
    /// # Errors
    /// `Config` when a file cannot be read.
    pub fn identity_files(mut self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self> {
        let chain = Pem::file(chain.as_ref(), "certificate")?;
        self.identity = Some((chain, Pem::file(key.as_ref(), "key")?));
        Ok(self)
    }

    /// As [`identity_files`](Self::identity_files), from PEM text.
    #[must_use]
    pub fn identity_pem(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let chain = Pem::bytes(chain.as_ref(), "certificate");
        self.identity = Some((chain, Pem::bytes(key.as_ref(), "key")));
        self
    }

    /// Requires a client certificate signed by a CA of this PEM file. May be repeated.
    ///
    /// # Errors
    /// `Config` when the file cannot be read.
    pub fn client_ca_file(mut self, path: impl AsRef<Path>) -> Result<Self> {
        self.client_cas.push(Pem::file(path.as_ref(), "client CA")?);
        Ok(self)
    }

    /// As [`client_ca_file`](Self::client_ca_file), from PEM text.
    #[must_use]
    pub fn client_ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.client_cas.push(Pem::bytes(pem.as_ref(), "client CA"));
        self
    }

    /// Lets in clients without a certificate too; one that is shown must still be signed by a client CA.
    #[must_use]
    pub fn allow_anonymous_clients(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// Speaks these ALPN protocols, best first. A client that offers only others is refused; one that offers none
    /// is let in.
    #[must_use]
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(|protocol| protocol.as_ref().to_vec()).collect();
        self
    }

    /// Makes the configuration.
    ///
    /// # Errors
    /// `Config` without a certificate, for PEM that holds not what it should, a key that does not fit, or anonymous
    /// clients allowed without a client CA.
    pub fn build(self) -> Result<ServerTls> {
        let provider = provider();
        let Some((chain, key)) = &self.identity else {
            return Err(config(
                "a TLS listener needs a certificate: set `cert=` and `key=`, or `self_signed=`".into(),
            ));
        };
        let (chain, key, origin) = identity(chain, key)?;
        let fingerprint = Fingerprint::of_der(chain.first().map(AsRef::as_ref).unwrap_or_default());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|why| Error::new(ErrorKind::Internal, format!("choose TLS versions: {why}")))?;
        let builder = if self.client_cas.is_empty() {
            if self.anonymous {
                return Err(config("allowing anonymous clients needs a client CA for the others".into()));
            }
            builder.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            self.client_cas.iter().try_for_each(|ca| add_all(&mut roots, ca))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            let verifier: Arc<dyn ClientCertVerifier> =
                if self.anonymous { verifier.allow_unauthenticated() } else { verifier }
                    .build()
                    .map_err(|why| config(format!("trust the client CAs: {why}")))?;
            builder.with_client_cert_verifier(Arc::new(Noting(verifier)))
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|why| misfit(&origin, &why))?;
        config.alpn_protocols = self.alpn;
        Ok(ServerTls { config: Arc::new(config), fingerprint })
    }
}
