//! Servers that know no haul, and broken ones.

use haul_core::{CloseReason, Endpoint, ErrorKind, Packet, Sent, Status, Subscribe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::{dial, soon};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n";

/// Answers each request with the next of `answers`, and closes; the last one is not closed if it ends with `HOLD`. What
/// was asked comes out.
async fn server(answers: Vec<String>) -> (u16, mpsc::Receiver<String>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let (asked, heads) = mpsc::channel(128);
    tokio::spawn(async move {
        let mut held = Vec::new();
        for answer in answers {
            let (mut tcp, _) = socket.accept().await.unwrap();
            asked.send(head(&mut tcp).await).await.unwrap();
            tcp.write_all(answer.trim_end_matches(HOLD).as_bytes()).await.unwrap();
            match answer.ends_with(HOLD) {
                true => held.push(tcp),
                false => tcp.shutdown().await.unwrap(),
            }
        }
        std::future::pending::<()>().await;
        drop(held);
    });
    (port, heads)
}

const HOLD: &str = "<hold>";

async fn head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn event(text: &str) -> Option<Packet> {
    Some(Packet::text(text))
}

#[tokio::test]
async fn events_become_packets_with_their_names_and_ids_and_comments_do_not() {
    let stream = ": hello\nid: 1\nevent: add\ndata: a\ndata: b\n\ndata: c\n\nid\ndata: d\n\nevent: no\n\n";
    let (port, mut heads) = server(vec![format!("{HEAD}\u{feff}{stream}")]).await;
    let mut client = dial(&format!("sse://me:pw@127.0.0.1:{port}/live?token=7#headers=x-a:1")).await.unwrap();
    assert_eq!((client.info().protocol, client.info().framing), ("sse", "events"));
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("GET /live?token=7 HTTP/1.1\r\n"), "{head}");
    for line in ["accept: text/event-stream", "x-a: 1", "authorization: Basic", "haul-protocol: haul.v1"] {
        assert!(head.contains(line), "no {line} in {head}");
    }
    assert!(!head.contains("last-event-id"), "{head}");
    let first = Packet::text("a\nb").with("event", "add").with("id", "1");
    assert_eq!(soon("an event", client.recv()).await.unwrap(), Some(first));
    assert_eq!(soon("an event", client.recv()).await.unwrap(), Some(Packet::text("c").with("id", "1")));
    assert_eq!(soon("an event", client.recv()).await.unwrap(), event("d"));
    assert_eq!(soon("the end", client.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn only_events_of_the_wanted_names_are_received() {
    let stream = "event: a\ndata: 1\n\ndata: 2\n\nevent: b\ndata: 3\n\nevent: c\ndata: 4\n\n";
    let (port, mut heads) = server(vec![format!("{HEAD}{stream}"), format!("{HEAD}{stream}")]).await;
    let mut client = dial(&format!("sse://127.0.0.1:{port}/#event=a,message")).await.unwrap();
    assert_eq!(soon("an event", client.recv()).await.unwrap().unwrap().as_text(), Some("1"));
    assert_eq!(soon("an event", client.recv()).await.unwrap().unwrap().as_text(), Some("2"));
    assert_eq!(soon("the end", client.recv()).await.unwrap(), None);
    let endpoint = Endpoint::parse(&format!("sse://127.0.0.1:{port}/")).unwrap();
    let feed = haul_sse::Subscriber::new(haul_sse::Dialer::default(), endpoint);
    let wanted = haul_core::Subscription::new("c").with_params(Packet::text("41"));
    let mut events = soon("the subscription", feed.subscribe(wanted)).await.unwrap();
    assert_eq!(soon("an event", events.recv()).await.unwrap().unwrap().as_text(), Some("4"));
    heads.recv().await.unwrap();
    assert!(heads.recv().await.unwrap().contains("last-event-id: 41\r\n"));
}

#[tokio::test]
async fn sending_to_a_server_that_knows_no_haul_says_what_to_do() {
    let (port, _heads) = server(vec![format!("{HEAD}{HOLD}")]).await;
    let client = dial(&format!("sse://127.0.0.1:{port}/")).await.unwrap();
    let error = client.send(Packet::text("hi")).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Unsupported, Sent::No));
    assert!(error.to_string().contains("send by http://"), "{error}");
    soon("the close", client.close(CloseReason::NORMAL)).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_cut_inside_an_event_gives_what_was_whole_and_an_error() {
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (port, _heads) = server(vec![format!("{chunked}17\r\ndata: whole\n\ndata: half\r\n")]).await;
    let mut client = dial(&format!("sse://127.0.0.1:{port}/")).await.unwrap();
    assert_eq!(soon("the event", client.recv()).await.unwrap(), event("whole"));
    let error = soon("the cut", client.recv()).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Closed, Status::Transient), "{error}");
}

#[tokio::test]
async fn a_stream_is_come_back_to_with_the_last_id_and_the_servers_wait() {
    let first = format!("{HEAD}retry: 1\nid: 1\ndata: a\n\nid: 2\n\ndata: half\n");
    let (port, mut heads) = server(vec![first, format!("{HEAD}data: b\n\n{HOLD}")]).await;
    let mut client = dial(&format!("sse://127.0.0.1:{port}/#reconnect=10s&last_event_id=0")).await.unwrap();
    assert_eq!(soon("an event", client.recv()).await.unwrap(), Some(Packet::text("a").with("id", "1")));
    assert_eq!(soon("an event", client.recv()).await.unwrap(), Some(Packet::text("b").with("id", "2")));
    assert!(heads.recv().await.unwrap().contains("last-event-id: 0\r\n"));
    assert!(heads.recv().await.unwrap().contains("last-event-id: 2\r\n"));
    assert_eq!(client.state().name(), "connected");
}

#[tokio::test]
async fn a_stream_that_ends_again_and_again_without_a_word_is_given_up() {
    let (port, _heads) = server(vec![format!("{HEAD}retry: 1\n"); 100]).await;
    let mut client = dial(&format!("sse://127.0.0.1:{port}/#reconnect=300ms&last_event_id=1")).await.unwrap();
    let error = soon("the end", client.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(error.to_string().contains("tried again for 300ms"), "{error}");
}

#[tokio::test]
async fn a_stream_without_ids_that_is_come_back_to_has_a_gap() {
    let answers = vec![format!("{HEAD}retry: 1\ndata: a\n\n"), format!("{HEAD}data: b\n\n{HOLD}")];
    let (port, _heads) = server(answers).await;
    let mut client = dial(&format!("sse://127.0.0.1:{port}/#reconnect=10s")).await.unwrap();
    assert_eq!(soon("an event", client.recv()).await.unwrap(), event("a"));
    assert_eq!(soon("the gap", client.recv()).await.unwrap_err().kind(), ErrorKind::Gap);
    assert_eq!(soon("an event", client.recv()).await.unwrap(), event("b"));
}

#[tokio::test]
async fn a_server_that_says_not_to_come_back_is_heeded() {
    let gone = "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
    let (port, _heads) = server(vec![gone.clone(), format!("{HEAD}retry: 1\nid: 1\n\n"), gone]).await;
    let error = dial(&format!("sse://127.0.0.1:{port}/")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.status(), error.sent()),
        (ErrorKind::NotFound, Status::Permanent, Sent::No)
    );
    let mut client = dial(&format!("sse://127.0.0.1:{port}/#reconnect=10s")).await.unwrap();
    let error = soon("the end", client.recv()).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Closed, Status::Permanent), "{error}");
}

#[tokio::test]
async fn answers_that_are_no_event_stream_are_told_as_they_are() {
    let says = |status: &str, kind: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: 9\r\n\r\nwhat else")
    };
    for (answer, kind, status) in [
        (says("200 OK", "text/html"), ErrorKind::Protocol, Status::Permanent),
        (says("401 Unauthorized", "text/plain"), ErrorKind::Unauthorized, Status::Permanent),
        (says("404 Not Found", "text/plain"), ErrorKind::NotFound, Status::Permanent),
        (says("503 Service Unavailable", "text/plain"), ErrorKind::Overloaded, Status::Transient),
        (says("302 Found\r\nLocation: /x", "text/plain"), ErrorKind::Rejected, Status::Permanent),
    ] {
        let (port, _heads) = server(vec![answer.clone()]).await;
        let error = dial(&format!("sse://127.0.0.1:{port}/")).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (kind, status), "{error}");
        assert!(error.to_string().contains("what else"), "{error}");
        assert_eq!(error.sent(), Sent::No, "{error}");
    }
}

#[tokio::test]
async fn redirects_are_followed_where_that_is_asked_for() {
    let moved = "HTTP/1.1 307 Temporary Redirect\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n".to_owned();
    let (port, mut heads) = server(vec![moved, format!("{HEAD}data: a\n\n")]).await;
    let mut client = dial(&format!("sse://127.0.0.1:{port}/#redirects=1")).await.unwrap();
    assert_eq!(soon("an event", client.recv()).await.unwrap(), event("a"));
    heads.recv().await.unwrap();
    assert!(heads.recv().await.unwrap().starts_with("GET /there "));
}

#[tokio::test]
async fn a_server_that_never_answers_and_one_that_falls_silent_are_given_up() {
    let (port, _heads) = server(vec![HOLD.to_owned(), format!("{HEAD}data: a\n\n{HOLD}")]).await;
    let error = dial(&format!("sse://127.0.0.1:{port}/#timeout=50ms")).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::No), "{error}");
    let mut client = dial(&format!("sse://127.0.0.1:{port}/#idle=500ms")).await.unwrap();
    assert_eq!(soon("an event", client.recv()).await.unwrap(), event("a"));
    assert_eq!(soon("the end", client.recv()).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn comments_keep_a_silent_stream_alive() {
    let listener = crate::listen("sse://127.0.0.1:0?heartbeat=20ms").await;
    let (mut client, server) = crate::pair(&listener, crate::port(&listener), "#idle=1s").await;
    let none = tokio::time::timeout(std::time::Duration::from_millis(2500), client.recv()).await;
    assert!(none.is_err(), "a stream with comments was taken for dead: {none:?}");
    server.send(Packet::text("hi")).await.unwrap();
    assert_eq!(soon("the packet", client.recv()).await.unwrap(), event("hi"));
}

#[tokio::test]
async fn what_is_too_large_or_no_text_ends_the_connection_with_the_reason() {
    let large = format!("{HEAD}data: {}\n\n", "x".repeat(1001));
    for (options, answer, kind) in [
        ("max_packet=1000", large.clone(), ErrorKind::TooLarge),
        ("max_line=1000", large.clone(), ErrorKind::TooLarge),
        ("max_event=1000", large.clone(), ErrorKind::TooLarge),
    ] {
        let (port, _heads) = server(vec![answer]).await;
        let mut client = dial(&format!("sse://127.0.0.1:{port}/#{options}")).await.unwrap();
        let error = soon("the refusal", client.recv()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{options}: {error}");
    }
    let (port, _heads) = server(vec![large]).await;
    let mut client = dial(&format!("sse://127.0.0.1:{port}/#max_packet=1001")).await.unwrap();
    assert_eq!(soon("the event", client.recv()).await.unwrap().unwrap().len(), 1001);
}

#[tokio::test]
async fn an_id_to_begin_with_that_cannot_stand_in_a_head_is_a_config_error() {
    let error = dial("sse://127.0.0.1:9/#last_event_id=a%0Ab").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
}
