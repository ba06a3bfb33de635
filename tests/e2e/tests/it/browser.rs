//! haul.js in a real browser, against haul's own listeners.

use std::future::Future;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use haul_core::{
    Body, CloseReason, Connection, Error, ErrorKind, Level, Listener, Packet, Receipt, Request, Response,
    service_fn,
};
use haul_session::{Acceptor, AcceptorOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::session::Cutter;

const MODULE: &str = include_str!("../../../../crates/serve/web/haul.js");

/// Makes `endless` of a head start in a page: however slow the machine is, who begins has the time that it needs.
const ENDLESS: &str = r#"
    const endless = { headStart: 1999 }, later = setTimeout;
    window.setTimeout = (work, wait, ...rest) => later(work, wait === endless.headStart ? 1e9 : wait, ...rest);
"#;

/// How long a browser, or a compiler, may take: it starts, and does all that its script says, beside others.
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

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

/// What a page came to.
pub(crate) struct Visit {
    /// What the script returned.
    pub(crate) result: Value,
    /// Requests and WebSockets to other origins than the page's own.
    pub(crate) foreign: Value,
    /// What the page's policy refused.
    pub(crate) violations: Value,
}

/// What drives a browser: the program, and its script in `tests/clients`.
pub(crate) type Runner = (std::process::Command, &'static str);

/// Runs `script` in the page at `url`.
pub(crate) async fn visit((command, file): Runner, url: &str, script: &str) -> Visit {
    let mut command = Command::from(command);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(file)).arg(url);
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
    let mut seen: Value = serde_json::from_slice(&answer).unwrap();
    let mut take = |name| seen[name].take();
    Visit { result: take("result"), foreign: take("foreign"), violations: take("violations") }
}

/// Reads to the end; what was read stays if it is given up before.
async fn gather(mut from: impl AsyncRead + Unpin, all: &mut Vec<u8>) {
    while from.read_buf(all).await.unwrap() > 0 {}
}

pub(crate) fn chromium() -> Option<Runner> {
    Some((haul_services::chromium()?, "browser.js"))
}

pub(crate) fn firefox() -> Option<Runner> {
    Some((haul_services::firefox()?, "firefox.js"))
}

/// What `script` returns in a page of Chromium while `serving` goes on; `None` where there is no browser.
pub(crate) async fn in_a_page<T>(script: &str, serving: impl Future<Output = T>) -> Option<(Value, T)> {
    let chromium = chromium()?;
    let site = site().await;
    let url = format!("http://127.0.0.1:{}/", site.local_endpoint().port().unwrap());
    let running = async { visit(chromium, &url, script).await.result };
    let (seen, served) = tokio::join!(running, timeout(PATIENCE, serving));
    let served = served
        .unwrap_or_else(|_| panic!("waited {PATIENCE:?} for what serves the page, which answered {seen}"));
    Some((seen, served))
}

pub(crate) async fn listen(url: &str) -> (Listener, String) {
    let listener = haul_ws::listen(url.parse().unwrap()).await.unwrap();
    let port = listener.local_endpoint().port().unwrap();
    (listener, format!("ws://127.0.0.1:{port}/"))
}

pub(crate) async fn accept(listener: &Listener) -> Connection {
    listener.accept().await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_and_a_listener_exchange_text_bytes_json_metadata_and_ids() {
    let (listener, url) = listen("ws://127.0.0.1:0").await;
    let script = format!(
        r#"
        const connection = await haul.connect("{url}");
        const states = [connection.state.name];
        connection.onstate = (state) => states.push(state.name);
        const id = haul.newId();
        await connection.send("grüße");
        await connection.send(new Uint8Array([0, 255, 7]), {{ metadata: {{ session_id: "7" }} }});
        await connection.send({{ a: [1, null] }}, {{ id }});
        await connection.send(new Uint8Array(3_000_000).fill(9));
        const packets = [];
        for await (const packet of connection) {{
            const {{ kind, metadata }} = packet, size = packet.payload.length;
            const content = size > 100 ? packet.payload.every((byte) => byte === 9) : packet.kind === "text" ? packet.text() : [...packet.payload];
            packets.push({{ kind, size, content, metadata, same: packet.id === id }});
            if (packets.length === 4) connection.close(3001, "done");
        }}
        return {{ packets, states, closed: await connection.closed }};
        "#
    );
    let Some((seen, packets)) =
        in_a_page(&script, async { echo_until_3001(accept(&listener).await).await }).await
    else {
        return;
    };
    assert_eq!(packets[0].as_text(), Some("grüße"));
    assert_eq!(packets[1].metadata().get("session_id"), Some("7"));
    assert_eq!(packets[2].as_text(), Some(r#"{"a":[1,null]}"#));
    assert!(packets[2].id().is_some());
    let wanted = json!({
        "packets": [
            { "kind": "text", "size": 7, "content": "grüße", "metadata": {}, "same": false },
            { "kind": "binary", "size": 3, "content": [0, 255, 7], "metadata": { "session_id": "7" }, "same": false },
            { "kind": "text", "size": 14, "content": r#"{"a":[1,null]}"#, "metadata": {}, "same": true },
            { "kind": "binary", "size": 3_000_000, "content": true, "metadata": {}, "same": false },
        ],
        "states": ["connected", "closing", "disconnected"],
        "closed": { "code": 3001, "reason": "done", "unsettled": 0 },
    });
    assert_eq!(seen, wanted);
}

/// Sends back what comes until the page closes with 3001.
async fn echo_until_3001(mut end: Connection) -> Vec<Packet> {
    let mut seen = Vec::new();
    loop {
        match end.recv().await {
            Ok(packet) => {
                let packet = packet.expect("a code comes first");
                end.send(packet.clone()).await.unwrap();
                seen.push(packet);
            }
            Err(why) => {
                assert!(why.message().contains("code 3001, \"done\""), "{why}");
                return seen;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_of_a_page_resolves_with_the_receivers_receipt_or_its_refusal() {
    let (listener, url) = listen("ws://127.0.0.1:0").await;
    let script = format!(
        r#"
        const connection = await haul.connect("{url}");
        const id = haul.newId();
        const stored = await connection.deliver("one", {{ id }});
        const refused = await connection.deliver("two").catch((error) => error);
        const lost = await connection.deliver("three").catch((error) => error);
        const after = await connection.send("four").catch((error) => error);
        const facts = ({{ kind, status, sent, message, retryAfter }}) => ({{ kind, status, sent, message, retryAfter }});
        return {{
            stored: {{ ...stored, id: stored.id === id }}, refused: facts(refused), lost: [lost.kind, lost.sent],
            after: [after.kind, after.sent], state: connection.state.name,
        }};
        "#
    );
    let serving = async {
        let mut end = accept(&listener).await;
        let one = end.next().await.unwrap().unwrap();
        let at = std::time::UNIX_EPOCH + Duration::from_micros(7);
        let id = one.packet().id();
        let stored = Receipt { level: Level::Stored, id, reference: Some("1-0".into()), at };
        one.ack(stored).await.unwrap();
        let two = end.next().await.unwrap().unwrap();
        let why = Error::new(ErrorKind::Overloaded, "no room").with_retry_after(Duration::from_millis(50));
        two.nack(why).await.unwrap();
        let three = end.next().await.unwrap().unwrap();
        end.close(CloseReason::new(1011, "broken")).await.unwrap();
        drop(three);
    };
    let Some((seen, ())) = in_a_page(&script, serving).await else { return };
    let wanted = json!({
        "stored": { "level": "stored", "id": true, "at": 7, "reference": "1-0" },
        "refused": {
            "kind": "overloaded", "status": "transient", "sent": "no", "message": "no room", "retryAfter": 50
        },
        "lost": ["closed", "maybe"],
        "after": ["closed", "no"],
        "state": "failed",
    });
    assert_eq!(seen, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_to_a_page_is_acknowledged_when_the_page_takes_it() {
    let (listener, url) = listen("ws://127.0.0.1:0").await;
    let script = format!(
        r#"
        const connection = await haul.connect("{url}");
        const taken = [];
        connection.onpacket = (packet) => taken.push(packet.text());
        await connection.closed;
        return taken;
        "#
    );
    let serving = async {
        let end = accept(&listener).await;
        let (sender, mut receiver) = end.split();
        let mut levels = Vec::new();
        let receipts = tokio::spawn(async move { receiver.recv().await });
        for text in ["one", "two"] {
            levels.push(haul_core::Deliver::deliver(&sender, Packet::text(text)).await.unwrap().level);
        }
        sender.close(CloseReason::NORMAL).await.unwrap();
        assert!(receipts.await.unwrap().unwrap().is_none());
        levels
    };
    let Some((seen, levels)) = in_a_page(&script, serving).await else { return };
    assert_eq!(seen, json!(["one", "two"]));
    assert_eq!(levels, [Level::Acknowledged, Level::Acknowledged]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_read_holds_the_sends_of_a_page_up_and_loses_none() {
    const COUNT: u32 = 1200;
    let (listener, url) = listen("ws://127.0.0.1:0").await;
    let control = haul_ws::listen("ws://127.0.0.1:0".parse().unwrap()).await.unwrap();
    let told = format!("ws://127.0.0.1:{}/", control.local_endpoint().port().unwrap());
    // 1200 packets of 64 KiB are more than the buffers of both ends and of the kernel take.
    let script = format!(
        r#"
        const [connection, control] = [await haul.connect("{url}"), await haul.connect("{told}")];
        let accepted = 0;
        const packet = (number) => new Uint8Array(65536).fill(number % 251);
        const sends = Array.from({{ length: {COUNT} }}, (_, number) => connection.send(packet(number)).then(() => accepted += 1));
        let before = -1;
        while (accepted !== before || accepted === 0) {{
            before = accepted;
            await new Promise((resolve) => setTimeout(resolve, 500));
        }}
        await control.send("held up");
        await Promise.all(sends);
        await connection.close();
        return {{ before, accepted }};
        "#
    );
    let serving = async {
        let mut end = accept(&listener).await;
        let mut told = accept(&control).await;
        assert_eq!(told.recv().await.unwrap().unwrap().as_text(), Some("held up"));
        let mut count = 0;
        while let Some(packet) = end.recv().await.unwrap() {
            assert!(
                packet.len() == 65536 && packet.payload().iter().all(|byte| u32::from(*byte) == count % 251)
            );
            count += 1;
        }
        count
    };
    let Some((seen, count)) = in_a_page(&script, serving).await else { return };
    assert_eq!(count, COUNT);
    assert_eq!(seen["accepted"], COUNT);
    assert!(seen["before"].as_u64().unwrap() < u64::from(COUNT), "nothing was held up: {seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_page_that_is_cut_every_few_kilobytes_loses_and_repeats_nothing() {
    const COUNT: u32 = 5000;
    let (listener, _) = listen("ws://127.0.0.1:0").await;
    let port = listener.local_endpoint().port().unwrap();
    let options = AcceptorOptions { replay_bytes: 64 << 10, ..AcceptorOptions::default() };
    let listener = Acceptor::new(options).unwrap().listen(vec![listener]).unwrap();
    let cutter = Cutter::new(port, 7, Some(40_000)).await;
    let script = format!(
        r#"
        const connection = await haul.connect("ws://127.0.0.1:{}/", {{ session: {{ base: 1, cap: 20, replayBytes: 65536 }} }});
        let reconnects = 0, wrong = 0, received = 0, receipts = 0;
        connection.onstate = ({{ name }}) => reconnects += name === "reconnecting";
        const sending = (async () => {{
            for (let number = 0; number < {COUNT}; number += 1) {{
                const text = `${{number}}`.padEnd(4 + (number * 37) % 300, ".");
                if (number % 500 === 499) receipts += (await connection.deliver(text)).level === "acknowledged";
                else await connection.send(text);
            }}
        }})();
        for await (const packet of connection) {{
            if (packet.text() !== `${{received}}`.padEnd(4 + (received * 37) % 300, ".")) wrong += 1;
            received += 1;
            if (received === {COUNT}) break;
        }}
        await sending;
        await connection.recv();
        const closed = await connection.close();
        return {{ reconnected: reconnects >= 20, wrong, received, receipts, closed }};
        "#,
        cutter.port
    );
    let serving = async {
        let (sender, mut receiver) = accept(&listener).await.split();
        let sending = tokio::spawn(async move {
            for number in 0..COUNT {
                sender.send(numbered(number)).await.unwrap();
            }
            sender
        });
        for count in 0..COUNT {
            let packet = receiver.recv().await.unwrap().expect("the page closes last");
            assert_eq!(packet.as_text(), numbered(count).as_text());
        }
        // Whoever closes on a network that cuts may never hear the answer.
        cutter.spare();
        sending.await.unwrap().send(Packet::text("the network holds")).await.unwrap();
        assert!(receiver.recv().await.unwrap().is_none());
    };
    let Some((seen, ())) = in_a_page(&script, serving).await else { return };
    let closed = json!({ "code": 1000, "reason": "", "unsettled": 0 });
    let wanted =
        json!({ "reconnected": true, "wrong": 0, "received": COUNT, "receipts": 10, "closed": closed });
    assert_eq!(seen, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_told_what_may_be_lost_when_its_session_is_no_more_and_goes_on() {
    let (listener, _) = listen("ws://127.0.0.1:0").await;
    let (control, told) = listen("ws://127.0.0.1:0").await;
    let port = listener.local_endpoint().port().unwrap();
    let options = AcceptorOptions { retention: Duration::ZERO, ..AcceptorOptions::default() };
    let listener = Acceptor::new(options).unwrap().listen(vec![listener]).unwrap();
    let cutter = Cutter::new(port, 7, None).await;
    let script = format!(
        r#"
        const control = await haul.connect("{told}");
        const connection = await haul.connect("ws://127.0.0.1:{}/", {{ session: true }});
        const receipt = connection.deliver("kept");
        await connection.send("lost");
        await control.send("cut");
        const {{ kind, from, to, oursMaybeLost, received }} = await connection.recv().catch((gap) => gap);
        await receipt;
        await connection.send("after");
        await connection.close();
        return {{ kind, from, to, oursMaybeLost, received }};
        "#,
        cutter.port
    );
    let serving = async {
        let mut told = accept(&control).await;
        let first = accept(&listener).await;
        assert_eq!(told.recv().await.unwrap().unwrap().as_text(), Some("cut"));
        // A page that came back before the session has ended would go on with it.
        cutter.cut_off();
        first.watch().over().await;
        cutter.go_on();
        let mut second = accept(&listener).await;
        let gap = second.recv().await.unwrap_err();
        assert_eq!(gap.kind(), ErrorKind::Gap);
        let kept = second.recv().await.unwrap().unwrap();
        let after = second.recv().await.unwrap().unwrap();
        assert!(second.recv().await.unwrap().is_none());
        [kept, after].map(|packet| packet.as_text().unwrap().to_owned())
    };
    let Some((seen, packets)) = in_a_page(&script, serving).await else { return };
    assert_eq!(packets, ["kept", "after"]);
    assert_eq!(seen, json!({ "kind": "gap", "from": 1, "to": 2, "oursMaybeLost": 1, "received": 0 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_speaks_webtransport_to_a_certificate_that_it_pins() {
    let listener = haul_wt::listen("wt://127.0.0.1:0/live".parse().unwrap()).await.unwrap();
    let local = listener.local_endpoint();
    let (port, pin) = (local.port().unwrap(), local.as_str().split("pin=").nth(1).unwrap());
    let script = format!(
        r#"
        const url = "wt://127.0.0.1:{port}/live";
        const untrusted = await haul.connect(url).catch((error) => error.kind);
        const connection = await haul.connect(url, {{ certificateHashes: ["{pin}"] }});
        const level = (await connection.deliver({{ a: 1 }}, {{ metadata: {{ session_id: "7" }} }})).level;
        await connection.send(new Uint8Array(3_000_000).fill(9));
        const first = await connection.recv(), second = await connection.recv();
        const same = second.payload.length === 3_000_000 && second.payload.every((byte) => byte === 9);
        return {{ untrusted, level, first: first.json(), metadata: first.metadata, same, closed: await connection.close() }};
        "#
    );
    let serving = async {
        let mut end = accept(&listener).await;
        while let Some(packet) = end.recv().await.unwrap() {
            end.send(packet).await.unwrap();
        }
    };
    let Some((seen, ())) = in_a_page(&script, serving).await else { return };
    let wanted = json!({
        "untrusted": "connect", "level": "acknowledged", "first": { "a": 1 }, "metadata": { "session_id": "7" },
        "same": true, "closed": { "code": 1000, "reason": "", "unsettled": 0 },
    });
    assert_eq!(seen, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_takes_the_transport_that_opens_and_begins_with_it_the_next_time() {
    let (listener, url) = listen("ws://127.0.0.1:0").await;
    let wt = haul_wt::listen("wt://127.0.0.1:0".parse().unwrap()).await.unwrap();
    let local = wt.local_endpoint();
    let (port, pin) = (local.port().unwrap(), local.as_str().split("pin=").nth(1).unwrap());
    // It takes connections and never says a word.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("ws://{}/", mute.local_addr().unwrap());
    let script = format!(
        r#"
        {ENDLESS}
        const adaptive = {{ headStart: 2000 }}, certificateHashes = ["{pin}"];
        const wt = "wt://127.0.0.1:{port}/", refused = "ws://127.0.0.1:1/";
        const won = async (urls, own = adaptive) => {{
            const connection = await haul.connect(urls, {{ adaptive: own, certificateHashes }});
            await connection.deliver("here");
            return connection.url;
        }};
        const none = await haul.connect([refused, "ws://127.0.0.1:2/"], {{ adaptive }}).catch((error) => error);
        return {{
            first: await won(["{silent}", "{url}"]), again: await won(["{silent}a", "{url}b"]),
            preferred: await won([wt, refused]), fallback: await won([refused, wt]),
            both: [await won([wt, "{url}c"], endless), await won(["{url}d", wt], endless)],
            none: [none.kind, none.status, none.message.split("; ").length],
        }};
        "#
    );
    let serving = async {
        let mut held = Vec::new();
        let mut taken = 0;
        while taken < 6 {
            let mut end = tokio::select! {
                dialed = mute.accept() => {
                    held.push(dialed.unwrap());
                    continue;
                }
                accepted = listener.accept() => accepted.unwrap().unwrap(),
                accepted = wt.accept() => accepted.unwrap().unwrap(),
            };
            assert_eq!(end.recv().await.unwrap().unwrap().as_text(), Some("here"));
            end.flush().await.unwrap();
            tokio::spawn(async move { end.recv().await });
            taken += 1;
        }
        held.len()
    };
    let Some((seen, silent_dials)) = in_a_page(&script, serving).await else { return };
    let wt = format!("wt://127.0.0.1:{port}/");
    let wanted = json!({
        "first": url, "again": format!("{url}b"), "preferred": wt, "fallback": wt, "both": [wt, format!("{url}d")],
        "none": ["connect", "transient", 2],
    });
    assert_eq!(seen, wanted);
    assert_eq!(silent_dials, 1, "the silent one was dialed again before the winner");
}

pub(crate) fn numbered(number: u32) -> Packet {
    let mut text = number.to_string();
    while text.len() < 4 + (number as usize * 37) % 300 {
        text.push('.');
    }
    Packet::text(text)
}
