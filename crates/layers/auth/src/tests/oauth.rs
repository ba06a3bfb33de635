//! Tokens of OAuth 2, from a token endpoint that plays by RFC 6749.

use haul_core::Status;
use serde_json::json;

use super::*;

/// An endpoint that answers as it is told, and notes what it was asked: the `Authorization`, and the form.
struct Login {
    answers: Mutex<Vec<(u16, String)>>,
    asked: Mutex<Vec<(Option<String>, String)>>,
}

impl Service<Request> for Login {
    async fn call(&self, request: Request) -> Result<Response> {
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/token"));
        assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
        let shown = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        let form = request.into_body().bytes(4096).await?;
        self.asked.lock().unwrap().push((shown, String::from_utf8(form.to_vec()).unwrap()));
        let (status, body) = self.answers.lock().unwrap().remove(0);
        Ok(http::Response::builder().status(status).body(Body::from(body)).unwrap())
    }
}

fn login<const N: usize>(answers: [(u16, serde_json::Value); N]) -> Arc<Login> {
    let answers = answers.map(|(status, body)| (status, body.to_string())).into();
    Arc::new(Login { answers: Mutex::new(answers), asked: Mutex::default() })
}

fn granted(token: &str, seconds: u64) -> (u16, serde_json::Value) {
    (200, json!({ "access_token": token, "token_type": "Bearer", "expires_in": seconds }))
}

fn options() -> OAuth2Options {
    OAuth2Options {
        client_secret: Some("s3cret&".into()),
        ..OAuth2Options::new("https://login.example/token", "haul me")
    }
}

fn api(options: OAuth2Options, login: &Arc<Login>) -> (Auth<Arc<Server>>, Arc<Server>) {
    let server = Arc::new(Server::default());
    (AuthLayer::oauth2(options, login.clone()).unwrap().layer(server.clone()), server)
}

#[tokio::test(start_paused = true)]
async fn a_client_asks_with_its_credentials_and_again_before_the_token_ends() {
    let login = login([granted("one", 3600), granted("two", 3600)]);
    let options = OAuth2Options { scope: Some("read write".into()), ..options() };
    let (api, server) = api(options, &login);
    for (later, token) in [(0, "one"), (3500, "one"), (71, "two")] {
        advance(Duration::from_secs(later)).await;
        api.request(post()).await.unwrap();
        assert_eq!(server.shown(), [format!("Bearer {token}")]);
    }
    // haul%20me:s3cret%26
    let basic = Some("Basic aGF1bCUyMG1lOnMzY3JldCUyNg==".to_owned());
    let asked = (basic, "grant_type=client_credentials&scope=read%20write".to_owned());
    assert_eq!(*login.asked.lock().unwrap(), [asked.clone(), asked]);
}

#[tokio::test]
async fn credentials_stand_in_the_body_where_the_server_wants_them_there() {
    let login = login([granted("one", 60)]);
    let (api, _) = api(OAuth2Options { in_body: true, ..options() }, &login);
    api.request(post()).await.unwrap();
    let form = "grant_type=client_credentials&client_id=haul%20me&client_secret=s3cret%26";
    assert_eq!(*login.asked.lock().unwrap(), [(None, form.to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_used_and_replaced_by_the_one_that_comes_in_its_place() {
    let (_, mut second) = granted("two", 60);
    second["refresh_token"] = json!("r2");
    let login = login([granted("one", 60), (200, second), granted("three", 60)]);
    let (api, _) =
        api(OAuth2Options { client_secret: None, refresh_token: Some("r1".into()), ..options() }, &login);
    for _ in 0..3 {
        api.request(post()).await.unwrap();
        advance(Duration::from_secs(61)).await;
    }
    let form = |token| (None, format!("grant_type=refresh_token&refresh_token={token}&client_id=haul%20me"));
    assert_eq!(*login.asked.lock().unwrap(), ["r1", "r1", "r2"].map(form));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_renewed_early_is_shown_while_it_holds() {
    let busy = || (503, json!({}));
    let login = login([granted("one", 100), busy(), busy()]);
    let (api, server) = api(options(), &login);
    api.request(post()).await.unwrap();
    advance(Duration::from_secs(80)).await;
    api.request(post()).await.unwrap();
    assert_eq!(server.shown(), ["Bearer one", "Bearer one"]);
    advance(Duration::from_secs(21)).await;
    let error = api.request(post()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.status(), error.sent()),
        (ErrorKind::Overloaded, Status::Transient, Sent::No)
    );
    assert!(server.shown().is_empty(), "it was sent with a token that had ended");
}

#[tokio::test]
async fn answers_that_are_no_token_are_errors_that_say_where_and_show_no_secret() {
    for (answer, kind, words) in [
        (
            (401, json!({ "error": "invalid_client" })),
            ErrorKind::Unauthorized,
            "the server refused: invalid_client",
        ),
        (
            (400, json!({ "error": "invalid_scope", "error_description": "no such scope" })),
            ErrorKind::Unauthorized,
            "invalid_scope: no such scope",
        ),
        ((404, json!("nothing here")), ErrorKind::NotFound, "404"),
        ((200, json!({ "token": "s3cret" })), ErrorKind::Protocol, "the answer is no token"),
        (
            (200, json!({ "access_token": "s3cret", "token_type": "mac" })),
            ErrorKind::Unsupported,
            "type \"mac\"",
        ),
        (
            (200, json!({ "access_token": "s3cret", "token_type": "x".repeat(70_000) })),
            ErrorKind::TooLarge,
            "65536",
        ),
    ] {
        let (api, server) = api(options(), &login([answer]));
        let error = api.request(post()).await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (kind, Sent::No), "{error}");
        let text = format!("{error:?}");
        assert!(
            text.contains("fetch a token from https://login.example/token") && text.contains(words),
            "{text}"
        );
        assert!(!text.contains("s3cret") && server.shown().is_empty(), "{text}");
    }
}

#[test]
fn options_come_from_toml_and_wrong_ones_are_refused() {
    let text =
        "token_url = \"https://login.example/token\"\nclient_id = \"haul me\"\nclient_secret = \"s3cret&\"";
    assert_eq!(toml::from_str::<OAuth2Options>(text).unwrap(), options());
    assert!(toml::from_str::<OAuth2Options>(&format!("{text}\nsecret = \"x\"")).is_err());
    assert!(!format!("{:?}", options()).contains("s3cret"));
    let at = |url: &str| OAuth2Options { token_url: url.into(), ..options() };
    for wrong in [
        at("http://login.example/token"),
        at("login"),
        at("no url"),
        OAuth2Options { client_id: String::new(), ..options() },
        OAuth2Options { client_secret: None, ..options() },
    ] {
        let error = AuthLayer::oauth2(wrong, login([])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    for loopback in ["http://127.0.0.1:1/token", "http://[::1]:1/token", "http://localhost/token"] {
        AuthLayer::oauth2(at(loopback), login([])).unwrap();
    }
}
