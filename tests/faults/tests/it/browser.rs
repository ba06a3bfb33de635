//! A browser's tab whose UDP goes dark.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use haul_core::{
    Body, CloseReason, Connection, Error, ErrorKind, Listener, Packet, Request, Response, service_fn,
};
use haul_faults::{Cut, Namespace, TcpFaults, TcpRelay, UdpFaults, UdpRelay};
use haul_session::{Acceptor, AcceptorOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::soon;
use crate::transports::{Transport, place};

const MODULE: &str = include_str!("../../../../crates/serve/web/haul.js");
const RUNNER: &str = "../e2e/tests/clients/browser.js";

/// How long the browser may take: it starts, and does all that its script says, beside others.
const PATIENCE: Duration = Duration::from_secs(180);

/// An empty page with the module beside it.
async fn site() -> haul_http::Server {
    let page = service_fn(|request: Request| async move {
        let (body, media) = match request.uri().path() {
            "/" => ("<!doctype html><title>haul</title>", "text/html"),
            "/haul.js" => (MODULE, "text/javascript"),
            other => return Err(Error::new(ErrorKind::NotFound, format!("no {other}"))),
        };
        let mut response = Response::new(Body::from(body));
        response.headers_mut().insert("content-type", media.parse().unwrap());
        Ok(response)
    });
    haul_http::serve("http://127.0.0.1:0".parse().unwrap(), page).await.unwrap()
}

/// What `script` returns in a page of Chromium, with `haul` being haul.js.
async fn in_a_page(browser: std::process::Command, script: String) -> Value {
    let site = site().await;
    let mut command = Command::from(browser);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(RUNNER))
        .arg(format!("http://127.0.0.1:{}/", site.local_endpoint().port().unwrap()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).await.unwrap();
    let (mut answer, mut said) = (Vec::new(), Vec::new());
    let running = async {
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        tokio::join!(gather(stdout, &mut answer), gather(stderr, &mut said));
        child.wait().await.unwrap()
    };
    let ended = timeout(PATIENCE, running).await;
    let said = String::from_utf8_lossy(&said);
    let status = ended.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for the page, which said:\n{said}"));
    assert!(status.success(), "the page failed, and said:\n{said}");
    serde_json::from_slice::<Value>(&answer).unwrap()["result"].take()
}

/// Reads to the end; what was read stays if it is given up before.
async fn gather(mut from: impl AsyncRead + Unpin, all: &mut Vec<u8>) {
    while from.read_buf(all).await.unwrap() > 0 {}
}

/// Sends and expects numbered packets until it is told to stop; answers over which URLs, and what was wrong.
fn page(urls: [&str; 2], pin: &str) -> String {
    format!(
        r#"
        const connection = await haul.connect({urls:?}, {{
            session: {{ base: 10, cap: 100, replayBytes: 65536 }}, adaptive: {{ probe: 1, headStart: 2000 }},
            certificateHashes: ["{pin}"],
        }});
        const links = [connection.url];
        connection.onstate = ({{ name }}) => name === "connected" && links.push(connection.url);
        const numbered = (number) => `${{number}}`.padEnd(4 + (number * 37) % 300, ".");
        let going = true, received = 0, wrong = 0;
        const sending = (async () => {{
            let number = 0;
            for (; going; number += 1) {{
                await connection.send(numbered(number));
                if (number % 8 === 7) await new Promise((resolve) => setTimeout(resolve, 2));
            }}
            // Once it is answered, nothing but the close is under way.
            await connection.deliver("the last");
            return number;
        }})();
        for await (const packet of connection) {{
            if (packet.text() === "stop") break;
            if (packet.text() !== numbered(received)) wrong += 1;
            received += 1;
        }}
        going = false;
        const sent = await sending;
        const {{ unsettled }} = await connection.close();
        return {{ links, received, wrong, sent, unsettled }};
        "#
    )
}

fn numbered(number: u32) -> String {
    let text = number.to_string();
    format!("{text:.<width$}", width = text.len().max(4 + (number as usize * 37) % 300))
}

/// Both ways: what the page says is told to `heard`, and it is spoken to until `stop`. Answers how much was sent and heard.
async fn converse(end: Connection, heard: watch::Sender<u32>, stop: watch::Receiver<bool>) -> (u32, u32) {
    let (sender, mut receiver) = end.split();
    let sending = tokio::spawn(async move {
        let mut number = 0;
        while !*stop.borrow() {
            sender.send(Packet::text(numbered(number))).await.unwrap();
            number += 1;
            if number % 8 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        sender.send(Packet::text("stop")).await.unwrap();
        sender.flush().await.unwrap();
        (sender, number)
    });
    let mut count = 0;
    loop {
        let packet = receiver.recv().await.unwrap().expect("the page says the last word");
        if packet.as_text() == Some("the last") {
            break;
        }
        assert_eq!(packet.as_text(), Some(&*numbered(count)), "packet {count}");
        count += 1;
        heard.send_replace(count);
    }
    assert!(receiver.recv().await.unwrap().is_none(), "something came after the last packet");
    let (sender, number) = sending.await.unwrap();
    sender.close(CloseReason::NORMAL).await.unwrap();
    (number, count)
}

/// A conversation with a page that goes on beside what the test does.
struct Talk {
    heard: watch::Receiver<u32>,
    stop: watch::Sender<bool>,
    running: JoinHandle<(u32, u32)>,
}

impl Talk {
    fn with(end: Connection) -> Self {
        let ((tell, heard), (stop, stopped)) = (watch::channel(0), watch::channel(false));
        Self { heard, stop, running: tokio::spawn(converse(end, tell, stopped)) }
    }

    async fn more(&mut self) {
        let goal = *self.heard.borrow() + 300;
        soon("300 more packets of the page", self.heard.wait_for(|heard| *heard >= goal)).await.unwrap();
    }

    /// Ends it; the page must have gone over `links`, and each end have all that the other one sent.
    async fn ends(self, page: JoinHandle<Value>, links: [&str; 3]) {
        self.stop.send_replace(true);
        let (sent, heard) = soon("the last packet of the page", self.running).await.unwrap();
        let mut seen = soon("the page's answer", page).await.unwrap();
        // A busy machine may be silent for long enough to be dialed again.
        seen["links"].as_array_mut().unwrap().dedup();
        let wanted = json!({ "links": links, "received": sent, "wrong": 0, "sent": heard, "unsettled": 0 });
        assert_eq!(seen, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_whose_udp_goes_dark_moves_its_session_to_websocket_and_later_back_with_nothing_lost() {
    let Some(browser) = haul_services::chromium() else { return };
    let wt = haul_wt::listen("wt://127.0.0.1:0/?idle=1s&ping=200ms".parse().unwrap()).await.unwrap();
    let ws = Transport::Ws.listen().await;
    let pin = wt.local_endpoint().as_str().split("pin=").nth(1).unwrap().to_owned();
    let udp = UdpRelay::new(place(&wt), 1, UdpFaults::default()).await.unwrap();
    let tcp = TcpRelay::new(place(&ws), 1, TcpFaults::default()).await.unwrap();
    let listener = Acceptor::new(AcceptorOptions::default()).unwrap().listen(vec![wt, ws]).unwrap();
    // However slow the browser is, this is not what it begins with.
    tcp.refuse();
    let [wt, ws] = [format!("wt://{}/", udp.address()), format!("ws://{}/", tcp.address())];
    let page = tokio::spawn(in_a_page(browser, page([&wt, &ws], &pin)));
    let end = soon("the page", listener.accept()).await.unwrap().unwrap();
    let mut talk = Talk::with(end);
    talk.more().await;
    tcp.go_on();
    udp.go_dark();
    soon("the WebSocket", tcp.until(|stats| stats.open == 1)).await;
    talk.more().await;
    udp.light_up();
    tcp.refuse();
    tcp.cut(Cut::Reset);
    soon("the end of the WebSocket", tcp.until(|stats| stats.open == 0)).await;
    talk.more().await;
    talk.ends(page, [&wt, &ws, &wt]).await;
}

/// Listeners on WebTransport and WebSocket in `network`, which live as long as the answered sender.
async fn listen_inside(network: &Namespace) -> ([Listener; 2], oneshot::Sender<()>) {
    let [wt, ws] =
        ["wt", "ws"].map(|scheme| format!("{scheme}://{}:0/?idle=2s&ping=400ms", network.inside()));
    let (give, given) = oneshot::channel();
    let (hold, held) = oneshot::channel();
    network.run(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let wt = haul_wt::listen(wt.parse().unwrap()).await.unwrap();
            let ws = haul_ws::listen(ws.parse().unwrap()).await.unwrap();
            assert!(give.send([wt, ws]).is_ok(), "nobody waits for them");
            // What it is dropped for does not matter.
            let _ = held.await;
        });
    });
    (soon("listeners inside", given).await.unwrap(), hold)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_whose_udp_the_kernel_drops_moves_its_session_to_websocket_and_later_back_with_nothing_lost() {
    let Some(network) = Namespace::new() else { return };
    let Some(browser) = haul_services::chromium() else { return };
    let ([wt, ws], _hold) = listen_inside(&network).await;
    let pin = wt.local_endpoint().as_str().split("pin=").nth(1).unwrap().to_owned();
    let [from, to] = [("wt", &wt), ("ws", &ws)].map(|(scheme, listener)| {
        format!("{scheme}://{}:{}/", network.inside(), listener.local_endpoint().port().unwrap())
    });
    let acceptor = Acceptor::new(AcceptorOptions::default()).unwrap();
    let listener = acceptor.listen(vec![wt, ws]).unwrap();
    // However slow the browser is, it begins with WebTransport.
    network.reset_tcp();
    let page = tokio::spawn(in_a_page(browser, page([&from, &to], &pin)));
    let end = soon("the page", listener.accept()).await.unwrap().unwrap();
    let (info, mut state) = (end.info().clone(), end.watch());
    let mut goes_over = async |protocol: &str| {
        let moving = async {
            while acceptor.protocol(&info) != Some(protocol) {
                state.changed().await.expect("the session goes on");
            }
        };
        soon(&format!("the session over {protocol}"), moving).await;
    };
    let mut talk = Talk::with(end);
    goes_over("wt").await;
    talk.more().await;
    network.drop_udp();
    goes_over("ws").await;
    talk.more().await;
    // WebSocket is cut, and WebTransport is there again.
    network.reset_tcp();
    goes_over("wt").await;
    talk.more().await;
    talk.ends(page, [&from, &to, &from]).await;
}
