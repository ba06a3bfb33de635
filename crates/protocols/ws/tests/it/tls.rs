use haul_core::{ErrorKind, Packet};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::{dial, listen, port, soon};

/// PEM files of a certificate for `name`, valid until the end of `year`, in `folder`.
fn certificate(folder: &std::path::Path, name: &str, year: i32) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 12, 31);
    let certificate = params.self_signed(&key).unwrap();
    let (cert, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    format!("cert={}&key={}", cert.display(), key_file.display())
}

async fn refusal(certificate_name: &str, year: i32, trusted: bool) -> haul_core::Error {
    let folder = tempfile::tempdir().unwrap();
    let identity = certificate(folder.path(), certificate_name, year);
    let other = tempfile::tempdir().unwrap();
    certificate(other.path(), "elsewhere", 2099);
    let ca = if trusted { folder.path() } else { other.path() }.join("cert.pem");
    let listener = listen(&format!("wss://127.0.0.1:0?{identity}")).await;
    dial(&format!("wss://localhost:{}/#ca={}", port(&listener), ca.display())).await.unwrap_err()
}

#[tokio::test]
async fn a_certificate_with_a_wrong_name_expired_or_unknown_is_refused_in_words() {
    for (name, year, trusted, why) in [
        ("other.example", 2099, true, "other.example"),
        ("localhost", 2021, true, "expired"),
        ("localhost", 2099, false, "ca="),
    ] {
        let error = refusal(name, year, trusted).await;
        assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_pinned_certificate_is_accepted_and_its_facts_are_known() {
    let listener = listen("wss://127.0.0.1:0?self_signed=localhost").await;
    let url = format!("wss://localhost:{}/", port(&listener));
    let insecure = dial(&format!("{url}#insecure=true")).await.unwrap();
    let facts: serde_json::Value = serde_json::from_str(insecure.info().facts.get("tls").unwrap()).unwrap();
    let pin = facts["peer_certificates"][0]["sha256"].as_str().unwrap();
    let pinned = dial(&format!("{url}#pin={pin}")).await.unwrap();
    let _first = soon("the first", listener.accept()).await.unwrap().unwrap();
    let mut server = soon("the second", listener.accept()).await.unwrap().unwrap();
    pinned.send(Packet::text("hi")).await.unwrap();
    assert_eq!(soon("hi", server.recv()).await.unwrap().unwrap().as_text(), Some("hi"));
    let wrong = "00".repeat(32);
    assert_eq!(dial(&format!("{url}#pin={wrong}")).await.unwrap_err().kind(), ErrorKind::Tls);
}

#[tokio::test]
async fn plain_text_on_a_tls_port_and_tls_on_a_plain_one_are_told_apart() {
    let plain = listen("ws://127.0.0.1:0").await;
    let error = dial(&format!("wss://localhost:{}/#insecure=true", port(&plain))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    let secure = listen("wss://127.0.0.1:0?self_signed=localhost").await;
    assert!(dial(&format!("ws://localhost:{}/", port(&secure))).await.is_err());
}
