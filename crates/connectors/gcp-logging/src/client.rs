//! HTTP requests, answered whole.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Result, Sent};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as Hyper, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};

use crate::config::GcpLoggingConfig;
use crate::failure::unanswered;

/// Bytes of an answer.
const MAX_ANSWER: usize = 1 << 20;

/// Sends requests, over connections that are kept.
pub(crate) struct Client {
    http: Hyper<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl Client {
    /// Errors: `Config` for a CA that cannot be read.
    pub(crate) fn new(config: &GcpLoggingConfig) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|why| Error::new(ErrorKind::Config, why.to_string()))?
            .with_root_certificates(roots(config.ca.as_deref())?)
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions();
        Ok(Self { http: Hyper::builder(TokioExecutor::new()).build(https.build()), timeout: config.timeout })
    }

    /// Status and body of the answer. Errors: `Connect`, `Tls`, `Timeout`, `Closed`.
    pub(crate) async fn send(&self, request: Request<String>) -> Result<(StatusCode, Bytes)> {
        let work = async {
            let answer = self.http.request(request.map(|body| Full::new(Bytes::from(body)))).await;
            let (head, body) = answer.map_err(|why| unanswered(&why))?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|why| {
                Error::new(ErrorKind::Closed, format!("read the answer {}: {why}", head.status))
            })?;
            Ok((head.status, body.to_bytes()))
        };
        let late = |_| Error::new(ErrorKind::Timeout, format!("no answer within {:?}", self.timeout));
        tokio::time::timeout(self.timeout, work).await.map_err(late)?
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        // Those that cannot be read are missed when a server shows one of them.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let wrong = |why: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Config, format!("ca={}: {why}", path.display())).with_sent(Sent::No)
    };
    let pem = std::fs::read(path).map_err(|why| wrong(&why))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|why| wrong(&why))?).map_err(|why| wrong(&why))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"there is no certificate in it"));
    }
    Ok(roots)
}
