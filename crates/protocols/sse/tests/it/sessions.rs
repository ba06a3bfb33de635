//! Haul peers: what becomes of a session.

use haul_core::{CloseReason, ErrorKind, Packet, Status};
use haul_http::{Client, ClientConfig};

use crate::relay::Relay;
use crate::{accept, ask, dial, field, listen, pair, port, soon, text_until};

fn client() -> Client {
    Client::new(ClientConfig::default()).unwrap()
}

#[tokio::test]
async fn a_session_that_the_server_cuts_is_not_come_back_to() {
    let listener = listen("sse://127.0.0.1:0").await;
    let (mut client, server) = pair(&listener, port(&listener), "").await;
    server.abort(CloseReason::INTERNAL);
    let error = soon("the cut", client.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(error.to_string().contains("the peer cut"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_sockets_are_cut_goes_on_and_loses_nothing() {
    const COUNT: u32 = 3000;
    let listener = listen("sse://127.0.0.1:0?retry=1ms&replay=16MiB").await;
    let relay = Relay::to(port(&listener)).await;
    let (client, server) = pair(&listener, relay.port, "").await;
    let (client_out, mut client_in) = client.split();
    let (server_out, mut server_in) = server.split();
    let sends = [client_out.clone(), server_out.clone()].map(|sender| {
        tokio::spawn(async move {
            for number in 0..COUNT {
                sender.send(Packet::binary(number.to_be_bytes().to_vec())).await.unwrap();
                if number % 50 == 0 {
                    sender.flush().await.unwrap();
                }
            }
            sender.flush().await.unwrap();
        })
    });
    for number in 0..COUNT {
        for receiver in [&mut client_in, &mut server_in] {
            let packet = soon("a packet", receiver.recv()).await.unwrap().unwrap();
            assert_eq!(packet.payload()[..], number.to_be_bytes());
        }
        if number % 500 == 250 {
            relay.cut();
        }
    }
    for send in sends {
        soon("the sender", send).await.unwrap();
    }
    soon("the close", client_out.close(CloseReason::NORMAL)).await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_come_back_in_time_is_given_up() {
    let listener = listen("sse://127.0.0.1:0?resume=50ms").await;
    let relay = Relay::to(port(&listener)).await;
    let (mut client, mut server) = pair(&listener, relay.port, "#reconnect=100ms").await;
    relay.close().await;
    let error = soon("the server to give up", server.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(error.to_string().contains("did not come back within 50ms"), "{error}");
    let error = soon("the client to give up", client.recv()).await.unwrap_err();
    assert_eq!(error.status(), Status::Transient, "{error}");
    assert!(error.to_string().contains("tried again for 100ms"), "{error}");
}

#[tokio::test]
async fn a_client_that_comes_back_for_events_that_are_not_kept_is_told_and_so_is_the_server() {
    let listener = listen("sse://127.0.0.1:0?replay=0").await;
    let http = client();
    let mut body =
        ask(&http, port(&listener), ("GET", "/"), &[("haul-protocol", "haul.v1")], "").await.into_body();
    let mut server = accept(&listener).await;
    server.send(Packet::text("gone")).await.unwrap();
    let text = text_until(&mut body, ".1\n").await;
    let (token, first) = (field(&text, "data").to_owned(), field(&text, "id").to_owned());
    let headers = [("haul-protocol", "haul.v1"), ("haul-session", &*token), ("last-event-id", &*first)];
    let response = ask(&http, port(&listener), ("GET", "/"), &headers, "").await;
    assert_eq!(response.status(), 410);
    let error = soon("the server's error", server.recv()).await.unwrap_err();
    assert!(error.to_string().contains("not kept any more"), "{error}");
}

#[tokio::test]
async fn a_server_that_was_started_anew_does_not_know_the_session_and_the_client_is_told() {
    let before = listen("sse://127.0.0.1:0?retry=1ms").await;
    let relay = Relay::to(port(&before)).await;
    let (mut client, _server) = pair(&before, relay.port, "").await;
    let after = listen("sse://127.0.0.1:0").await;
    relay.lead_to(port(&after));
    relay.cut();
    let error = soon("the end", client.recv()).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Closed, Status::Permanent), "{error}");
    assert!(error.to_string().contains("there is no such session"), "{error}");
}

#[tokio::test]
async fn posts_without_token_with_an_unknown_one_and_with_an_old_one_are_refused() {
    let listener = listen("sse://127.0.0.1:0").await;
    let http = client();
    assert_eq!(ask(&http, port(&listener), ("POST", "/"), &[], "x").await.status(), 401);
    assert_eq!(ask(&http, port(&listener), ("POST", "/?haul-session=no"), &[], "x").await.status(), 404);
    let mut body = ask(&http, port(&listener), ("GET", "/"), &[], "").await.into_body();
    let server = accept(&listener).await;
    let token = field(&text_until(&mut body, "\n\n").await, "data").to_owned();
    server.abort(CloseReason::NORMAL);
    soon("the session to go", async {
        while listener.stats().open > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let response = ask(&http, port(&listener), ("POST", "/"), &[("haul-session", &token)], "x").await;
    assert_eq!(response.status(), 410);
}

#[tokio::test]
async fn what_is_posted_reaches_the_session_of_its_token_alone() {
    let listener = listen("sse://127.0.0.1:0").await;
    let http = client();
    let mut ends = Vec::new();
    for _ in 0..2 {
        let mut body = ask(&http, port(&listener), ("GET", "/"), &[], "").await.into_body();
        let server = accept(&listener).await;
        let token = field(&text_until(&mut body, "\n\n").await, "data").to_owned();
        ends.push((body, server, token));
    }
    assert_ne!(ends[0].2, ends[1].2);
    for at in [1, 0] {
        let headers = [("haul-session", &*ends[at].2), ("content-type", "text/plain")];
        assert_eq!(
            ask(&http, port(&listener), ("POST", "/"), &headers, format!("for {at}")).await.status(),
            204
        );
    }
    for (at, (_, server, _)) in ends.iter_mut().enumerate() {
        let packet = soon("the packet", server.recv()).await.unwrap().unwrap();
        assert_eq!(packet.as_text(), Some(&*format!("for {at}")));
    }
}

#[tokio::test]
async fn posts_go_by_their_number_and_one_that_is_sent_twice_arrives_once() {
    let listener = listen("sse://127.0.0.1:0").await;
    let http = client();
    let mut body = ask(&http, port(&listener), ("GET", "/"), &[], "").await.into_body();
    let mut server = accept(&listener).await;
    let token = field(&text_until(&mut body, "\n\n").await, "data").to_owned();
    let post = async |number: &'static str| {
        let headers = [("haul-session", &*token), ("haul-number", number), ("content-type", "text/plain")];
        ask(&http, port(&listener), ("POST", "/"), &headers, number).await.status().as_u16()
    };
    assert_eq!([post("0").await, post("0").await, post("2").await, post("x").await], [204, 204, 409, 400]);
    assert_eq!(soon("the first", server.recv()).await.unwrap().unwrap().as_text(), Some("0"));
    assert_eq!(post("1").await, 204);
    assert_eq!(soon("the second", server.recv()).await.unwrap().unwrap().as_text(), Some("1"));
}

#[tokio::test]
async fn a_body_above_the_bound_is_refused_and_the_session_goes_on() {
    let listener = listen("sse://127.0.0.1:0?max_packet=1000").await;
    let http = client();
    let mut body = ask(&http, port(&listener), ("GET", "/"), &[], "").await.into_body();
    let mut server = accept(&listener).await;
    let token = field(&text_until(&mut body, "\n\n").await, "data").to_owned();
    let headers = [("haul-session", &*token)];
    assert_eq!(ask(&http, port(&listener), ("POST", "/"), &headers, vec![7; 1001]).await.status(), 413);
    assert_eq!(ask(&http, port(&listener), ("POST", "/"), &headers, vec![7; 300 << 10]).await.status(), 413);
    assert_eq!(ask(&http, port(&listener), ("POST", "/"), &headers, vec![0xff; 1000]).await.status(), 204);
    let packet = soon("the packet", server.recv()).await.unwrap().unwrap();
    assert_eq!(packet, Packet::binary(vec![0xff; 1000]));
}

#[tokio::test]
async fn one_session_more_than_allowed_is_answered_503_and_a_dial_says_so() {
    let listener = listen("sse://127.0.0.1:0?max_connections=1").await;
    let (_client, _server) = pair(&listener, port(&listener), "").await;
    let error = dial(&format!("sse://127.0.0.1:{}/", port(&listener))).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Overloaded, Status::Transient), "{error}");
    assert!(error.to_string().contains("too many event streams"), "{error}");
    assert!(error.retry_after().is_some());
}

#[tokio::test]
async fn a_socket_that_never_asks_is_cut_at_the_deadline_of_the_handshake() {
    use tokio::io::AsyncReadExt;
    let listener = listen("sse://127.0.0.1:0?handshake=50ms").await;
    let mut raw = tokio::net::TcpStream::connect(("127.0.0.1", port(&listener))).await.unwrap();
    let mut rest = Vec::new();
    // An answer, or a reset: it is cut either way.
    let _ = soon("the cut", raw.read_to_end(&mut rest)).await;
}
