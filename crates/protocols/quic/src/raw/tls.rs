//! TLS as QUIC has it: haul's configurations, spoken by quinn.

use std::sync::{Arc, Mutex, PoisonError};

use haul_core::{Error, ErrorKind, Metadata, Result};
use haul_tls::{CertificateInfo, ClientOptions, ClientTls, ServerTls};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use rustls_pki_types::CertificateDer;

/// The keys of `haul_tls::ClientOptions` but for `alpn`: what is spoken is given.
pub const CLIENT_OPTIONS: [&str; 7] = ["ca", "system_roots", "pin", "cert", "key", "sni", "insecure"];

/// The keys of `haul_tls::ServerOptions` but for `alpn`.
pub const SERVER_OPTIONS: [&str; 5] = ["cert", "key", "client_ca", "allow_anonymous", "self_signed"];

/// The last configuration that was made without files: files may change between two dials. Dials that share one resume
/// their sessions.
#[derive(Clone, Default)]
pub struct TlsCache(Arc<Mutex<Option<Known>>>);

type Known = (ClientOptions, ClientTls);

impl TlsCache {
    /// quinn's form of `options`, speaking `alpn`. Errors: as `ClientOptions::build`.
    pub fn get(&self, options: &ClientOptions, alpn: &str) -> Result<Arc<QuicClientConfig>> {
        client(&self.known(options)?, alpn, false)
    }

    /// As [`get`](Self::get), for a dial that sends early data (RFC 8446 section 2.3).
    pub fn get_early(&self, options: &ClientOptions, alpn: &str) -> Result<Arc<QuicClientConfig>> {
        client(&self.known(options)?, alpn, true)
    }

    fn known(&self, options: &ClientOptions) -> Result<ClientTls> {
        if options.ca.is_some() || options.cert.is_some() || options.key.is_some() {
            return options.build();
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, tls)) = &*last
            && known == options
        {
            return Ok(tls.clone());
        }
        let tls = options.build()?;
        *last = Some((options.clone(), tls.clone()));
        Ok(tls)
    }
}

impl std::fmt::Debug for TlsCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsCache")
    }
}

fn client(tls: &ClientTls, alpn: &str, early: bool) -> Result<Arc<QuicClientConfig>> {
    let mut config = (*tls.raw()).clone();
    config.enable_early_data = early;
    config.alpn_protocols = vec![alpn.into()];
    QuicClientConfig::try_from(config).map(Arc::new).map_err(|why| unfit(&why))
}

/// quinn's form of a server's TLS, speaking `alpn`.
pub fn server(tls: &ServerTls, alpn: &str) -> Result<Arc<QuicServerConfig>> {
    server_config(tls, alpn, 0)
}

/// As [`server`], taking early data, once for each session that it remembers.
pub fn server_early(tls: &ServerTls, alpn: &str) -> Result<Arc<QuicServerConfig>> {
    // QUIC bounds it by flow control (RFC 9001 section 4.6.1).
    server_config(tls, alpn, u32::MAX)
}

fn server_config(tls: &ServerTls, alpn: &str, early: u32) -> Result<Arc<QuicServerConfig>> {
    let mut config = (*tls.raw()).clone();
    config.max_early_data_size = early;
    config.alpn_protocols = vec![alpn.into()];
    QuicServerConfig::try_from(config).map(Arc::new).map_err(|why| unfit(&why))
}

fn unfit(why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("use the TLS configuration for QUIC: {why}"))
}

/// What a handshake showed, as facts of the connection.
pub fn facts(quic: &quinn::Connection) -> Metadata {
    let shown = quic.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let (alpn, name) = shown.map_or((None, None), |shown| (shown.protocol, shown.server_name));
    let alpn = alpn.map(|alpn| String::from_utf8_lossy(&alpn).into_owned());
    let sent = quic.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let certificates: Vec<_> = sent
        .iter()
        .flat_map(|chain| chain.iter())
        .filter_map(|der| CertificateInfo::from_der(der).ok())
        .collect();
    let tls = serde_json::json!({
        "protocol_version": "TLSv1.3",
        "alpn": alpn,
        "server_name": name,
        "peer_certificates": certificates,
    });
    let mut facts = Metadata::new();
    facts.set("tls", tls.to_string());
    facts
}
