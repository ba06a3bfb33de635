//! Tokens: given, of a service account, of the machine.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use haul_core::{Deliver, Endpoint, ErrorKind, Packet, Sent, Status};
use haul_gcp_logging::{GcpLoggingConfig, GcpLoggingSink};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::double::{Asked, Double};
use crate::sink_with;

/// Gives the tokens `t0`, `t1` and so on, which end after so many seconds; takes entries with the last one that was given,
/// but for those in `refused`.
fn server(ends: u64, refused: &'static [usize]) -> impl Fn(&Asked) -> (u16, Value) + Send + Sync {
    let given = AtomicUsize::new(0);
    move |asked| {
        if asked.path == "/v2/entries:write" {
            let last = given.load(Ordering::Relaxed).wrapping_sub(1);
            let right = asked.shown == format!("Bearer t{last}") && !refused.contains(&last);
            return if right { (200, json!({})) } else { (401, json!({})) };
        }
        let token = format!("t{}", given.fetch_add(1, Ordering::Relaxed));
        (200, json!({ "access_token": token, "expires_in": ends, "token_type": "Bearer" }))
    }
}

fn fetched(server: &Double) -> Vec<Asked> {
    server.asked().into_iter().filter(|asked| asked.path != "/v2/entries:write").collect()
}

fn sink(port: u16, options: &str) -> GcpLoggingSink {
    let url = format!("gcp-logging://p/l?endpoint=http://127.0.0.1:{port}&{options}");
    GcpLoggingSink::new(GcpLoggingConfig::from_endpoint(&Endpoint::parse(&url).unwrap()).unwrap()).unwrap()
}

fn openssl(folder: &TempDir, words: &[&str]) -> bool {
    let mut openssl: Command = haul_services::openssl().expect("it was there");
    let done = openssl.current_dir(folder.path()).args(words).output().unwrap();
    done.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_signs_for_one_token_that_all_share() {
    if haul_services::openssl().is_none() {
        return;
    }
    let server = Double::start(server(3600, &[])).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    assert!(openssl(
        &folder,
        &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem"]
    ));
    assert!(openssl(&folder, &["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"]));
    let token_uri = format!("http://127.0.0.1:{}/token", server.port);
    let key = std::fs::read_to_string(file("key.pem")).unwrap();
    let account = json!({ "type": "service_account", "client_email": "me@p.iam", "private_key": key,
        "token_uri": token_uri });
    std::fs::write(file("account.json"), account.to_string()).unwrap();
    let sink =
        std::sync::Arc::new(sink(server.port, &format!("credentials={}", file("account.json").display())));
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let sink = sink.clone();
            tokio::spawn(async move { sink.deliver(Packet::text("x")).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let asked = fetched(&server);
    let [asked] = &asked[..] else { panic!("{asked:?}") };
    let assertion = asked.body.split_once("&assertion=").unwrap().1;
    assert!(asked.body.starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"));
    let (said, signature) = assertion.rsplit_once('.').unwrap();
    std::fs::write(file("said"), said).unwrap();
    std::fs::write(file("signature"), BASE64.decode(signature).unwrap()).unwrap();
    let verify = ["dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "said"];
    assert!(openssl(&folder, &verify), "openssl does not accept the signature");
    let claims: Value =
        serde_json::from_slice(&BASE64.decode(said.split_once('.').unwrap().1).unwrap()).unwrap();
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("me@p.iam"), &json!(token_uri)));
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/logging.write");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
}

#[tokio::test]
async fn the_machines_token_is_renewed_before_it_ends_and_once_when_it_is_refused() {
    let machine = |port: u16| sink(port, &format!("metadata_host=127.0.0.1:{port}"));
    // It ends within the minute in which it would be renewed.
    let ending = Double::start(server(59, &[])).await;
    let short = machine(ending.port);
    for times in 1..=2 {
        short.deliver(Packet::text("x")).await.unwrap();
        assert_eq!(fetched(&ending).len(), times);
    }
    let asked = &fetched(&ending)[0];
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    assert_eq!((asked.path.as_str(), asked.shown.as_str()), (path, "Google"));

    let refusing = Double::start(server(3600, &[0])).await;
    machine(refusing.port).deliver(Packet::text("x")).await.unwrap();
    assert_eq!((fetched(&refusing).len(), refusing.asked().len()), (2, 4));

    let never = Double::start(server(3600, &[0, 1, 2, 3])).await;
    let why = machine(never.port).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!((why.kind(), why.status()), (ErrorKind::Unauthorized, Status::Permanent), "{why}");
    assert_eq!((fetched(&never).len(), never.asked().len()), (2, 4));
}

#[tokio::test]
async fn a_token_that_was_given_is_not_tried_again_and_one_that_cannot_be_had_says_why() {
    let server = Double::start(|_| (401, json!({}))).await;
    let why = sink_with(server.port, "").unwrap().deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!((why.kind(), server.asked().len()), (ErrorKind::Unauthorized, 1), "{why}");
    assert!(!format!("{why:?}").contains("secret"), "{why:?}");
    for (status, kind, passing) in
        [(403, ErrorKind::Unauthorized, Status::Permanent), (503, ErrorKind::Overloaded, Status::Transient)]
    {
        let server = Double::start(move |_| (status, json!({ "error": "not you" }))).await;
        let sink = sink(server.port, &format!("metadata_host=127.0.0.1:{}", server.port));
        let why = sink.deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!((why.kind(), why.status(), why.sent()), (kind, passing, Sent::No), "{why}");
        assert!(why.to_string().contains("not you"), "{why}");
    }
}

#[tokio::test]
async fn all_who_wait_for_a_token_that_cannot_be_had_hear_of_it_together() {
    let server = Double::start(|_| (503, json!({ "error": "later" }))).await;
    let sink = Arc::new(sink(server.port, &format!("metadata_host=127.0.0.1:{}", server.port)));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let sink = sink.clone();
        calls.spawn(async move { sink.deliver(Packet::text("x")).await });
    }
    for answer in calls.join_all().await {
        let why = answer.unwrap_err();
        assert_eq!((why.kind(), why.sent()), (ErrorKind::Overloaded, Sent::No), "{why}");
    }
    assert_eq!(server.asked().len(), 1, "tries to fetch a token");
    // Who comes later tries anew.
    sink.deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_token_that_is_said_to_hold_for_ever_is_taken() {
    let server = Double::start(server(u64::MAX, &[])).await;
    let sink = sink(server.port, &format!("metadata_host=127.0.0.1:{}", server.port));
    for _ in 0..2 {
        sink.deliver(Packet::text("x")).await.unwrap();
    }
    assert_eq!(fetched(&server).len(), 1);
}
