//! Who is trusted: the verifiers of pins and of anyone, and the one that remembers which certificate it refused.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{CertificateInfo, Fingerprint};

/// Trusts the certificates with these fingerprints, whoever signed them and whatever name they carry, while their
/// dates hold. The handshake's signature is checked as always.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub(crate) pins: Vec<Fingerprint>,
    pub(crate) provider: Arc<CryptoProvider>,
}

/// Why a pin did not match, kept for the error message.
#[derive(Debug)]
pub(crate) struct OtherThanPinned;

impl fmt::Display for OtherThanPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate is not the pinned one")
    }
}

impl std::error::Error for OtherThanPinned {}

impl Pinned {
    fn check(&self, der: &[u8], now: UnixTime) -> Result<(), CertificateError> {
        if !self.pins.contains(&Fingerprint::of_der(der)) {
            return Err(CertificateError::Other(OtherError(Arc::new(OtherThanPinned))));
        }
        let info = CertificateInfo::from_der(der).map_err(|_| CertificateError::BadEncoding)?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        if time < info.not_before {
            return Err(CertificateError::NotValidYet);
        }
        if time > info.not_after {
            return Err(CertificateError::Expired);
        }
        Ok(())
    }
}

/// Trusts anyone who holds the key of the certificate they show.
#[derive(Debug)]
pub(crate) struct Anyone(pub(crate) Arc<CryptoProvider>);

/// Signature checks of a verifier that replaces the chain, not the proof of the key.
macro_rules! signatures_by {
    ($this:ident => $provider:expr) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let $this = self;
            let algorithms = &$provider.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let $this = self;
            let algorithms = &$provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            let $this = self;
            $provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(certificate, now)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures_by!(this => this.provider);
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures_by!(this => this.0);
}

thread_local! {
    /// The certificate refused last on this thread. A handshake is driven by polls, a verifier runs inside one, and
    /// the poll that refuses is the one that fails: `noting_refusal` clears it before and takes it right after.
    static REFUSED: RefCell<Option<CertificateInfo>> = const { RefCell::new(None) };
}

fn note_refusal(certificate: &CertificateDer<'_>) {
    REFUSED.set(CertificateInfo::from_der(certificate).ok());
}

/// Awaits a handshake; a failure comes with the certificate that was refused, if that was the cause.
pub(crate) async fn noting_refusal<T, E>(
    handshake: impl Future<Output = Result<T, E>>,
) -> Result<T, (E, Option<CertificateInfo>)> {
    let mut handshake = pin!(handshake);
    poll_fn(|context| {
        REFUSED.take();
        match handshake.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(outcome.map_err(|error| (error, REFUSED.take()))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A verifier that remembers which certificate it refused, so that the error can say what it was.
#[derive(Debug)]
pub(crate) struct Noting<V: ?Sized>(pub(crate) Arc<V>);

/// The signature checks of the verifier within.
macro_rules! signatures_of_the_inner {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.verify_tls12_signature(message, certificate, signature)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.verify_tls13_signature(message, certificate, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_verify_schemes()
        }
    };
}

impl ServerCertVerifier for Noting<dyn ServerCertVerifier> {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let answer = self.0.verify_server_cert(certificate, chain, name, ocsp, now);
        answer.inspect_err(|_| note_refusal(certificate))
    }

    signatures_of_the_inner!();
}

impl ClientCertVerifier for Noting<dyn ClientCertVerifier> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let answer = self.0.verify_client_cert(certificate, chain, now);
        answer.inspect_err(|_| note_refusal(certificate))
    }

    signatures_of_the_inner!();
}
