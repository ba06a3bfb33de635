//! Handshakes that succeed.

use haul_tls::{CertificateInfo, ClientTls, ServerTls};
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
