//! One port for HTTP and WebSocket, with clients of other languages.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::{Gateway, LINES, cat, command, haul, run};
use crate::settings::Place;

const WEB: &str = "http://127.0.0.1:0";
const APP: &str = "https://app.example";

/// What curl says: the body of the answer and, behind it, the status.
fn curl(mut curl: Command, gateway: &Gateway, target: &str, args: &[&str]) -> (String, String) {
    curl.args(["-sS", "-w", "%{http_code}", "--max-time", "60"]).args(args);
    curl.arg(format!("http://{}{target}", gateway.address(0)));
    let ended = run(curl, "curl");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut body = String::from_utf8(ended.stdout).unwrap();
    let status = body.split_off(body.len() - 3);
    (body, status)
}

#[test]
fn curl_python_and_node_meet_on_one_port_and_pages_of_foreign_origins_stay_outside() {
    let place = Place::new(WEB, &format!("origins = [{APP:?}]\ntokens = ['${{GATE_TOKEN}}']"));
    let config = place.config();
    let mut serve = command(&["serve", "--json", "--config", config.to_str().unwrap()]);
    serve.env("GATE_TOKEN", "s3cret");
    let mut gateway = Gateway::spawn(serve);
    gateway.next_url();
    let url = format!("ws://{}/live?receipts=json", gateway.address(0));
    let clients = [
        ("knock.py", haul_services::python_websockets as fn() -> Option<Command>),
        ("knock.js", haul_services::npm_ws),
    ];
    let mut stored = 0;
    for (file, client) in clients {
        let knock = |origin: &str, token: &str| {
            let mut client = client()?;
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(file);
            client.arg(file).args([&url, origin, token]);
            let ended = run(client, "knock");
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            Some(String::from_utf8(ended.stdout).unwrap().trim().to_owned())
        };
        let Some(receipt) = knock(APP, "s3cret") else { continue };
        stored += 1;
        let receipt: Value = serde_json::from_str(&receipt).unwrap_or_else(|why| panic!("{why}: {receipt}"));
        assert_eq!((&receipt["receipt"], &receipt["seq"]), (&"stored".into(), &stored.into()));
        assert_eq!(knock("https://evil.example", "s3cret").as_deref(), Some("403"), "{file}");
        assert_eq!(knock(APP, "guess").as_deref(), Some("401"), "{file}");
    }
    if haul_services::curl().is_some() {
        let curl = |target: &str, args: &[&str]| curl(haul_services::curl().unwrap(), &gateway, target, args);
        let token = ["-H", "Authorization: Bearer s3cret"];
        let (receipt, status) = curl("/events?session=c", &[&token[..], &["-d", "from curl"]].concat());
        stored += 1;
        assert_eq!(status, "200");
        let receipt: Value = serde_json::from_str(&receipt).unwrap();
        assert_eq!((&receipt["session"], &receipt["seq"]), (&"c".into(), &stored.into()));
        let lines = ["-H", "Content-Type: application/x-ndjson", "--data-binary", "{\"a\":1}\n{\"a\":2}\n"];
        let (receipts, status) = curl("/events", &[&token[..], &lines].concat());
        stored += 2;
        assert_eq!((receipts.lines().count(), status.as_str()), (2, "200"));
        let (_, status) = curl("/events", &["-d", "x"]);
        assert_eq!(status, "401");
        let (_, status) =
            curl("/events", &[&token[..], &["-d", "x", "-H", "Origin: https://evil.example"]].concat());
        assert_eq!(status, "403");
        let (_, status) = curl("/events", &[&token[..], &["-d", "x", "--http2-prior-knowledge"]].concat());
        stored += 1;
        assert_eq!(status, "200", "HTTP/2");
        assert_eq!(curl("/health", &[]), ("{\"status\":\"ok\"}\n".to_owned(), "200".to_owned()));
        let (page, status) = curl("/metrics", &token);
        assert_eq!(status, "200");
        assert!(page.contains(&format!("\nhaul_packets_stored_total {stored}\n")), "{page}");
        assert_eq!(cat(&place.data(), &["--session", "c"]), b"from curl\n");
    }
    assert_eq!(place.status()["stored"], stored);
    assert_eq!(gateway.stop().code, Some(0));
}

#[test]
fn tokens_without_a_listener_that_can_ask_for_them_are_refused() {
    let place = Place::new(LINES, "tokens = ['t']");
    let told = haul(&["validate", place.config().to_str().unwrap()]);
    assert!(told.code.is_some_and(|code| code != 0), "{:?}", told.code);
    assert!(told.stderr.contains("tokens=none"), "{}", told.stderr);
    place.write(&format!("{LINES}&tokens=none"), "tokens = ['t']");
    let valid = haul(&["validate", place.config().to_str().unwrap()]);
    assert_eq!(valid.code, Some(0), "{}", valid.stderr);
    assert!(!String::from_utf8(valid.stdout).unwrap().contains("'t'"));
}

#[test]
fn without_configuration_port_7700_is_for_http_and_websocket() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("haul.toml");
    fs::write(&file, "").unwrap();
    let told = haul(&["validate", "--json", file.to_str().unwrap()]).json();
    assert_eq!(told[0]["listen"][0], "http://127.0.0.1:7700");
    assert_eq!(told[0]["listen"][1], "tcp://127.0.0.1:7701?framing=lines");
}

#[test]
fn haul_itself_sends_over_websocket_and_delivers_by_post_to_the_same_port() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), &[WEB], &[]);
    let ws = format!("ws://{}", gateway.address(0));
    let sent = haul(&["send", &ws, "over websocket", "--receipt=stored"]);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let post = format!("http://{}/events#header_prefix=x-haul-meta-", gateway.address(0));
    let sent = haul(&["send", &post, "by post"]);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    assert_eq!(cat(dir.path(), &[]), b"over websocket\nby post\n");
}
