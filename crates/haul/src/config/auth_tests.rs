#![allow(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use haul_core::{Deliver, ErrorKind, Packet, Sink};
use haul_event_log::Panel;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::config::{Config, Profile};

/// A web server that answers 200, `/token` with a token; and the heads of the requests it had.
async fn server() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, heads) = (format!("http://{}", listener.local_addr().unwrap()), Arc::default());
    let seen: Arc<Mutex<Vec<String>>> = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, seen.clone()));
        }
    });
    (at, heads)
}

async fn answer(mut stream: TcpStream, seen: Arc<Mutex<Vec<String>>>) {
    let mut read = Vec::new();
    while !is_whole(&String::from_utf8_lossy(&read)) {
        if stream.read_buf(&mut read).await.unwrap() == 0 {
            return;
        }
    }
    let head = String::from_utf8_lossy(&read).to_ascii_lowercase();
    let body = match head.starts_with("post /token") {
        true => r#"{"access_token":"fresh","token_type":"Bearer"}"#,
        false => "",
    };
    seen.lock().unwrap().push(head);
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// Head and body are there.
fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let lengths = head
        .lines()
        .filter_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
    body.len() >= lengths.sum::<usize>()
}

fn route(sink: &str, auth: &str) -> haul_core::Result<Config> {
    let file = format!("[[route]]\nname = 'a'\nsink = '{sink}'\nauth = {auth}\n");
    let nothing = std::iter::empty::<(&str, &str)>().collect();
    Config::parse(&file, "haul.toml", Some(Profile::Dev), &nothing)
}

/// A packet delivered with `auth`, and the requests that the server had.
async fn delivered(auth: &str) -> Vec<String> {
    let (at, seen) = server().await;
    let config = route(&format!("{at}/events"), &auth.replace("SERVER", &at)).unwrap();
    let sink = config.routes[0].open(&crate::registry(), &Panel::default()).await.unwrap();
    let deliver = tokio::time::timeout(Duration::from_secs(60), sink.deliver(Packet::text("x")));
    deliver.await.expect("waited 60 s for the answer").unwrap();
    sink.close().await.unwrap();
    seen.lock().unwrap().clone()
}

#[tokio::test]
async fn what_auth_says_is_shown_with_each_request() {
    let seen = delivered("{ type = 'bearer', token = 'secret' }").await;
    assert!(seen[0].contains("\r\nauthorization: bearer secret\r\n"), "{seen:?}");
    let seen = delivered("{ type = 'api-key', key = 'secret' }").await;
    assert!(seen[0].contains("\r\nx-api-key: secret\r\n"), "{seen:?}");
    let seen = delivered("{ type = 'api-key', header = 'x-own', key = 'secret' }").await;
    assert!(seen[0].contains("\r\nx-own: secret\r\n"), "{seen:?}");
}

#[tokio::test]
async fn a_token_of_oauth_2_is_fetched_before_the_first_request() {
    let auth = "{ type = 'oauth2', token_url = 'SERVER/token', client_id = 'haul', client_secret = 's', scope = 'all' }";
    let [token, event] = &delivered(auth).await[..] else { panic!("a token, then the packet") };
    assert!(token.contains("grant_type=client_credentials") && token.contains("scope=all"), "{token}");
    assert!(
        event.starts_with("post /events") && event.contains("\r\nauthorization: bearer fresh\r\n"),
        "{event}"
    );
}

#[tokio::test]
async fn what_is_wrong_with_auth_is_named_before_anything_is_opened() {
    for (auth, words) in [
        ("{ type = 'baerer', token = 'x' }", "did you mean bearer?"),
        ("{ type = 'bearer', tokn = 'x' }", "did you mean token?"),
        ("{ type = 'bearer', token = '' }", "token is empty"),
        ("{ type = 'api-key', header = 'a b', key = 'x' }", "is no name of a header"),
        ("{ type = 'oauth2', token_url = 'https://a' }", "missing field `client_id`"),
    ] {
        let why = route("https://host/in", auth).expect_err("it should be refused").to_string();
        assert!(why.contains("haul.toml, line 4") && why.contains(words), "{auth}: {why}");
    }
}

#[tokio::test]
async fn auth_that_the_sink_cannot_show_or_that_says_it_twice_is_refused() {
    let bearer = "{ type = 'bearer', token = 'hidden' }";
    for (sink, auth, words) in [
        ("redis://host/x", bearer, "is not http:// or https://"),
        ("tcp://host:1", bearer, "is not http:// or https://"),
        ("https://me:pass@host/in", bearer, "exclude one another"),
        ("https://host/in#bearer=other", bearer, "exclude one another"),
        (
            "https://host/in",
            "{ type = 'oauth2', token_url = 'http://far.example/t', client_id = 'a', client_secret = 'hidden' }",
            "must be https",
        ),
        (
            "https://host/in",
            "{ type = 'oauth2', token_url = 'https://a/t', client_id = 'a' }",
            "client_secret",
        ),
    ] {
        let config = route(sink, auth).unwrap();
        let why = config.routes[0]
            .open(&crate::registry(), &Panel::default())
            .await
            .expect_err("it should be refused");
        assert_eq!(why.kind(), ErrorKind::Config, "{why}");
        let said = format!("{why} {why:?} {config:?}");
        assert!(said.contains(words) && !said.contains("hidden"), "{sink}: {said}");
    }
}

#[test]
fn a_route_with_another_secret_is_made_of_something_else_and_shows_neither() {
    let made_of = |token: &str| {
        let config = route("https://host/in", &format!("{{ type = 'bearer', token = '{token}' }}")).unwrap();
        assert_eq!(config.routes[0].around(), ["auth bearer"]);
        config.routes[0].made_of()
    };
    assert_eq!(made_of("one"), made_of("one"));
    assert_ne!(made_of("one"), made_of("two"));
    assert!(!made_of("hidden").contains("hidden"));
}
