mod oauth;

use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use haul_core::{Body, Call, Error, ErrorKind, Sent, service_fn};
use http::Method;
use http::header::AUTHORIZATION;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::advance;

use super::*;

/// A server that accepts what it is told to, and notes what it was shown.
#[derive(Default)]
struct Server {
    accepts: Mutex<Option<String>>,
    shown: Mutex<Vec<String>>,
    bodies: Mutex<Vec<String>>,
}

impl Service<Request> for Server {
    async fn call(&self, request: Request) -> Result<Response> {
        let shown = request.headers()[AUTHORIZATION].to_str().unwrap().to_owned();
        let refused = self.accepts.lock().unwrap().as_ref().is_some_and(|accepted| *accepted != shown);
        self.shown.lock().unwrap().push(shown);
        let body = request.into_body().bytes(64).await?;
        self.bodies.lock().unwrap().push(String::from_utf8(body.to_vec()).unwrap());
        let mut answer = Response::new(Body::empty());
        if refused {
            *answer.status_mut() = StatusCode::UNAUTHORIZED;
        }
        Ok(answer)
    }
}

impl Server {
    fn accepts(&self, shown: &str) {
        *self.accepts.lock().unwrap() = Some(shown.to_owned());
    }

    fn shown(&self) -> Vec<String> {
        std::mem::take(&mut *self.shown.lock().unwrap())
    }
}

fn post() -> Request {
    http::Request::builder()
        .method(Method::POST)
        .uri("https://api.example/x")
        .body(Body::from("body"))
        .unwrap()
}

/// A layer whose tokens are numbered, each fetch waiting for a turn, and the number of fetches.
fn numbered(turns: usize, holds: Option<Duration>) -> (AuthLayer, Arc<AtomicUsize>, Arc<Semaphore>) {
    let (fetches, turns) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(turns)));
    let (count, turn) = (fetches.clone(), turns.clone());
    let layer = AuthLayer::custom(move || {
        let (count, turn) = (count.clone(), turn.clone());
        async move {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            turn.acquire().await.unwrap().forget();
            let token = Token::bearer(&number.to_string())?;
            Ok(match holds {
                Some(time) => token.expires_in(time),
                None => token,
            })
        }
    });
    (layer, fetches, turns)
}

const OPEN: usize = 1 << 20;

#[tokio::test]
async fn a_fixed_token_is_shown_and_its_refusal_passed_on() {
    let server = Arc::new(Server::default());
    let api = AuthLayer::fixed(Token::bearer("t0p").unwrap()).layer(server.clone());
    api.request(post()).await.unwrap();
    server.accepts("Bearer other");
    assert_eq!(api.request(post()).await.unwrap().status(), 401);
    assert_eq!(server.shown(), ["Bearer t0p", "Bearer t0p"]);
}

#[tokio::test]
async fn an_api_key_stands_in_its_own_header() {
    let server = service_fn(|request: Request| async move {
        assert_eq!(request.headers()["x-api-key"], "k3y");
        assert!(!request.headers().contains_key(AUTHORIZATION));
        Ok(Response::new(Body::empty()))
    });
    AuthLayer::fixed(Token::api_key("X-Api-Key", "k3y").unwrap())
        .layer(server)
        .request(post())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_header_that_the_request_has_stays_and_its_refusal_is_passed_on() {
    let (layer, fetches, _) = numbered(OPEN, None);
    let server = Arc::new(Server::default());
    server.accepts("nothing");
    let mut request = post();
    request.headers_mut().insert(AUTHORIZATION, "Basic own".parse().unwrap());
    assert_eq!(layer.layer(server.clone()).request(request).await.unwrap().status(), 401);
    assert_eq!((server.shown(), fetches.load(Ordering::SeqCst)), (vec!["Basic own".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_kept_while_it_holds_and_fetched_again_then() {
    let (layer, fetches, _) = numbered(OPEN, Some(Duration::from_secs(60)));
    let server = Arc::new(Server::default());
    let api = layer.layer(server.clone());
    for (later, number) in [(0, 1), (59, 1), (2, 2), (59, 2)] {
        advance(Duration::from_secs(later)).await;
        api.request(post()).await.unwrap();
        assert_eq!(server.shown(), [format!("Bearer {number}")]);
    }
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn all_who_wait_share_one_fetch_and_its_error() {
    let (layer, fetches, turns) = numbered(0, None);
    let server = Arc::new(Server::default());
    let api = layer.layer(server.clone());
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { api.request(post()).await })
        })
        .collect();
    for _ in 0..100 {
        yield_now().await;
    }
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
    turns.add_permits(1);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(server.shown(), vec!["Bearer 1"; 50]);

    let (fetches, turns) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (count, turn) = (fetches.clone(), turns.clone());
    let fails = AuthLayer::custom(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let turn = turn.clone();
        async move {
            turn.acquire().await.unwrap().forget();
            Err(Error::new(ErrorKind::Timeout, "login: no answer"))
        }
    });
    let api = fails.layer(server.clone());
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { api.request(post()).await })
        })
        .collect();
    for _ in 0..100 {
        yield_now().await;
    }
    turns.add_permits(2);
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!((error.message(), error.sent()), ("login: no answer", Sent::No));
    }
    assert_eq!((fetches.load(Ordering::SeqCst), server.shown().len()), (1, 0));
    api.request(post()).await.unwrap_err();
    assert_eq!(fetches.load(Ordering::SeqCst), 2, "a failed fetch is not kept");
}

#[tokio::test]
async fn a_fetch_goes_on_when_the_one_who_began_it_is_gone() {
    let (layer, fetches, turns) = numbered(0, None);
    let server = Arc::new(Server::default());
    let api = layer.layer(server.clone());
    let call = || {
        let api = api.clone();
        tokio::spawn(async move { api.request(post()).await })
    };
    let (first, second) = (call(), call());
    for _ in 0..50 {
        yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    turns.add_permits(1);
    second.await.unwrap().unwrap();
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_fetch_that_nobody_waits_for_is_dropped_and_the_next_call_begins_another() {
    let first = Arc::new(AtomicUsize::new(0));
    let count = first.clone();
    let layer = AuthLayer::custom(move || {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move { if number == 0 { pending().await } else { Token::bearer("second") } }
    });
    let server = Arc::new(Server::default());
    let api = layer.layer(server.clone());
    let abandoned = tokio::spawn({
        let api = api.clone();
        async move { api.request(post()).await }
    });
    while first.load(Ordering::SeqCst) == 0 {
        yield_now().await;
    }
    abandoned.abort();
    assert!(abandoned.await.unwrap_err().is_cancelled());
    api.request(post()).await.unwrap();
    assert_eq!(server.shown(), ["Bearer second"]);
}

#[tokio::test]
async fn a_request_that_was_refused_goes_once_more_with_another_token() {
    let (layer, fetches, _) = numbered(OPEN, None);
    let server = Arc::new(Server::default());
    let api = layer.layer(server.clone());
    api.request(post()).await.unwrap();
    server.accepts("Bearer 2");
    assert_eq!(api.request(post()).await.unwrap().status(), 200);
    assert_eq!(server.shown(), ["Bearer 1", "Bearer 1", "Bearer 2"]);
    assert_eq!(*server.bodies.lock().unwrap(), ["body"; 3]);
    server.accepts("Bearer never");
    assert_eq!(api.request(post()).await.unwrap().status(), 401);
    assert_eq!(
        (server.shown(), fetches.load(Ordering::SeqCst)),
        (vec!["Bearer 2".into(), "Bearer 3".into()], 3)
    );
    let once = http::Request::post("https://api.example/x").body(Body::once(Body::from("stream"))).unwrap();
    assert_eq!(api.request(once).await.unwrap().status(), 401);
    assert_eq!(server.shown().len(), 1, "a body that can be read once goes once");
}

#[tokio::test]
async fn many_that_were_refused_at_once_share_one_new_token() {
    let (layer, fetches, _) = numbered(OPEN, None);
    let server = Arc::new(Server::default());
    let api = layer.layer(server.clone());
    api.request(post()).await.unwrap();
    server.accepts("Bearer 2");
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { api.request(post()).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
}

#[test]
fn what_is_no_header_is_refused_and_secrets_are_not_shown() {
    for error in [
        Token::bearer("s3cret\n").unwrap_err(),
        Token::api_key("no header", "s3cret").unwrap_err(),
        Token::api_key("x-api-key", "s3cret\0").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
    let layer = AuthLayer::fixed(Token::bearer("s3cret").unwrap());
    let token = Token::bearer("s3cret").unwrap();
    let shown = format!("{layer:?} {token:?} {:?}", layer.layer(()));
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn options_say_what_is_shown_and_show_no_secrets() {
    let read = |text: &str| toml::from_str::<AuthOptions>(text);
    for (text, name, authorization) in [
        ("type = 'bearer'\ntoken = 'hidden'", "bearer", true),
        ("type = 'api-key'\nkey = 'hidden'", "api-key", false),
        ("type = 'api-key'\nheader = 'Authorization'\nkey = 'hidden'", "api-key", true),
        (
            "type = 'oauth2'\ntoken_url = 'https://a'\nclient_id = 'b'\nclient_secret = 'hidden'",
            "oauth2",
            true,
        ),
    ] {
        let options = read(text).unwrap();
        assert_eq!((options.as_str(), options.is_authorization()), (name, authorization), "{text}");
        assert!(!format!("{options:?}").contains("hidden"), "{options:?}");
        let login = service_fn(|_: Request| async { Ok(Response::new(Body::empty())) });
        AuthLayer::new(options, login).unwrap();
    }
    for (text, words) in [
        ("type = 'bearer'\ntoken = ''", "token is empty"),
        ("type = 'bearer'\ntoken = \"a\\nb\"", "no value of the header authorization"),
        ("type = 'api-key'\nheader = 'a b'\nkey = 'x'", "is no name of a header"),
        ("type = 'api-key'\nkey = ''", "key is empty"),
        ("type = 'basic'", "unknown variant `basic`"),
    ] {
        let why = read(text).expect_err("it should be refused").to_string();
        assert!(why.contains(words), "{text}: {why}");
    }
}
