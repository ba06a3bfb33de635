//! Handshakes that succeed.

use haul_core::ErrorKind;
use haul_tls::{CertificateInfo, ClientOptions, ClientTls, SelfSigned, ServerOptions, ServerTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::authority::{Authority, meet, within};

#[tokio::test]
async fn both_ends_tell_what_they_agreed_on() {
    let ca = Authority::new();
    let (own, mine) = (ca.issue("localhost"), ca.issue("me.example"));
    let server = ServerTls::builder()
        .identity_pem(&own.chain, &own.key)
        .client_ca_pem(ca.pem())
        .alpn(["b", "a"])
        .build()
        .unwrap();
    let client = ClientTls::builder()
        .ca_pem(ca.pem())
        .identity_pem(&mine.chain, &mine.key)
        .alpn(["a"])
        .build()
        .unwrap();
    let (near, far) = meet(&client, &server, "localhost").await;
    let (near, far) = (near.unwrap().info(), far.unwrap().info());
    assert_eq!((near.protocol_version.as_str(), near.alpn.as_deref()), ("TLSv1.3", Some("a")));
    assert_eq!(far.server_name.as_deref(), Some("localhost"));
    assert_eq!(far.peer_certificates[0].names, ["me.example"]);
    let shown: &CertificateInfo = &near.peer_certificates[0];
    assert_eq!(
        (shown.names.as_slice(), shown.issuer.as_str()),
        (&["localhost".to_owned()][..], "CN=haul test CA")
    );
    assert_eq!(shown.sha256, server.fingerprint());
    assert!(shown.not_before < shown.not_after);
    let json = serde_json::to_value(shown).unwrap();
    assert!(json["not_after"].as_str().unwrap().ends_with('Z'), "{json}");
}

#[tokio::test]
async fn bytes_pass_both_ways_and_a_goodbye_ends_the_stream() {
    let server = ServerTls::self_signed(["localhost"]).unwrap();
    let client = ClientTls::builder().pin(server.fingerprint()).build().unwrap();
    let (near, far) = meet(&client, &server, "localhost").await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    let sent: Vec<u8> = (0..300_000_u32).map(|at| at as u8).collect();
    let mut got = Vec::new();
    within("echo", async {
        tokio::join!(
            async {
                near.write_all(&sent).await.unwrap();
                near.shutdown().await.unwrap();
            },
            async { far.read_to_end(&mut got).await.unwrap() }
        )
    })
    .await;
    assert_eq!(got, sent);
}

#[tokio::test]
async fn a_stream_cut_without_goodbye_is_an_error() {
    let server = ServerTls::self_signed(["localhost"]).unwrap();
    let client = ClientTls::builder().pin(server.fingerprint()).build().unwrap();
    let (near, far) = meet(&client, &server, "localhost").await;
    drop(far.unwrap());
    let why = within("read", near.unwrap().read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(why.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_pin_replaces_the_checks_of_chain_and_name() {
    let server = ServerTls::self_signed(["localhost"]).unwrap();
    let client = ClientTls::builder().pin(server.fingerprint()).build().unwrap();
    assert!(meet(&client, &server, "elsewhere.example").await.0.is_ok());
}

#[tokio::test]
async fn sni_replaces_the_name_that_is_dialed() {
    let ca = Authority::new();
    let client = ClientTls::builder().ca_pem(ca.pem()).sni("inner.example").build().unwrap();
    let (near, far) = meet(&client, &ca.issue("inner.example").server(), "127.0.0.1").await;
    near.unwrap();
    assert_eq!(far.unwrap().info().server_name.as_deref(), Some("inner.example"));
}

#[tokio::test]
async fn a_second_dial_from_a_clone_resumes() {
    let ca = Authority::new();
    let (client, server) = (ca.client(), ca.issue("localhost").server());
    for resumed in [false, true] {
        let (near, far) = meet(&client.clone(), &server, "localhost").await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        assert_eq!(near.info().resumed, resumed);
        // The ticket comes with the first bytes.
        far.write_all(b"x").await.unwrap();
        far.flush().await.unwrap();
        within("ticket", near.read_u8()).await.unwrap();
    }
}

#[tokio::test]
async fn insecure_accepts_anyone() {
    let server = ServerTls::self_signed(["localhost"]).unwrap();
    let client = ClientTls::builder().dangerously_accept_any_certificate().build().unwrap();
    assert!(meet(&client, &server, "elsewhere.example").await.0.is_ok());
}

#[tokio::test]
async fn options_make_both_ends() {
    let folder = tempfile::tempdir().unwrap();
    let made = SelfSigned::new(["localhost"]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, &made.certificate_pem).unwrap();
    std::fs::write(&key, &made.key_pem).unwrap();
    let text = |path: &std::path::Path| path.display().to_string();
    let server = ServerOptions::from_lookup(|name| match name {
        "cert" => Some(text(&cert)),
        "key" => Some(text(&key)),
        _ => None,
    });
    let client: ClientOptions =
        serde_json::from_value(serde_json::json!({ "ca": text(&cert), "alpn": "a, b" })).unwrap();
    let server = server.unwrap().build().unwrap();
    assert_eq!(server.fingerprint(), made.fingerprint);
    assert!(meet(&client.build().unwrap(), &server, "localhost").await.0.is_ok());
}

#[test]
fn wrong_options_are_refused() {
    let with = |key: &'static str, value: &'static str| {
        ClientOptions::from_lookup(move |name| (name == key).then_some(value)).and_then(|found| found.build())
    };
    for (key, value) in [
        ("insecure", "maybe"),
        ("pin", "beef"),
        ("cert", "only.pem"),
        ("ca", "/nowhere/ca.pem"),
        ("sni", "not a name"),
        ("alpn", "a,,b"),
    ] {
        assert_eq!(with(key, value).unwrap_err().kind(), ErrorKind::Config, "{key}");
    }
    assert!(serde_json::from_str::<ClientOptions>(r#"{"pins": "x"}"#).is_err());
    let both = ServerOptions {
        cert: Some("a".into()),
        key: Some("b".into()),
        self_signed: Some("c".into()),
        ..Default::default()
    };
    assert_eq!(both.build().unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(ServerOptions::default().build().unwrap_err().kind(), ErrorKind::Config);
}
