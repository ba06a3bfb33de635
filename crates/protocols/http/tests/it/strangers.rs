//! Servers and clients that haul's authors did not write.

use std::process::Stdio;
use std::time::Duration;

use haul_core::{Body, Call, ErrorKind, Request, Response, Sent, service_fn};
use haul_http::{ClientConfig, Server, Version};
use haul_tls::ClientOptions;
use http::Method;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{client, get, plain, port, request, soon, text};

/// The standard library's server, HTTP/1.1 and one thread for each connection. Port in the first argument.
const PYTHON_STANDARD: &str = r#"
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// aiohttp: answers in chunks, compressed where that is asked for.
const PYTHON_AIOHTTP: &str = r#"
import asyncio, sys
from aiohttp import web
async def echo(request):
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    response.enable_compression()
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece)
    await response.write_eof()
    return response
async def main():
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", int(sys.argv[1]))
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"#;

/// Node.js's server, which pipes each body back.
const NODE: &str = r#"
const server = require("http").createServer((request, response) => request.pipe(response));
server.listen(+process.argv[1], "127.0.0.1", () => console.log(server.address().port));
"#;

/// A server of others; it ends with this.
struct Stranger {
    port: u16,
    child: Child,
}

impl Stranger {
    async fn start(command: std::process::Command, script: &str, port: u16) -> Self {
        let mut command = Command::from(command);
        command.args([if script == NODE { "-e" } else { "-c" }, script, &port.to_string()]);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = soon("the port", lines.next_line()).await.unwrap().expect("it started");
        Self { port: line.trim().parse().unwrap(), child }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

async fn echoes(start: impl AsyncFn(u16) -> Option<Stranger>) {
    let Some(mut server) = start(0).await else { return };
    let client = plain();
    let large = "0123456789abcdef".repeat(1 << 16);
    for sent in ["", "short", &large] {
        let whole = request(Method::POST, &server.url(), sent.to_owned());
        assert!(text(&client, whole).await.unwrap() == (200, sent.to_owned()), "{} bytes", sent.len());
        let pieces = request(Method::POST, &server.url(), Body::once(Body::from(sent.to_owned())));
        assert!(text(&client, pieces).await.unwrap() == (200, sent.to_owned()), "{} bytes", sent.len());
    }
    // The server is killed with idle connections in the pool, and another takes its place.
    server.child.kill().await.unwrap();
    let why = text(&client, request(Method::POST, &server.url(), "nobody")).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Connect, Sent::No), "{why}");
    let server = start(server.port).await.expect("it was there before");
    let again = request(Method::POST, &server.url(), "again");
    assert_eq!(text(&client, again).await.unwrap(), (200, "again".to_owned()));
}

#[tokio::test]
async fn the_server_of_pythons_library_is_spoken_to_and_its_restart_survived() {
    echoes(async |port| {
        Some(Stranger::start(haul_services::python_websockets()?, PYTHON_STANDARD, port).await)
    })
    .await;
}

#[tokio::test]
async fn aiohttp_is_spoken_to_and_its_restart_survived() {
    echoes(async |port| Some(Stranger::start(haul_services::python_aiohttp()?, PYTHON_AIOHTTP, port).await))
        .await;
}

#[tokio::test]
async fn a_node_server_is_spoken_to_and_its_restart_survived() {
    echoes(async |port| Some(Stranger::start(haul_services::node()?, NODE, port).await)).await;
}

/// Says the version, and what it was sent.
fn versioned() -> impl haul_core::Service<Request> {
    service_fn(|request: Request| async move {
        let version = request.version();
        let body = request.into_body().bytes(32 << 20).await?;
        Ok(Response::new(Body::from(format!("{version:?} {} {:?}", body.len(), body.first()))))
    })
}

/// Our server with TLS, and the PEM file that its clients trust.
async fn secure(folder: &std::path::Path, service: impl haul_core::Service<Request>) -> (Server, String) {
    let made = haul_tls::SelfSigned::new(["localhost", "127.0.0.1"]).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, &made.certificate_pem).unwrap();
    std::fs::write(&key, &made.key_pem).unwrap();
    let url = format!("https://127.0.0.1:0?cert={}&key={}", cert.display(), key.display());
    let server = haul_http::serve(url.parse().unwrap(), service).await.unwrap();
    (server, cert.display().to_string())
}

fn trusting(ca: &str) -> ClientConfig {
    let tls = ClientOptions { ca: Some(ca.into()), ..ClientOptions::default() };
    ClientConfig { tls, ..ClientConfig::default() }
}

/// What a program says.
async fn output(mut command: Command) -> String {
    let output = soon("a program", command.kill_on_drop(true).output()).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {out}{err}", output.status);
    out.into_owned()
}

#[tokio::test]
async fn curl_is_answered_in_both_versions_with_and_without_tls() {
    if haul_services::curl().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plain = crate::support::listen("", versioned()).await;
    let (tls, ca) = secure(folder.path(), versioned()).await;
    let file = folder.path().join("body");
    std::fs::write(&file, vec![b'a'; 5 << 20]).unwrap();
    let data = format!("@{}", file.display());
    let file = file.display().to_string();
    let plain = format!("http://127.0.0.1:{}/", port(&plain));
    let secret = format!("https://localhost:{}/", port(&tls));
    let ways: [(&[&str], &str); 7] = [
        (&[&plain], "HTTP/1.1 0 None"),
        (&["--data-binary", &data, &plain], "HTTP/1.1 5242880 Some(97)"),
        (&["-H", "Transfer-Encoding: chunked", "-T", &file, &plain], "HTTP/1.1 5242880 Some(97)"),
        (&["--http2-prior-knowledge", "--data-binary", &data, &plain], "HTTP/2.0 5242880 Some(97)"),
        (&["--cacert", &ca, &secret], "HTTP/2.0 0 None"),
        (&["--cacert", &ca, "--http1.1", "--data-binary", &data, &secret], "HTTP/1.1 5242880 Some(97)"),
        (&["--cacert", &ca, "--data-binary", &data, &secret], "HTTP/2.0 5242880 Some(97)"),
    ];
    for (arguments, said) in ways {
        let mut curl = Command::from(haul_services::curl().unwrap());
        curl.args(["--silent", "--show-error", "--noproxy", "*"]).args(arguments);
        assert_eq!(output(curl).await, said, "{arguments:?}");
    }
}

#[tokio::test]
async fn httpx_speaks_http_2_with_our_server_many_requests_at_once() {
    let Some(python) = haul_services::python_httpx() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (server, ca) = secure(folder.path(), versioned()).await;
    let script = r#"
import asyncio, httpx, ssl, sys
async def main():
    context = ssl.create_default_context(cafile=sys.argv[2])
    async with httpx.AsyncClient(http2=True, verify=context, trust_env=False) as client:
        answers = await asyncio.gather(*[client.post(sys.argv[1], content=b"a" * n) for n in range(200)])
        for n, answer in enumerate(answers):
            assert answer.http_version == "HTTP/2", answer.http_version
            assert answer.text == f"HTTP/2.0 {n} {'Some(97)' if n else 'None'}", answer.text
    print("done")
asyncio.run(main())
"#;
    let mut python = Command::from(python);
    python.args(["-c", script, &format!("https://localhost:{}/", port(&server)), &ca]);
    assert_eq!(output(python).await.trim(), "done");
    assert_eq!(server.stats().accepted, 1);
}

#[tokio::test]
async fn a_node_client_streams_to_our_server_and_back() {
    let Some(node) = haul_services::node() else { return };
    let server = crate::support::listen("", crate::support::echo()).await;
    let script = r#"
async function* pieces() { for (let n = 0; n < 1000; n++) yield Buffer.alloc(1000, n % 251); }
(async () => {
  const answer = await fetch(process.argv[1], { method: "POST", body: pieces(), duplex: "half" });
  let at = 0;
  for await (const piece of answer.body) for (const byte of piece) {
    if (byte !== Math.floor(at / 1000) % 251) throw new Error(`byte ${at} is ${byte}`);
    at++;
  }
  console.log(at);
})();
"#;
    let mut node = Command::from(node);
    node.args(["-e", script, &crate::support::url(&server, "/")]);
    assert_eq!(output(node).await.trim(), "1000000");
}

#[tokio::test]
async fn our_client_and_server_agree_on_http_2_by_tls_and_a_stranger_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (server, ca) = secure(folder.path(), versioned()).await;
    let url = format!("https://localhost:{}/", port(&server));
    for (version, said) in
        [(Version::Auto, "HTTP/2.0"), (Version::Http1, "HTTP/1.1"), (Version::Http2, "HTTP/2.0")]
    {
        let client = client(ClientConfig { version, ..trusting(&ca) });
        assert!(text(&client, get(&url)).await.unwrap().1.starts_with(said));
    }
    let why = text(&client(ClientConfig { tls: pinned(), ..ClientConfig::default() }), get(&url)).await;
    let why = why.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Tls, Sent::No), "{why}");
}

/// Trusts a certificate that nobody has.
fn pinned() -> ClientOptions {
    ClientOptions { pin: Some("00".repeat(32)), ..ClientOptions::default() }
}

/// nginx before `upstream`, with and without TLS.
async fn nginx(folder: &std::path::Path, upstream: u16) -> Option<(Child, u16, u16)> {
    let nginx = haul_services::nginx()?;
    let [plain, tls] = [free_port(), free_port()];
    let config = format!(
        "daemon off; master_process off; error_log stderr; pid {folder}/pid; events {{}}
         http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
         fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
         client_max_body_size 100m;
         upstream haul {{ server 127.0.0.1:{upstream}; keepalive 4; }}
         server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl http2;
         ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
         location / {{ proxy_pass http://haul; proxy_http_version 1.1; proxy_set_header Connection '';
         proxy_request_buffering off; proxy_buffering off; }} }} }}",
        folder = folder.display()
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    let mut command = Command::from(nginx);
    command.args(["-p", &folder.display().to_string(), "-c", "nginx.conf"]);
    let child = command.stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    listens(plain).await;
    Some((child, plain, tls))
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn listens(port: u16) {
    soon("a server to listen", async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn nginx_stands_between_our_client_and_our_server() {
    let folder = tempfile::tempdir().unwrap();
    let made = haul_tls::SelfSigned::new(["localhost"]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), &made.certificate_pem).unwrap();
    std::fs::write(folder.path().join("key.pem"), &made.key_pem).unwrap();
    let server = crate::support::listen("", crate::support::echo()).await;
    let Some((mut child, plain_port, tls_port)) = nginx(folder.path(), port(&server)).await else { return };
    let ca = folder.path().join("cert.pem").display().to_string();
    let sent = "0123456789".repeat(300_000);
    for url in [format!("http://127.0.0.1:{plain_port}/"), format!("https://localhost:{tls_port}/")] {
        let client = client(trusting(&ca));
        for body in [Body::from(sent.clone()), Body::once(Body::from(sent.clone()))] {
            let response = soon("it", client.request(request(Method::POST, &url, body))).await.unwrap();
            let spoken =
                if url.starts_with("https") { http::Version::HTTP_2 } else { http::Version::HTTP_11 };
            assert_eq!(response.version(), spoken);
            assert!(soon("the body", response.into_body().bytes(1 << 30)).await.unwrap() == sent);
        }
    }
    soon("our server's end", server.shutdown(Duration::from_secs(10))).await.unwrap();
    let (status, _) = text(&plain(), get(&format!("http://127.0.0.1:{plain_port}/"))).await.unwrap();
    assert_eq!(status, 502);
    child.kill().await.unwrap();
}
