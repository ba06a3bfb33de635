//! Clients that haul's authors did not write, and a proxy between.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use haul_core::{Deliver, Packet, Registry};
use haul_serve::Gateway;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::sessions::{assert_all, moved, numbered};
use crate::support::{WEB, at, port, registry, start, stored, within};
use crate::web::{ask, guard, guarded};

/// What a client of `tests/clients` prints, line by line.
async fn run(client: Option<std::process::Command>, file: &str, args: &[&str]) -> Option<Vec<String>> {
    let mut command = Command::from(client?);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(file)).args(args);
    let output = within(file, command.kill_on_drop(true).output()).await.unwrap();
    assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

/// Sends three packets as each client does, with the right token and with a wrong one.
#[tokio::test]
async fn clients_of_another_language_are_taken_in_over_every_protocol() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(guarded(&data, guard(&[], &["s3cret"])), registry()).await.unwrap();
    let port = port(&gateway);
    let mut expected = Vec::new();
    for (protocol, file) in [("ws", "by_websockets.py"), ("sse", "by_aiohttp.py"), ("wt", "by_aioquic.py")] {
        let client = match protocol {
            "ws" => haul_services::python_websockets,
            "sse" => haul_services::python_aiohttp,
            _ => haul_services::python_aioquic,
        };
        let target = |token: &str| format!("/in?receipts=json&session={protocol}&access_token={token}");
        let place = |token: &str| match protocol {
            "ws" => vec![format!("ws://127.0.0.1:{port}{}", target(token))],
            "sse" => vec![format!("http://127.0.0.1:{port}{}", target(token))],
            _ => vec![port.to_string(), target(token)],
        };
        let args = |token: &str| [place(token), ["1", "2", "grüße"].map(str::to_owned).to_vec()].concat();
        let told = async |token: &str| {
            let args = args(token);
            run(client(), file, &args.iter().map(String::as_str).collect::<Vec<_>>()).await
        };
        let Some(receipts) = told("s3cret").await else { continue };
        for receipt in receipts {
            let receipt: Value =
                serde_json::from_str(&receipt).unwrap_or_else(|why| panic!("{why}: {receipt}"));
            expected.push(protocol);
            assert_eq!((&receipt["receipt"], &receipt["session"]), (&"stored".into(), &protocol.into()));
            assert_eq!(receipt["seq"], expected.len());
        }
        assert_eq!(told("guess").await.unwrap(), ["401"], "{protocol}");
    }
    let stored: Vec<_> = stored(&data).into_iter().map(|(session, _)| session).collect();
    assert_eq!(stored, expected);
}

#[tokio::test]
async fn curl_reads_the_status_as_an_event_stream() {
    let Some(curl) = haul_services::curl() else { return };
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data, &[WEB]).await;
    let url = format!("http://127.0.0.1:{}/status", port(&gateway));
    let mut curl = Command::from(curl);
    curl.args(["-sSN", "-H", "Accept: text/event-stream", &url]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut curl = curl.spawn().unwrap();
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
    let mut seen = 0;
    while seen < 2 {
        let line = within("a line", lines.next_line()).await.unwrap().expect("curl went away");
        if let Some(told) = line.strip_prefix("data: {") {
            let told: Value = serde_json::from_str(&format!("{{{told}")).unwrap();
            assert_eq!(told["protocols"]["sse"]["open"], 1);
            seen += 1;
        }
    }
}

/// nginx as docs/guides/gateway.md has it, before a gateway.
async fn nginx(folder: &Path, upstream: u16) -> Option<(Child, u16)> {
    let nginx = haul_services::nginx()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let guide = include_str!("../../../../docs/guides/gateway.md");
    let (_, rest) = guide.split_once("```nginx\n").expect("the guide has a configuration");
    let (location, _) = rest.split_once("```").expect("it ends");
    let location = location.replace("127.0.0.1:7700", &format!("127.0.0.1:{upstream}"));
    let (maps, server) = location.split_once("server {").expect("it has a server");
    let server = server.replace("listen 443 ssl;", &format!("listen 127.0.0.1:{port};"));
    let server: Vec<_> = server.lines().filter(|line| !line.trim().starts_with("ssl_")).collect();
    let config = format!(
        "daemon off; master_process off; error_log stderr; pid {folder}/pid; events {{}}
         http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
         fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
         {maps} server {{ {} }}",
        server.join("\n"),
        folder = folder.display()
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    let mut command = Command::from(nginx);
    command.args(["-p", &folder.display().to_string(), "-c", "nginx.conf"]);
    let child = command.kill_on_drop(true).spawn().unwrap();
    within("nginx to listen", async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    Some((child, port))
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_sessions_move_between_websocket_and_event_streams_and_posts_are_taken() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let gateway = start(&data, &["http://127.0.0.1:0?plain=true"]).await;
    let Some((mut nginx, front)) = nginx(folder.path(), port(&gateway)).await else { return };
    let place = |scheme| at(&gateway, scheme, front, "/");
    let (client, mover) = within("a session", moved().open(place("ws"))).await.unwrap();
    let mut sent = 0;
    for scheme in ["sse", "ws", "sse"] {
        for _ in 0..50 {
            client.send(numbered(sent)).await.unwrap();
            sent += 1;
        }
        within("the move", mover.move_to(place(scheme))).await.unwrap();
        within("a receipt", client.deliver(numbered(sent))).await.unwrap();
        sent += 1;
    }
    let mut sinks = Registry::new();
    haul_http::register(&mut sinks);
    let post = format!("http://127.0.0.1:{front}/events");
    let sink = sinks.open_sink(post.parse().unwrap()).await.unwrap();
    within("a POST", sink.deliver(Packet::text(sent.to_string()))).await.unwrap();
    assert_all(&data, sent + 1);
    let page = [("host", "gateway.example"), ("origin", "https://gateway.example")];
    assert_eq!(ask(&gateway, "GET", "/haul.json", &page, "").await.0, 403, "a proxy's name is to be listed");
    nginx.kill().await.unwrap();
}
