//! Who is let in, and whom we trust.

use haul_core::{Deliver, ErrorKind, Packet, Sent, Sink, Status};
use haul_tls::SelfSigned;

use crate::server::{Ferret, free_port};
use crate::support::{facts, sink};

#[tokio::test]
async fn who_is_not_let_in_is_refused_for_good() {
    let setup =
        ["--test-enable-new-auth", "--setup-database=db", "--setup-username=app", "--setup-password=secret"];
    let Some(ferret) = Ferret::start(&setup) else { return };
    let to = |who: &str| sink(&format!("mongodb://{who}127.0.0.1:{}/db?collection=c", ferret.port));
    for who in ["app:wrong@", "nobody:wrong@"] {
        let why = to(who).deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!(facts(&why), (ErrorKind::Unauthorized, Status::Permanent, Sent::No), "{who}: {why}");
        assert!(!format!("{why:?}").contains("wrong@"), "it shows the password: {why:?}");
        assert_eq!(to(who).ready().await.unwrap_err().kind(), ErrorKind::Unauthorized, "{who}");
    }
    let why = to("").deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(facts(&why), (ErrorKind::Unauthorized, Status::Permanent, Sent::No), "{why}");
    // Who is let in cannot be shown: FerretDB asks one question more than the client, which takes MongoDB at its word, answers.
}

#[tokio::test]
async fn tls_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (identity, other) =
        (SelfSigned::new(["localhost"]).unwrap(), SelfSigned::new(["localhost"]).unwrap());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (right, key) = (file("right.pem", &identity.certificate_pem), file("key.pem", &identity.key_pem));
    let wrong = file("wrong.pem", &other.certificate_pem);
    let port = free_port();
    let Some(_ferret) = Ferret::start(&[
        &format!("--listen-tls=127.0.0.1:{port}"),
        &format!("--listen-tls-cert-file={right}"),
        &format!("--listen-tls-key-file={key}"),
    ]) else {
        return;
    };
    let to = |host: &str, options: &str| {
        sink(&format!("mongodb://{host}:{port}/db?collection=c&connect_timeout=5s&tls=true{options}"))
    };
    for options in [&format!("&tlsCAFile={right}"), "&tlsAllowInvalidCertificates=true"] {
        to("localhost", options)
            .deliver(Packet::text("x"))
            .await
            .unwrap_or_else(|why| panic!("{options}: {why}"));
    }
    for (host, options) in [
        ("localhost", format!("&tlsCAFile={wrong}")),
        ("127.0.0.1", format!("&tlsCAFile={right}")),
        ("localhost", String::new()),
    ] {
        let why = to(host, &options).deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!(facts(&why), (ErrorKind::Tls, Status::Permanent, Sent::No), "{host} {options}: {why}");
    }
    let why = to("localhost", "&tlsCAFile=/nowhere").deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!((why.kind(), why.status()), (ErrorKind::Config, Status::Permanent), "{why}");
    assert!(why.to_string().contains("/nowhere"), "{why}");
}
