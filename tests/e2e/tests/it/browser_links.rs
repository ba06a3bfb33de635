//! Links of haul.js that are cut, left or refused, in a real browser.

use haul_core::{Body, Endpoint, Listener, Metadata, Packet, Request, Response, service_fn};
use haul_http::Server;
use serde_json::json;

use crate::browser::{accept, in_a_page, listen, numbered, soon};
use crate::session::Cutter;

/// Event streams for pages of any origin.
async fn event_streams(options: &str) -> (Listener, Server) {
    let endpoint: Endpoint = format!("sse://127.0.0.1/{options}").parse().unwrap();
    let (mount, listener) = haul_sse::Mount::new(&endpoint).unwrap();
    let service = service_fn(move |request: Request| {
        let mount = mount.clone();
        async move {
            let mut response = if request.method() == "OPTIONS" {
                Response::new(Body::empty())
            } else {
                match mount.answer(request, Metadata::default()).await {
                    Ok(response) => response,
                    Err(why) => {
                        let mut response = Response::new(Body::from(why.to_string()));
                        let status = why.context().find(|(name, _)| *name == "status");
                        let status: u16 = status.map_or(404, |(_, status)| status.parse().unwrap());
                        *response.status_mut() = status.try_into().unwrap();
                        response
                    }
                }
            };
            for (name, value) in [
                ("access-control-allow-origin", "*"),
                ("access-control-allow-headers", "*"),
                ("access-control-allow-methods", "GET, POST, DELETE"),
                ("access-control-expose-headers", "haul-protocol, haul-busy"),
            ] {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            Ok(response)
        }
    });
    (listener, haul_http::serve("http://127.0.0.1:0".parse().unwrap(), service).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_of_a_page_that_is_cut_every_few_kilobytes_loses_and_repeats_nothing() {
    const COUNT: u32 = 5000;
    let (listener, server) = event_streams("?retry=1ms&replay=8MiB").await;
    let cutter = Cutter::new(server.local_endpoint().port().unwrap(), 7, Some(100_000)).await;
    let script = format!(
        r#"
        const connection = await haul.connect("sse://127.0.0.1:{}/");
        let reconnects = 0, wrong = 0, received = 0, receipts = 0;
        connection.onstate = ({{ name }}) => reconnects += name === "reconnecting";
        const sending = (async () => {{
            for (let number = 0; number < {COUNT}; number += 1) {{
                const text = `${{number}}`.padEnd(4 + (number * 37) % 300, ".");
                if (number % 100 === 99) receipts += (await connection.deliver(text)).level === "acknowledged";
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
        return {{ reconnected: reconnects > 0, wrong, received, receipts, closed: await connection.close() }};
        "#,
        cutter.port
    );
    let serving = async {
        let (sender, mut receiver) = accept(&listener).await.split();
        // A browser drops what it has of an answer that is cut: before its token is there, there is no session.
        assert_eq!(receiver.recv().await.unwrap().unwrap().as_text(), numbered(0).as_text());
        let sending = tokio::spawn(async move {
            for number in 0..COUNT {
                sender.send(numbered(number)).await.unwrap();
            }
            sender
        });
        for count in 1..COUNT {
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
        json!({ "reconnected": true, "wrong": 0, "received": COUNT, "receipts": 50, "closed": closed });
    assert_eq!(seen, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_left_ends_its_event_stream_at_once() {
    let (listener, server) = event_streams("").await;
    let (control, told) = listen("ws://127.0.0.1:0").await;
    let script = format!(
        r#"
        const control = await haul.connect("{told}");
        const frame = document.createElement("iframe");
        frame.src = "/";
        document.body.append(frame);
        await new Promise((loaded) => frame.onload = loaded);
        const inner = await frame.contentWindow.eval('import("/haul.js")');
        const connection = await inner.connect("sse://127.0.0.1:{}/");
        await connection.deliver("here");
        frame.src = "about:blank";
        return (await control.recv()).text();
        "#,
        server.local_endpoint().port().unwrap()
    );
    let serving = async {
        let control = accept(&control).await;
        let mut end = accept(&listener).await;
        assert_eq!(end.recv().await.unwrap().unwrap().as_text(), Some("here"));
        let why = soon("the end", end.recv()).await.unwrap_err();
        control.send(Packet::text("ended")).await.unwrap();
        control.flush().await.unwrap();
        (why, control)
    };
    let Some((seen, (why, _))) = in_a_page(&script, serving).await else { return };
    assert_eq!(seen, "ended");
    assert!(why.message().contains("the client cut the session"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_asks_a_websocket_for_its_round_trip() {
    let (listener, url) = listen("ws://127.0.0.1:0").await;
    let script = format!(
        r#"
        const connection = await haul.connect("{url}");
        const trips = await Promise.all([connection.ping(), connection.ping()]);
        return [trips.every((trip) => trip > 0), (await connection.close()).code];
        "#
    );
    let serving = async { accept(&listener).await.recv().await.unwrap().map(|packet: Packet| packet.len()) };
    let Some((seen, none)) = in_a_page(&script, serving).await else { return };
    assert_eq!((seen, none), (json!([true, 1000]), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_told_why_it_cannot_connect() {
    let (listener, plain) = listen("ws://127.0.0.1:0?subprotocol=other").await;
    let script = format!(
        r#"
        const why = async (...args) => {{ try {{ await haul.connect(...args); }} catch (error) {{ return error.kind; }} }};
        return [
            await why("{plain}"), await why("ws://127.0.0.1:1/"), await why("ftp://127.0.0.1/"),
            await why("{plain}", {{ tiemout: 1 }}), await why("{plain}", {{ timeout: 0 }}),
        ];
        "#
    );
    let Some((seen, ())) = in_a_page(&script, async {}).await else { return };
    assert_eq!(seen, json!(["connect", "connect", "config", "config", "config"]));
    drop(listener);
}
