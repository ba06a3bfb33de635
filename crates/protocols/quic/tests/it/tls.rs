use std::path::Path;

use haul_core::{ErrorKind, Packet};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::{dial, listen, port, soon};

/// A CA and what it signs, as PEM files in a folder.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(Path::new(name)).display().to_string()
    }

    /// The options that show a certificate for `name`, valid until the end of `year`.
    fn issue(&self, name: &str, year: i32) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert, key_file) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        std::fs::write(&cert, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        format!("cert={cert}&key={key_file}")
    }
}

#[tokio::test]
async fn a_certificate_of_an_own_ca_is_accepted() {
    let ca = Authority::new();
    let listener = listen(&format!("?{}", ca.issue("localhost", 2099))).await;
    let url = format!("quic://localhost:{}?ca={}", port(&listener), ca.path("ca.pem"));
    let client = dial(&url).await.unwrap();
    let mut server = soon("the client", listener.accept()).await.unwrap().unwrap();
    client.send(Packet::text("hi")).await.unwrap();
    assert_eq!(soon("hi", server.recv()).await.unwrap().unwrap().as_text(), Some("hi"));
    let facts: serde_json::Value = serde_json::from_str(client.info().facts.get("tls").unwrap()).unwrap();
    assert_eq!(facts["peer_certificates"][0]["names"][0], "localhost");
    let facts: serde_json::Value = serde_json::from_str(server.info().facts.get("tls").unwrap()).unwrap();
    assert_eq!(facts["server_name"], "localhost");
}

#[tokio::test]
async fn a_certificate_with_a_wrong_name_expired_or_unknown_is_refused_in_words() {
    let (ca, other) = (Authority::new(), Authority::new());
    for (name, year, trusted, why) in [
        ("other.example", 2099, &ca, "other.example"),
        ("localhost", 2021, &ca, "expired"),
        ("localhost", 2099, &other, "`ca=`"),
    ] {
        let listener = listen(&format!("?{}", ca.issue(name, year))).await;
        let url = format!("quic://localhost:{}?ca={}", port(&listener), trusted.path("ca.pem"));
        let error = dial(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_pin_is_accepted_and_another_certificate_is_not() {
    let listener = listen("?self_signed=localhost").await;
    let insecure = dial(&format!("quic://127.0.0.1:{}?insecure=true", port(&listener))).await.unwrap();
    let facts: serde_json::Value = serde_json::from_str(insecure.info().facts.get("tls").unwrap()).unwrap();
    let pin = facts["peer_certificates"][0]["sha256"].as_str().unwrap();
    dial(&format!("quic://127.0.0.1:{}?pin={pin}", port(&listener))).await.unwrap();
    let wrong = dial(&format!("quic://127.0.0.1:{}?pin={}", port(&listener), "00".repeat(32))).await;
    let error = wrong.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(error.to_string().contains("pin"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_and_known() {
    let ca = Authority::new();
    let listener = listen(&format!("?{}&client_ca={}", ca.issue("localhost", 2099), ca.path("ca.pem"))).await;
    let url = format!("quic://localhost:{}?ca={}", port(&listener), ca.path("ca.pem"));
    let client = dial(&format!("{url}&{}", ca.issue("me.example", 2099))).await.unwrap();
    let server = soon("the client", listener.accept()).await.unwrap().unwrap();
    let facts: serde_json::Value = serde_json::from_str(server.info().facts.get("tls").unwrap()).unwrap();
    assert_eq!(facts["peer_certificates"][0]["names"][0], "me.example");
    drop(client);
    // With TLS 1.3 a client learns only after its handshake that it was refused.
    let error = match dial(&url).await {
        Err(error) => error,
        Ok(mut client) => soon("the refusal", client.recv()).await.unwrap_err(),
    };
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(error.to_string().contains("`cert=` and `key=`"), "{error}");
}
