//! One address for all protocols.

use std::net::{TcpListener, UdpSocket};

use haul_core::{Deliver, Endpoint, ErrorKind, Level, Packet};
use haul_serve::Gateway;

use crate::support::{WEB, at, options, plain, port, registry, start, stored, within};
use crate::web::{ask, guard, guarded};

#[tokio::test]
async fn every_protocol_is_served_on_one_port_and_haul_json_says_which() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    for (number, scheme) in ["ws", "sse", "wt"].into_iter().enumerate() {
        let client = plain(&gateway, scheme, "/any/path?session=s").await;
        let receipt = within("a receipt", client.deliver(Packet::text(scheme))).await.unwrap();
        assert_eq!(
            (receipt.level, receipt.reference.as_deref()),
            (Level::Stored, Some(&*(number + 1).to_string()))
        );
    }
    assert_eq!(ask(&gateway, "POST", "/events?session=s", &[], "post").await.0, 200);
    assert_eq!(stored(&data), ["ws", "sse", "wt", "post"].map(|text| ("s".to_owned(), text.to_owned())));
    let told = ask(&gateway, "GET", "/haul.json", &[], "").await;
    assert_eq!((told.0, told.1["cache-control"].to_str().unwrap()), (200, "no-store"));
    let status = gateway.status();
    assert_eq!(told.json()["protocols"], serde_json::json!(["wt", "ws", "sse"]));
    assert_eq!(told.json()["certificateHashes"], serde_json::json!(status.listeners[0].certificate_hashes));
    assert_eq!(status.listeners[0].protocols, ["wt", "ws", "sse", "http"]);
}

#[tokio::test]
async fn what_is_switched_off_is_not_there() {
    let data = tempfile::tempdir().unwrap();
    for (url, protocols) in [
        ("http://127.0.0.1:0?wt=off", vec!["ws", "sse"]),
        ("http://127.0.0.1:0?sse=off", vec!["wt", "ws"]),
        ("http://0.0.0.0:0?plain=true&sse=off", vec!["ws"]),
    ] {
        let gateway = start(&data, &[url]).await;
        let told = ask(&gateway, "GET", "/haul.json", &[], "").await.json();
        assert_eq!(told["protocols"], serde_json::json!(protocols), "{url}");
        assert_eq!(told["certificateHashes"].as_array().unwrap().len(), usize::from(protocols[0] == "wt"));
        let sse = registry().connect(at(&gateway, "sse", port(&gateway), "/")).await;
        assert_eq!(sse.is_ok(), protocols.contains(&"sse"), "{url}: {sse:?}");
        gateway.shutdown(crate::support::SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_port_that_is_free_on_tcp_alone_is_an_error_that_says_what_to_do() {
    let data = tempfile::tempdir().unwrap();
    let taken = loop {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        if TcpListener::bind(taken.local_addr().unwrap()).is_ok() {
            break taken;
        }
    };
    let url = format!("http://{}", taken.local_addr().unwrap());
    let why = Gateway::start(options(&data, &[&url]), registry()).await.unwrap_err();
    assert_eq!(why.kind(), ErrorKind::Io);
    assert!(why.to_string().contains("UDP") && why.to_string().contains("wt=off"), "{why}");
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[&format!("{url}?wt=off")]).await;
    assert_eq!(gateway.local_endpoints()[0].port(), Some(taken.local_addr().unwrap().port()));
}

#[tokio::test]
async fn http_where_others_can_reach_it_needs_tls_or_a_word() {
    let data = tempfile::tempdir().unwrap();
    for (url, told) in [
        ("http://0.0.0.0:0", "plain=true"),
        ("http://192.0.2.1:7700", "https://"),
        ("http://gateway.example:0", "plain=true"),
        ("http://:7700", "plain=true"),
        ("http://127.0.0.1:0?plain=true&wt=on", "there is no WebTransport"),
        ("http://127.0.0.1:0?cert=a.pem&key=b.pem", "cert is for https://"),
        ("https://127.0.0.1:0?plain=true&self_signed=localhost", "plain=true is for http://"),
        ("https://127.0.0.1:0", "cert"),
        ("http://127.0.0.1:0/path", "no path"),
        ("http://127.0.0.1:0?wt=no", "on or off"),
        ("http://127.0.0.1:0?heartbaet=1s", "heartbeat"),
    ] {
        let why = Gateway::check(&options(&data, &[url]), &registry()).await.unwrap_err();
        assert_eq!(why.kind(), ErrorKind::Config, "{url}: {why}");
        assert!(why.to_string().contains(told), "{url}: {why}");
    }
    for url in ["http://localhost:0", "http://[::1]:0", "http://0.0.0.0:0?plain=true", "http://127.9.9.9:0"] {
        Gateway::check(&options(&data, &[url]), &registry())
            .await
            .unwrap_or_else(|why| panic!("{url}: {why}"));
    }
}

#[tokio::test]
async fn an_operators_certificate_is_shown_on_tcp_and_udp() {
    let data = tempfile::tempdir().unwrap();
    let made = haul_tls::SelfSigned::new(["localhost"]).unwrap();
    let path = |name: &str| data.path().join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    std::fs::write(&cert, &made.certificate_pem).unwrap();
    std::fs::write(&key, &made.key_pem).unwrap();
    let gateway = start(&data, &[&format!("https://127.0.0.1:0?cert={cert}&key={key}")]).await;
    assert!(gateway.status().listeners[0].certificate_hashes.is_empty(), "it is the operator's own");
    for scheme in ["wss", "sses", "wt"] {
        let port = port(&gateway);
        let url = format!("{scheme}://localhost:{port}/#pin={}", made.fingerprint);
        let client = within(scheme, registry().connect(Endpoint::parse(&url).unwrap())).await.unwrap();
        client.deliver(Packet::text(scheme)).await.unwrap();
        let untrusted = format!("{scheme}://localhost:{port}/");
        registry().connect(Endpoint::parse(&untrusted).unwrap()).await.unwrap_err();
    }
    assert_eq!(gateway.status().stored, 3);
}

#[tokio::test]
async fn a_certificate_that_is_made_for_https_is_told_for_webtransport() {
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &["https://127.0.0.1:0?self_signed=localhost"]).await;
    let client = plain(&gateway, "wt", "/").await;
    client.deliver(Packet::text("x")).await.unwrap();
    assert_eq!(gateway.status().listeners[0].certificate_hashes.len(), 1);
}

#[tokio::test]
async fn pages_of_foreign_origins_come_in_by_no_protocol() {
    let data = tempfile::tempdir().unwrap();
    let app = "https://app.example";
    let gateway = Gateway::start(guarded(&data, guard(&[app], &[])), registry()).await.unwrap();
    let port = port(&gateway);
    let (own, secure) = (format!("http://127.0.0.1:{port}"), format!("https://127.0.0.1:{port}"));
    for (origin, lets_in) in
        [(app, true), (&own, true), (&secure, true), ("https://evil.example", false), ("null", false)]
    {
        for scheme in ["ws", "sse", "wt"] {
            // As options want it.
            let origin = origin.replace(':', "%3A");
            let place = at(&gateway, scheme, port, &format!("/#headers=origin:{origin}"));
            let came = within("an answer", registry().connect(place)).await;
            assert_eq!(came.is_ok(), lets_in, "{origin} over {scheme}: {came:?}");
            if let Err(why) = came {
                assert_eq!(why.kind(), ErrorKind::Unauthorized, "{origin} over {scheme}: {why}");
            }
        }
        let status = ask(&gateway, "GET", "/haul.json", &[("origin", origin)], "").await.0;
        assert_eq!(status, if lets_in { 200 } else { 403 }, "{origin}");
    }
}

#[tokio::test]
async fn pages_are_served_with_their_types_tags_and_policy_and_without_a_token() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(guarded(&data, guard(&[], &["s3cret"])), registry()).await.unwrap();
    for (path, kind, part) in [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/dashboard.css", "text/css; charset=utf-8", "{"),
        ("/dashboard.js", "text/javascript; charset=utf-8", "import "),
        ("/haul.js", "text/javascript; charset=utf-8", "export "),
        ("/haul.d.ts", "text/plain; charset=utf-8", "export "),
    ] {
        let page = ask(&gateway, "GET", path, &[], "").await;
        assert_eq!((page.0, page.1["content-type"].to_str().unwrap()), (200, kind), "{path}");
        assert!(page.2.contains(part), "{path}: {}", page.2);
        assert_eq!(page.1["x-content-type-options"], "nosniff");
        let policy = page.1["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
        let tag = page.1["etag"].to_str().unwrap();
        let again = ask(&gateway, "GET", path, &[("if-none-match", tag)], "").await;
        assert_eq!((again.0, again.2.as_str()), (304, ""), "{path}");
        let changed = ask(&gateway, "GET", path, &[("if-none-match", "\"other\"")], "").await;
        assert_eq!(changed.0, 200);
        assert_eq!(ask(&gateway, "POST", path, &[], "").await.0, 405);
    }
    assert_eq!(ask(&gateway, "GET", "/haul.json", &[], "").await.0, 200);
    assert_eq!(ask(&gateway, "GET", "/events", &[], "").await.0, 401);
}
