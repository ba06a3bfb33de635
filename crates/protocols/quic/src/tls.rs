//! TLS as QUIC has it: haul's configurations, spoken by quinn.

use std::sync::{Arc, Mutex, PoisonError};

use haul_core::{Error, ErrorKind, Metadata, Result};
use haul_tls::{CertificateInfo, ClientOptions, ClientTls, ServerTls};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use rustls_pki_types::CertificateDer;

use crate::ALPN;

/// The last configuration that was made without files: files may change between two dials. Dials that share one resume
/// their sessions.
#[derive(Clone, Default)]
pub(crate) struct TlsCache(Arc<Mutex<Option<Known>>>);

type Known = (ClientOptions, Arc<QuicClientConfig>);

impl TlsCache {
    pub(crate) fn get(&self, options: &ClientOptions) -> Result<Arc<QuicClientConfig>> {
        if options.ca.is_some() || options.cert.is_some() || options.key.is_some() {
            return client(&options.build()?);
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, config)) = &*last
            && known == options
        {
            return Ok(config.clone());
        }
        let config = client(&options.build()?)?;
        *last = Some((options.clone(), config.clone()));
        Ok(config)
    }
}

impl std::fmt::Debug for TlsCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsCache")
    }
}

fn client(tls: &ClientTls) -> Result<Arc<QuicClientConfig>> {
    let mut config = (*tls.raw()).clone();
    config.alpn_protocols = vec![ALPN.into()];
    QuicClientConfig::try_from(config).map(Arc::new).map_err(|why| unfit(&why))
}

pub(crate) fn server(tls: &ServerTls) -> Result<Arc<QuicServerConfig>> {
    let mut config = (*tls.raw()).clone();
    config.alpn_protocols = vec![ALPN.into()];
    QuicServerConfig::try_from(config).map(Arc::new).map_err(|why| unfit(&why))
}

fn unfit(why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("use the TLS configuration for QUIC: {why}"))
}

/// What a handshake showed, as facts of the connection.
pub(crate) fn facts(quic: &quinn::Connection) -> Metadata {
    let shown = quic.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let sent = quic.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let certificates: Vec<_> = sent
        .iter()
        .flat_map(|chain| chain.iter())
        .filter_map(|der| CertificateInfo::from_der(der).ok())
        .collect();
    let tls = serde_json::json!({
        "protocol_version": "TLSv1.3",
        "alpn": ALPN,
        "server_name": shown.and_then(|shown| shown.server_name),
        "peer_certificates": certificates,
    });
    let mut facts = Metadata::new();
    facts.set("tls", tls.to_string());
    facts
}
