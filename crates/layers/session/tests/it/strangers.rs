//! Peers without sessions.

use haul_core::{Connection, Dial, ErrorKind, Packet};
use haul_session::AcceptorOptions;

use crate::{Net, endpoint, soon};

#[tokio::test]
async fn a_server_without_sessions_is_unsupported_and_its_application_sees_nothing() {
    let net = Net::new(AcceptorOptions::default());
    let plain = net.mem.listen(endpoint("mem://plain")).unwrap();
    let dialing = tokio::spawn({
        let dialer = net.dialer();
        async move { dialer.dial(endpoint("mem://plain")).await }
    });
    let mut server = soon("the link", plain.accept()).await.unwrap().unwrap();
    let received = tokio::spawn(async move { server.recv().await });
    let error = soon("the dial to fail", dialing).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("session::Acceptor"), "it does not say what to do: {error}");
    let received = soon("the end", received).await.unwrap();
    assert!(!matches!(received, Ok(Some(_))), "the application received {received:?}");
}

#[tokio::test]
async fn a_client_without_sessions_is_closed_with_the_reason() {
    let net = Net::new(AcceptorOptions::default());
    let mut client: Connection = net.mem.dial(endpoint("mem://server")).await.unwrap();
    client.send(Packet::text("hi")).await.unwrap();
    let error = soon("the refusal", client.recv()).await.unwrap_err();
    assert_eq!(crate::fact(&error, "code"), Some("1002"), "{error}");
    assert!(error.to_string().contains("session layer"), "it does not say what to do: {error}");
    soon("the failure to be counted", async {
        while net.listener.stats().failed == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
