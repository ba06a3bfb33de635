//! The gateway's own page, and haul.js against the gateway, in a real browser.

use serde_json::{Value, json};

use crate::browser::{Runner, Visit, chromium, firefox, visit};
use crate::program::{Gateway, cat};
use crate::settings::Place;

const WEB: &str = "http://127.0.0.1:0";

/// Waits in a page until `seen` answers something, and answers it.
const UNTIL: &str = r#"
    const until = async (what, seen) => {
        for (const began = Date.now(); Date.now() - began < 120_000; await new Promise((done) => setTimeout(done, 20))) {
            const answer = seen();
            if (answer) return answer;
        }
        throw new Error(`waited 120 s for ${what}`);
    };
    const $ = (id) => document.getElementById(id), $$ = (selector) => document.querySelector(selector);
    const fact = (list, name) => [...$(list).children]
        .find((row) => row.firstElementChild.textContent === name)?.lastElementChild.textContent;
"#;

/// A visit to the gateway's page; nothing of it may go elsewhere, or against its policy.
async fn look(runner: Runner, gateway: &Gateway, script: &str) -> Value {
    let url = format!("http://{}/", gateway.address(0));
    let Visit { result, foreign, violations } = visit(runner, &url, &format!("{UNTIL}{script}")).await;
    assert_eq!((foreign, violations), (json!([]), json!([])));
    result
}

async fn delivers_over_each_transport(runner: Runner) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), &[WEB], &[]);
    let script = r#"
        await until("the feed", () => $("feed").dataset.state === "connected");
        const over = {};
        for (const protocols of [["wt"], ["ws"], ["sse"], ["wt", "ws", "sse"]]) {
            for (const session of [true, false]) {
                const name = `${protocols.join("-")}-${session}`;
                const options = { session, protocols, adaptive: { headStart: 2000 } };
                const connection = await haul.connect(`/live?session=${name}`, options);
                const receipts = await Promise.all(["one", "two"].map((text) => connection.deliver(text)));
                const trip = await connection.ping();
                const { code } = await connection.close();
                over[name] = [new URL(connection.url).protocol, ...receipts.map(({ level }) => level), trip >= 0, code];
            }
        }
        return over;
    "#;
    let over = look(runner, &gateway, script).await;
    for (name, scheme) in [("wt", "wt:"), ("ws", "ws:"), ("sse", "sse:"), ("wt-ws-sse", "")] {
        for session in [true, false] {
            let name = format!("{name}-{session}");
            // Of several, a slow machine may take any.
            let scheme = if scheme.is_empty() { over[&name][0].clone() } else { scheme.into() };
            assert_eq!(over[&name], json!([scheme, "stored", "stored", true, 1000]), "{name}");
            assert_eq!(cat(dir.path(), &["--session", &name]), b"one\ntwo\n", "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_delivers_to_the_gateway_over_each_transport_with_a_session_and_without() {
    let Some(chromium) = chromium() else { return };
    delivers_over_each_transport(chromium).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn firefox_delivers_to_the_gateway_over_each_transport_with_a_session_and_without() {
    let Some(firefox) = firefox() else { return };
    delivers_over_each_transport(firefox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_source_of_the_browser_hears_the_status_and_its_receipts() {
    let Some(chromium) = chromium() else { return };
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), &[WEB], &[]);
    let script = r#"
        const next = (source, name) => new Promise((heard, failed) => {
            source.addEventListener(name, ({ data }) => heard(data), { once: true });
            source.onerror = failed;
        });
        const feed = new EventSource("/status");
        const status = JSON.parse(await next(feed, "message"));
        feed.close();
        const source = new EventSource("/live?session=source&receipts=json");
        const token = await next(source, "haul-session"), receipt = next(source, "message");
        const posted = await fetch(`/live?haul-session=${token}`, { method: "POST", body: "from a page" });
        const { receipt: level } = JSON.parse(await receipt);
        source.close();
        return [status.protocols.sse.open, posted.status, level];
    "#;
    let seen = look(chromium, &gateway, script).await;
    assert_eq!(seen, json!([1, 204, "stored"]));
    assert_eq!(cat(dir.path(), &["--session", "source"]), b"from a page\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_shows_what_a_tab_sends_over_each_transport() {
    let Some(chromium) = chromium() else { return };
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), &[WEB], &[]);
    let script = r#"
        await until("the feed", () => $("feed").dataset.state === "connected");
        const form = $("tab"), over = [];
        form.elements.rate.value = 0;
        for (const transport of ["wt", "ws", "sse", ""]) {
            form.elements.transport.value = transport;
            form.requestSubmit();
            await until("a connection", () => !$("once").disabled && !$("toggle").disabled);
            const before = Number(fact("tab-facts", "receipts"));
            for (let sent = 0; sent < 3; sent += 1) $("once").click();
            await until("the receipts", () => Number(fact("tab-facts", "receipts")) === before + 3);
            await until("a round trip", () => / ms$/.test(fact("tab-facts", "round trip")));
            over.push(fact("tab-facts", "over"));
            form.requestSubmit();
            await until("its end", () => $("once").disabled && !$("toggle").disabled);
        }
        form.elements.rate.value = 100;
        form.requestSubmit();
        await until("events at a rate", () => Number(fact("tab-facts", "receipts")) > 50);
        form.elements.rate.value = 0;
        await until("the last receipt", () => fact("tab-facts", "waiting") === "0");
        const receipts = fact("tab-facts", "receipts");
        await until("all in the log", () => fact("tiles", "events stored") === receipts);
        const received = (name) => Number($$(`[data-protocol=${name}]`).cells[5].textContent);
        await until("a rate", () => received("wt") + received("ws") + received("sse") === Number(receipts));
        return {
            over, receipts: Number(receipts), each: ["wt", "ws", "sse"].map(received),
            listener: $$('#listeners th').firstChild.textContent, next: fact("log", "next event"),
            failed: fact("tab-facts", "failed"), chart: $$('#packets svg').getAttribute("aria-label"),
            trips: $("trips-note").textContent, states: $("states").textContent, wide: document.documentElement.scrollWidth <= innerWidth,
        };
    "#;
    let seen = look(chromium, &gateway, script).await;
    let over = seen["over"].as_array().unwrap();
    assert_eq!(over[..3], [json!("WebTransport"), json!("WebSocket"), json!("SSE")]);
    assert!(over[..3].contains(&over[3]), "{over:?}");
    assert!(seen["each"].as_array().unwrap().iter().all(|received| received.as_u64() >= Some(3)), "{seen}");
    assert_eq!(seen["listener"], gateway.urls[0].as_str());
    let receipts = seen["receipts"].as_u64().unwrap();
    assert_eq!(seen["next"], (receipts + 1).to_string());
    assert_eq!(cat(dir.path(), &[]).iter().filter(|byte| **byte == b'\n').count() as u64, receipts);
    assert!(seen["failed"].is_null(), "{seen}");
    let chart = seen["chart"].as_str().unwrap();
    assert!(chart.starts_with("Packets per second, the last two minutes: received"), "{chart}");
    assert!(seen["trips"].as_str().unwrap().contains("half <"), "{seen}");
    assert_eq!(seen["wide"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_asks_for_a_token_until_the_gateway_knows_it() {
    let Some(chromium) = chromium() else { return };
    let place = Place::new(WEB, "tokens = ['open sesame']");
    let gateway = place.start(&[]);
    let script = r#"
        const asked = [];
        for (const token of ["guess", "open sesame"]) {
            await until("the question", () => $("ask").open);
            asked.push($("ask-why").textContent);
            $("token").value = token;
            $$('#ask form').requestSubmit();
            await until("the answer", () => !$("ask").open);
        }
        await until("the feed", () => $("feed").dataset.state === "connected");
        const refused = await haul.connect("/live", { protocols: ["sse"] }).catch(({ kind }) => kind), levels = [];
        for (const protocols of [["wt"], ["ws"], ["sse"]]) {
            const connection = await haul.connect("/live", { token: "open sesame", protocols, session: true });
            levels.push((await connection.deliver(protocols[0])).level);
            await connection.close();
        }
        return [asked[0] === asked[1], refused, ...levels];
    "#;
    let seen = look(chromium, &gateway, script).await;
    assert_eq!(seen, json!([false, "unauthorized", "stored", "stored", "stored"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_shows_how_each_route_its_layers_and_its_receivers_do() {
    let Some(chromium) = chromium() else { return };
    let place = Place::new(WEB, "");
    let file = place.data().with_file_name("archive.jsonl");
    let routes = format!(
        "[[route]]\nname = 'archive'\nsink = 'file:{}'\nlayers = [{{ type = 'queue' }}]\n\
         [[route]]\nname = 'away'\nsink = 'tcp://127.0.0.1:1'\nlayers = [{{ type = 'breaker', consecutive = 1, open = '1h' }}]\n",
        file.display()
    );
    place.write(WEB, &routes);
    let gateway = place.start(&[]);
    let script = r#"
        await until("the feed", () => $("feed").dataset.state === "connected");
        const connection = await haul.connect("/live", { session: true });
        for (const text of ["one", "two"]) await connection.deliver(text);
        await connection.close();
        const words = (selector) => $$(selector)?.innerText.replace(/\s+/g, " ") ?? "";
        await until("the archive to have both", () => words("[data-sink=archive] [data-receiver]").includes("2 accepted"));
        await until("the breaker to open", () => words("[data-sink=away]").includes("breaker open"));
        return {
            archive: words("[data-sink=archive]"), away: words("[data-sink=away]"), receiver: words("[data-sink=away] [data-receiver]"),
            behind: fact("tiles", "furthest route behind"), wide: document.documentElement.scrollWidth <= innerWidth,
        };
    "#;
    let seen = look(chromium, &gateway, script).await;
    let says = |part: &str, words: &[&str]| {
        let text = seen[part].as_str().unwrap();
        words.iter().for_each(|word| assert!(text.contains(word), "{part} does not say {word}: {text}"));
    };
    says("archive", &["archive", "queue: 0 waiting", "in all 2", "behind 0"]);
    says("away", &["away", "breaker open", "behind 2", "the circuit is open"]);
    says(
        "receiver",
        &["tcp://127.0.0.1:1", "0 accepted", "1 failed", "last failure: ", "Connection refused"],
    );
    assert_eq!((&seen["behind"], &seen["wide"]), (&json!("2"), &json!(true)));
}
