//! Clients and servers that haul's authors did not write.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use haul_core::{CloseReason, Dial, Packet};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::relay::Relay;
use crate::{accept, dial, listen, pair, port, soon};

/// Prints each message and named event, POSTs it back as far as the sockets hold, and ends after `bye`.
const NODE: &str = r#"
const { EventSource } = require("eventsource");
const url = process.argv[1];
const events = new EventSource(url);
let token;
let posts = Promise.resolve();
const post = (text) => posts = posts.then(() => fetch(url + "?haul-session=" + token, {
  method: "POST", headers: { "content-type": "text/plain" }, body: text })).catch(() => {});
events.addEventListener("haul-session", (event) => { token = event.data; });
for (const name of ["message", "add"]) events.addEventListener(name, (event) => {
  console.log(JSON.stringify([event.type, event.data]));
  if (event.data == "bye") { posts.then(() => { events.close(); process.exit(0); }); return; }
  post(event.data);
});
"#;

const AIOHTTP_CLIENT: &str = r#"
import asyncio, sys, aiohttp
async def main(url):
    async with aiohttp.ClientSession() as http, http.get(url) as stream:
        assert stream.content_type == "text/event-stream", stream.content_type
        token, name = None, None
        async for line in stream.content:
            key, _, value = line.decode().rstrip("\n").partition(": ")
            if key == "event":
                name = value
            elif key == "data" and name == "haul-session":
                token, name = value, None
            elif key == "data":
                body = {"data": value.encode(), "headers": {"haul-session": token, "content-type": "text/plain"}}
                async with http.post(url, **body) as answer:
                    assert answer.status == 204, await answer.text()
                if value == "bye":
                    return
asyncio.run(main(sys.argv[1]))
"#;

/// Sends three events in pieces that cut them anywhere, a different way each time, then ends; the fourth request is held.
const AIOHTTP_SERVER: &str = r#"
import asyncio
from aiohttp import web
asked = 0
async def stream(request):
    global asked
    asked += 1
    last = int(request.headers.get("Last-Event-ID", "0"))
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    text = "retry: 10\r\n: from aiohttp\r\n\r\n"
    for number in range(last + 1, last + 4):
        text += f"id: {number}\r\nevent: tick\r\ndata: gr\u00fc\u00dfe {number}\r\n\r\n"
    data = text.encode() + b"data: half"
    for at in range(0, len(data), asked):
        await answer.write(data[at:at + asked])
    return answer
async def main():
    app = web.Application()
    app.router.add_get("/", stream)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().create_future()
asyncio.run(main())
"#;

fn start(command: std::process::Command, args: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::from(command);
    let mut child = command.args(args).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    soon("a line", lines.next_line()).await.unwrap().expect("it went away")
}

#[tokio::test]
async fn the_eventsource_of_node_gets_events_posts_back_and_comes_back_with_its_last_id() {
    let Some(node) = haul_services::npm_eventsource() else { return };
    let listener = listen("sse://127.0.0.1:0/live?retry=10ms").await;
    let relay = Relay::to(port(&listener)).await;
    let (mut child, mut lines) = start(node, &["-e", NODE, &format!("http://127.0.0.1:{}/live", relay.port)]);
    let mut server = accept(&listener).await;
    let texts = ["hi", "two\nlines", "gr\u{fc}\u{df}e, \u{4e16}\u{754c}", " with space "];
    for text in texts {
        server.send(Packet::text(text).with("event", "add")).await.unwrap();
        assert_eq!(line(&mut lines).await, format!(r#"["add",{}]"#, serde_text(text)));
        assert_eq!(soon("the POST", server.recv()).await.unwrap(), Some(Packet::text(text)));
    }
    relay.cut();
    for text in ["after the cut", "and on", "bye"] {
        server.send(Packet::text(text)).await.unwrap();
        assert_eq!(line(&mut lines).await, format!(r#"["message",{}]"#, serde_text(text)));
    }
    assert_eq!(listener.stats().accepted, 1, "it came back to the same connection");
    assert!(soon("node's end", child.wait()).await.unwrap().success());
}

/// As JSON writes these texts.
fn serde_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\n', "\\n"))
}

#[tokio::test]
async fn a_client_of_aiohttp_gets_events_and_posts_them_back() {
    let Some(python) = haul_services::python_aiohttp() else { return };
    let listener = listen("sse://127.0.0.1:0").await;
    let (mut child, _lines) =
        start(python, &["-c", AIOHTTP_CLIENT, &format!("http://127.0.0.1:{}/", port(&listener))]);
    let mut server = accept(&listener).await;
    for text in ["hi", "gr\u{fc}\u{df}e", "bye"] {
        server.send(Packet::text(text)).await.unwrap();
        assert_eq!(soon("the POST", server.recv()).await.unwrap(), Some(Packet::text(text)));
    }
    assert!(soon("its end", child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn a_server_of_aiohttp_that_cuts_its_events_anywhere_is_come_back_to() {
    let Some(python) = haul_services::python_aiohttp() else { return };
    let (mut child, mut lines) = start(python, &["-c", AIOHTTP_SERVER]);
    let url = format!("sse://127.0.0.1:{}/#reconnect=10s&event=tick", line(&mut lines).await);
    let mut client = dial(&url).await.unwrap();
    for number in 1..=12 {
        let want = Packet::text(format!("gr\u{fc}\u{df}e {number}"))
            .with("event", "tick")
            .with("id", number.to_string());
        assert_eq!(soon("an event", client.recv()).await.unwrap(), Some(want));
    }
    child.kill().await.unwrap();
}

#[tokio::test]
async fn curl_shows_events_and_posts_back() {
    let Some(curl) = haul_services::curl() else { return };
    let listener = listen("sse://127.0.0.1:0").await;
    let url = format!("http://127.0.0.1:{}/", port(&listener));
    let (mut child, mut lines) = start(curl, &["-sN", &url]);
    let mut server = accept(&listener).await;
    let token = loop {
        if let Some(token) = line(&mut lines).await.strip_prefix("data: ") {
            break token.to_owned();
        }
    };
    server.send(Packet::text("to curl")).await.unwrap();
    while line(&mut lines).await != "data: to curl" {}
    let post = haul_services::curl().unwrap();
    let target = format!("{url}?haul-session={token}");
    let (mut posted, _) = start(post, &["-sf", "-H", "content-type: text/plain", "-d", "from curl", &target]);
    assert!(soon("curl", posted.wait()).await.unwrap().success());
    assert_eq!(soon("the POST", server.recv()).await.unwrap(), Some(Packet::text("from curl")));
    child.kill().await.unwrap();
}

/// nginx with its usual buffering and these locations.
async fn nginx(folder: &Path, locations: &str) -> Option<(Child, u16)> {
    let nginx = haul_services::nginx()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "daemon off; master_process off; error_log stderr; pid {folder}/pid; events {{}}
         http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
         fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
         server {{ listen 127.0.0.1:{port}; proxy_buffering on; proxy_http_version 1.1; {locations} }} }}",
        folder = folder.display()
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    let mut command = Command::from(nginx);
    command.args(["-p", &folder.display().to_string(), "-c", "nginx.conf"]);
    let child = command.stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    soon("nginx to listen", async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    Some((child, port))
}

/// The location of event streams.
fn events_at(path: &str, upstream: u16) -> String {
    format!("location {path} {{ proxy_pass http://127.0.0.1:{upstream}; proxy_set_header Connection ''; }}")
}

#[tokio::test]
async fn nginx_that_buffers_stands_between_two_haul_peers() {
    let folder = tempfile::tempdir().unwrap();
    let listener = listen("sse://127.0.0.1:0").await;
    let location = events_at("/", port(&listener));
    let Some((mut child, front)) = nginx(folder.path(), &location).await else { return };
    let (mut client, mut server) = pair(&listener, front, "").await;
    for number in 0..20 {
        let packet = Packet::text(format!("packet {number}")).with("number", number.to_string());
        server.send(packet.clone()).await.unwrap();
        assert_eq!(soon("the event", client.recv()).await.unwrap(), Some(packet.clone()));
        client.send(packet.clone()).await.unwrap();
        assert_eq!(soon("the POST", server.recv()).await.unwrap(), Some(packet));
    }
    let large = Packet::binary(vec![7; 900_000]);
    client.send(large.clone()).await.unwrap();
    assert_eq!(soon("the POSTs", server.recv()).await.unwrap(), Some(large));
    let (closed, end) = tokio::join!(client.close(CloseReason::NORMAL), soon("the close", server.recv()));
    closed.unwrap();
    assert_eq!(end.unwrap(), None);
    child.kill().await.unwrap();
}

#[tokio::test]
async fn one_nginx_has_a_location_for_event_streams_and_one_for_websockets() {
    let folder = tempfile::tempdir().unwrap();
    let events = listen("sse://127.0.0.1:0/events").await;
    let sockets = haul_ws::listen("ws://127.0.0.1:0/live".parse().unwrap()).await.unwrap();
    let locations = format!(
        "{} location /live {{ proxy_pass http://127.0.0.1:{}; proxy_set_header Upgrade $http_upgrade;
         proxy_set_header Connection upgrade; }}",
        events_at("/events", port(&events)),
        port(&sockets)
    );
    let Some((mut child, front)) = nginx(folder.path(), &locations).await else { return };
    let (client, server) = pair(&events, front, "events").await;
    let websocket = format!("ws://127.0.0.1:{front}/live").parse().unwrap();
    let dialer = haul_ws::Dialer::default();
    let (dialed, accepted) = tokio::join!(soon("the dial", dialer.dial(websocket)), accept(&sockets));
    for (protocol, mut client, mut server) in [("sse", client, server), ("ws", dialed.unwrap(), accepted)] {
        assert_eq!((client.info().protocol, server.info().protocol), (protocol, protocol));
        for number in 0..20 {
            let packet = Packet::text(format!("packet {number}")).with("number", number.to_string());
            client.send(packet.clone()).await.unwrap();
            let arrived = soon("the packet", server.recv()).await.unwrap().unwrap();
            server.send(arrived).await.unwrap();
            assert_eq!(soon("the echo", client.recv()).await.unwrap(), Some(packet), "over {protocol}");
        }
        let (closed, end) = tokio::join!(client.close(CloseReason::NORMAL), soon("the close", server.recv()));
        closed.unwrap_or_else(|why| panic!("the close over {protocol}: {why}"));
        assert_eq!(end.unwrap(), None, "over {protocol}");
    }
    child.kill().await.unwrap();
}
