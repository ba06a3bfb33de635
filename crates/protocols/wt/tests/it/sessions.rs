use haul_core::{CloseReason, ErrorKind, Packet, Sent, Status};

use crate::{dial, listen, port, soon};

#[tokio::test]
async fn path_query_headers_and_subprotocol_are_known_to_the_server() {
    let listener = listen("/live").await;
    let url = format!(
        "wt://127.0.0.1:{}/live?room=7#insecure=true&headers=Origin:https://a.example",
        port(&listener)
    );
    let client = dial(&url).await.unwrap();
    let server = soon("the client", listener.accept()).await.unwrap().unwrap();
    let fact = |name: &str| server.info().facts.get(name).map(str::to_owned);
    assert_eq!(fact("path").as_deref(), Some("/live"));
    assert_eq!(fact("query").as_deref(), Some("room=7"));
    assert_eq!(fact("origin").as_deref(), Some("https://a.example"));
    assert_eq!(fact("subprotocol").as_deref(), Some("haul.v1"));
    assert_eq!(client.info().facts.get("subprotocol"), Some("haul.v1"));
}

#[tokio::test]
async fn another_path_is_not_found() {
    let listener = listen("/live").await;
    let error = dial(&format!("wt://127.0.0.1:{}/dead#insecure=true", port(&listener))).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::NotFound, Sent::No), "{error}");
}

#[tokio::test]
async fn a_connection_too_many_is_refused() {
    let listener = listen("?max_connections=1").await;
    let url = format!("wt://127.0.0.1:{}/#insecure=true", port(&listener));
    let _first = dial(&url).await.unwrap();
    let error = dial(&url).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Connect, Status::Transient), "{error}");
    assert_eq!(listener.stats().refused, 1);
}

#[tokio::test]
async fn the_certificate_made_on_the_spot_is_one_that_browsers_pin() {
    let listener = listen("").await;
    let client = dial(listener.local_endpoint().as_str()).await.unwrap();
    let facts: serde_json::Value = serde_json::from_str(client.info().facts.get("tls").unwrap()).unwrap();
    let certificate = &facts["peer_certificates"][0];
    let pin = certificate["sha256"].as_str().unwrap();
    assert!(listener.local_endpoint().as_str().ends_with(&format!("#pin={pin}")));
    let wrong = format!("wt://127.0.0.1:{}/#pin={}", port(&listener), "00".repeat(32));
    assert_eq!(dial(&wrong).await.unwrap_err().kind(), ErrorKind::Tls);
    let by_name = format!("wt://127.0.0.1:{}/", port(&listener));
    assert_eq!(dial(&by_name).await.unwrap_err().kind(), ErrorKind::Tls);
}

#[tokio::test]
async fn an_abort_reaches_the_peer_as_an_error_and_frees_the_listener() {
    let listener = listen("").await;
    let client = dial(listener.local_endpoint().as_str()).await.unwrap();
    let mut server = soon("the client", listener.accept()).await.unwrap().unwrap();
    client.send(Packet::text("one")).await.unwrap();
    assert_eq!(soon("one", server.recv()).await.unwrap().unwrap().as_text(), Some("one"));
    client.abort(CloseReason::new(4009, "the roof is on fire"));
    let error = soon("the abort", server.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(error.to_string().contains("4009"), "{error}");
    drop(server);
    soon("the permit", async {
        while listener.stats().open > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
