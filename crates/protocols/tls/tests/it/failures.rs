//! Handshakes that fail, and what is said about it.

use haul_core::{Error, ErrorKind, Sent, Status};
use haul_tls::{ClientTls, ServerTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::authority::{Authority, meet, sockets, within};

fn says(error: &Error, status: Status, parts: &[&str]) {
    assert_eq!((error.kind(), error.status(), error.sent()), (ErrorKind::Tls, status, Sent::No), "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

#[tokio::test]
async fn a_wrong_name_lists_the_names_of_the_certificate() {
    let ca = Authority::new();
    let (near, far) = meet(&ca.client(), &ca.issue("right.example").server(), "wrong.example").await;
    says(&near.unwrap_err(), Status::Permanent, &["wrong.example", "it is for right.example", "`sni=`"]);
    says(&far.unwrap_err(), Status::Permanent, &["the peer refused this end's certificate"]);
}

#[tokio::test]
async fn an_expired_certificate_says_since_when_even_if_pinned() {
    let ca = Authority::new();
    let server = ca.issue_valid("localhost", -9, -3).server();
    let pinned = ClientTls::builder().pin(server.fingerprint()).build().unwrap();
    for client in [ca.client(), pinned] {
        let (near, _) = meet(&client, &server, "localhost").await;
        says(&near.unwrap_err(), Status::Permanent, &["certificate expired 3 days ago (20"]);
    }
}

#[tokio::test]
async fn a_certificate_of_tomorrow_says_from_when() {
    let ca = Authority::new();
    let (near, _) = meet(&ca.client(), &ca.issue_valid("localhost", 3, 9).server(), "localhost").await;
    says(&near.unwrap_err(), Status::Permanent, &["not valid before 20", "clock"]);
}

#[tokio::test]
async fn an_unknown_issuer_says_how_to_trust_it() {
    let server = Authority::named("a stranger").issue("localhost").server();
    let (near, far) = meet(&Authority::new().client(), &server, "localhost").await;
    let pin = format!("`pin={}`", server.fingerprint());
    says(&near.unwrap_err(), Status::Permanent, &["unknown issuer (CN=a stranger)", "`ca=`", &pin]);
    says(&far.unwrap_err(), Status::Permanent, &["unknown_ca"]);
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_is_refused() {
    let [one, two] = [(); 2].map(|()| ServerTls::self_signed(["localhost"]).unwrap());
    let client = ClientTls::builder().pin(one.fingerprint()).build().unwrap();
    let (near, _) = meet(&client, &two, "localhost").await;
    let has = two.fingerprint().to_string();
    says(&near.unwrap_err(), Status::Permanent, &["not the pinned one", &has]);
}

#[tokio::test]
async fn a_missing_client_certificate_is_told_to_both_ends() {
    let ca = Authority::new();
    let own = ca.issue("localhost");
    let server =
        ServerTls::builder().identity_pem(&own.chain, &own.key).client_ca_pem(ca.pem()).build().unwrap();
    let (near, far) = meet(&ca.client(), &server, "localhost").await;
    says(&far.unwrap_err(), Status::Permanent, &["the client sent no certificate"]);
    let why = within("refusal", near.unwrap().read_u8()).await.unwrap_err();
    let why = Error::from(why);
    assert_eq!((why.kind(), why.status()), (ErrorKind::Tls, Status::Permanent), "{why}");
    assert!(why.message().contains("set `cert=` and `key=`"), "{why}");
}

#[tokio::test]
async fn a_client_certificate_of_a_stranger_is_refused() {
    let (ca, stranger) = (Authority::new(), Authority::new());
    let (own, other) = (ca.issue("localhost"), stranger.issue("me.example"));
    let server = ServerTls::builder()
        .identity_pem(&own.chain, &own.key)
        .client_ca_pem(ca.pem())
        .allow_anonymous_clients()
        .build()
        .unwrap();
    let client =
        ClientTls::builder().ca_pem(ca.pem()).identity_pem(&other.chain, &other.key).build().unwrap();
    assert!(meet(&ca.client(), &server, "localhost").await.1.is_ok());
    // rustls shows a certificate only to servers that name its issuer; both CAs carry the same name.
    let (_, far) = meet(&client, &server, "localhost").await;
    says(
        &far.unwrap_err(),
        Status::Permanent,
        &["client certificate names a trusted CA but was signed by another key"],
    );
}

#[tokio::test]
async fn no_alpn_in_common_is_told_to_both_ends() {
    let ca = Authority::new();
    let own = ca.issue("localhost");
    let server = ServerTls::builder().identity_pem(&own.chain, &own.key).alpn(["a"]).build().unwrap();
    let client = ClientTls::builder().ca_pem(ca.pem()).alpn(["b"]).build().unwrap();
    let (near, far) = meet(&client, &server, "localhost").await;
    says(&near.unwrap_err(), Status::Permanent, &["none of the ALPN protocols", "`alpn=`"]);
    says(&far.unwrap_err(), Status::Permanent, &["no ALPN protocol"]);
}

#[tokio::test]
async fn plain_text_is_recognised_by_both_ends() {
    let (near, mut far) = sockets().await;
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let error = within("client", Authority::new().client().connect(near, "localhost")).await.unwrap_err();
    says(&error, Status::Permanent, &["does not speak TLS on this port", "localhost"]);

    let (mut near, far) = sockets().await;
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let server = ServerTls::self_signed(["localhost"]).unwrap();
    let error = within("server", server.accept(far)).await.unwrap_err();
    says(&error, Status::Permanent, &["does not speak TLS on this port"]);
}

#[tokio::test]
async fn a_peer_that_closes_or_resets_during_the_handshake_is_worth_another_try() {
    // A socket that is closed with bytes left unread resets the connection.
    for (taken, part) in
        [(16 << 10, "closed during the TLS handshake"), (1, "failed during the TLS handshake")]
    {
        let (near, mut far) = sockets().await;
        let client = Authority::new().client();
        let close = async {
            let mut greeting = vec![0; taken];
            assert_ne!(far.read(&mut greeting).await.unwrap(), 0);
            drop(far);
        };
        let (outcome, ()) =
            within("client", async { tokio::join!(client.connect(near, "localhost"), close) }).await;
        says(&outcome.unwrap_err(), Status::Transient, &[part]);
    }
}
