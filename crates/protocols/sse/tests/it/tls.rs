use haul_core::Connection;
use serde_json::Value;

use crate::{accept, dial, listen, pair, port};

fn tls(end: &Connection) -> Value {
    serde_json::from_str(end.info().facts.get("tls").unwrap()).unwrap()
}

#[tokio::test]
async fn both_ends_say_what_tls_agreed_on_and_who_the_peer_is() {
    let listener = listen("sses://127.0.0.1:0?self_signed=localhost").await;
    for (options, alpn) in [("", "http/1.1"), ("&version=auto", "h2")] {
        let url = format!("sses://localhost:{}/#insecure=true{options}", port(&listener));
        let (dialed, accepted) = tokio::join!(dial(&url), accept(&listener));
        let (client, server) = (tls(&dialed.unwrap()), tls(&accepted));
        for end in [&client, &server] {
            assert_eq!(end["protocol_version"], "TLSv1.3");
            assert_eq!(end["alpn"], alpn);
        }
        assert_eq!(client["peer_certificates"][0]["names"][0], "localhost");
        assert_eq!(server["server_name"], "localhost");
        assert_eq!(server["peer_certificates"].as_array().map(Vec::len), Some(0));
    }
}

#[tokio::test]
async fn without_tls_neither_end_says_anything_of_it() {
    let listener = listen("sse://127.0.0.1:0").await;
    let (client, server) = pair(&listener, port(&listener), "").await;
    assert_eq!((client.info().facts.get("tls"), server.info().facts.get("tls")), (None, None));
}
