use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Listener, Metadata};
use haul_wt::Server;

use crate::{dial, port, soon};

fn endpoint(rest: &str) -> Endpoint {
    format!("wt://127.0.0.1:0{rest}").parse().unwrap()
}

fn url(listener: &Listener, rest: &str) -> String {
    format!("wt://127.0.0.1:{}{rest}", port(listener))
}

#[tokio::test]
async fn a_session_is_admitted_by_its_request_and_what_that_answers_are_facts() {
    let (asked, mut heard) = tokio::sync::mpsc::channel(1);
    let admit = move |request| {
        let asked = asked.clone();
        async move {
            asked.try_send(request).unwrap();
            Ok(Metadata::from_iter([("identity", "ada"), ("room", "7")]))
        }
    };
    let (_server, listener) = Server::bind(&endpoint(""), admit).unwrap();
    let headers = "headers=Origin:https://a.example;Authorization:Bearer%20t";
    let url = url(&listener, &format!("/live?room=7#insecure=true&{headers}"));
    let _client = dial(&url).await.unwrap();
    let server = soon("the client", listener.accept()).await.unwrap().unwrap();
    let request: http::request::Parts = heard.try_recv().unwrap();
    assert_eq!(request.method, "CONNECT");
    assert_eq!(request.uri, format!("https://127.0.0.1:{}/live?room=7", port(&listener)).as_str());
    assert_eq!(request.headers["origin"], "https://a.example");
    assert_eq!(request.headers["authorization"], "Bearer t");
    let fact = |name: &str| server.info().facts.get(name).map(str::to_owned);
    assert_eq!(fact("identity").as_deref(), Some("ada"));
    assert_eq!(fact("room").as_deref(), Some("7"));
    assert_eq!(fact("path").as_deref(), Some("/live"));
}

#[tokio::test]
async fn whoever_is_not_admitted_hears_why_by_the_status() {
    let admit = async |request: http::request::Parts| {
        let refuse = |kind| Error::new(kind, "not you");
        Err(match request.uri.path() {
            "/token" => refuse(ErrorKind::Unauthorized),
            "/origin" => refuse(ErrorKind::Unauthorized).with("status", 403),
            "/slow" => refuse(ErrorKind::RateLimited),
            "/agreed" => refuse(ErrorKind::Internal).with("status", 200),
            _ => refuse(ErrorKind::Overloaded),
        })
    };
    let (_server, listener) = Server::bind(&endpoint(""), admit).unwrap();
    for (path, kind, status) in [
        ("/token", ErrorKind::Unauthorized, "401"),
        ("/origin", ErrorKind::Unauthorized, "403"),
        ("/slow", ErrorKind::RateLimited, "429"),
        ("/agreed", ErrorKind::Rejected, "500"),
        ("/full", ErrorKind::Overloaded, "503"),
    ] {
        let error = dial(&url(&listener, &format!("{path}#insecure=true"))).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(status), "{error}");
    }
    soon("the count", async {
        while listener.stats().failed < 5 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(listener.stats().accepted, 0);
}

#[tokio::test]
async fn an_admission_that_takes_too_long_is_cut_with_the_handshake() {
    let (_server, listener) = Server::bind(&endpoint("?handshake=2s"), |_| std::future::pending()).unwrap();
    let error = dial(&url(&listener, "/#insecure=true")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let failure = listener.stats().last_failure.unwrap();
    assert_eq!(failure.kind(), ErrorKind::Timeout, "{failure}");
    assert!(failure.to_string().contains(&format!("{:?}", Duration::from_secs(2))), "{failure}");
}

#[tokio::test]
async fn the_hashes_of_certificates_made_on_the_spot_are_told_and_others_are_not() {
    let anyone = async |_| Ok(Metadata::new());
    let (server, listener) = Server::bind(&endpoint("?self_signed=a.example"), anyone).unwrap();
    let hashes = server.certificate_hashes();
    assert_eq!(hashes.len(), 1);
    dial(&url(&listener, &format!("/#pin={}", hashes[0]))).await.unwrap();

    let made = haul_tls::SelfSigned::new(["localhost"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("cert.pem"), &made.certificate_pem).unwrap();
    std::fs::write(path("key.pem"), &made.key_pem).unwrap();
    let own = endpoint(&format!("?cert={}&key={}", path("cert.pem"), path("key.pem")));
    let (server, listener) = Server::bind(&own, anyone).unwrap();
    assert_eq!(server.certificate_hashes(), [""; 0]);
    dial(&url(&listener, &format!("/#pin={}", made.fingerprint))).await.unwrap();
}
