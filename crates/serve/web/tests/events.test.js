// Event streams of haul.js, and what is above them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Packet, connect } from "../haul.js";
import { ANNOUNCED, LATE, TYPE, accepted, close, ends, event, framed, note, packet, says, serve, until } from "./server.js";

test("what is sent in one moment goes in one POST, and a close is said by both ends", LATE, async () => {
    let stream;
    const server = await serve([(response) => (stream = says(ANNOUNCED)(response))], ({ body }) => {
        if (body.equals(close)) stream.end(event(close, 1));
        return 204;
    });
    const connection = await connect(server.url, { token: "s3cret" });
    await Promise.all([connection.send("a"), connection.send("b")]);
    await until("the first POST", () => server.of("POST").length > 0);
    assert.deepEqual(await connection.close(), { code: 1000, reason: "", unsettled: 0 });
    const posts = server.of("POST");
    assert.deepEqual(posts.map(({ headers }) => headers["haul-number"]), ["0", "1"]);
    assert.deepEqual(posts.map(({ body }) => body), [Buffer.concat([packet("a"), packet("b")]), close]);
    for (const { url, headers } of [...posts, ...server.of("GET")]) {
        assert.deepEqual([url, headers.authorization], ["/live?room=1", "Bearer s3cret"]);
    }
    assert.ok(posts.every(({ headers }) => headers["haul-session"] === "t"));
    assert.equal(server.of("DELETE").length, 0);
});

test("an event stream is the same wherever it is cut, and with every line end", LATE, async (t) => {
    const whole = `\ufeff: hello\n${ANNOUNCED}event: other\ndata: never\ndata: again\n\nid\n\ndata:${packet("ä").toString("base64")}\n\n`
        + `nothing: here\ndata\n\ndata: ${packet("two").subarray(0, 5).toString("base64")}\n\n`
        + event(packet("two").subarray(5), 2) + event(close, 3);
    const { fetch } = globalThis;
    t.after(() => (globalThis.fetch = fetch));
    for (const end of ["\n", "\r", "\r\n"]) {
        const bytes = new TextEncoder().encode(whole.replaceAll("\n", end));
        for (const size of [1, 2, 7, bytes.length]) {
            const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.subarray(at * size, (at + 1) * size));
            globalThis.fetch = async (_, { method }) => method ? new Response(null, { status: 204 }) : new Response(ReadableStream.from(pieces), { headers: TYPE });
            const connection = await connect("sse://127.0.0.1:1/"), texts = [];
            for await (const packet of connection) texts.push(packet.text());
            assert.deepEqual(texts, ["ä", "two"], `${JSON.stringify(end)} in pieces of ${size}`);
        }
    }
});

test("a stream that is cut is come back to behind the last event, and nothing is lost or doubled", LATE, async () => {
    const half = event(packet("two"), 2).slice(0, -9);
    const server = await serve([
        ends(ANNOUNCED, event(packet("one"), 1), half),
        (response) => response.writeHead(503, { "retry-after": "0" }).end(),
        (response) => response.socket.destroy(),
        ends(event(packet("two"), 2)),
        says(event(packet("three"), 3), event(close, 4)),
    ]);
    const connection = await connect(server.url), texts = [], states = [];
    connection.onstate = ({ name }) => states.push(name);
    for await (const packet of connection) texts.push(packet.text());
    assert.deepEqual(texts, ["one", "two", "three"]);
    const asked = server.of("GET").map(({ headers }) => [headers["haul-session"], headers["last-event-id"]]);
    assert.deepEqual(asked, [[undefined, undefined], ["t", "t.1"], ["t", "t.1"], ["t", "t.1"], ["t", "t.2"]]);
    assert.deepEqual(states.filter((name, at) => name !== states[at - 1]), ["reconnecting", "connected", "reconnecting", "connected", "disconnected"]);
});

test("a POST whose answer was lost, or that came too early, is sent again under its number", LATE, async () => {
    const answers = [
        (response) => response.socket.destroy() && 0,
        (response) => response.writeHead(503, { "haul-busy": "1" }).end() && 0,
        () => 500,
        () => 204,
    ];
    const server = await serve([says(ANNOUNCED)], (_, response) => answers.shift()?.(response) ?? 204);
    const connection = await connect(server.url);
    await connection.send("once");
    await until("an answer", () => answers.length === 0);
    await connection.send("then");
    await until("the next one", () => server.of("POST").length === 5);
    assert.deepEqual(server.of("POST").map(({ headers }) => headers["haul-number"]), ["0", "0", "0", "0", "1"]);
    assert.ok(server.of("POST").slice(0, 4).every(({ body }) => body.equals(packet("once"))));
    connection.abort();
});

test("what the server ended is over at both ends", LATE, async () => {
    const endings = {
        "the peer cut": [says(ANNOUNCED, "event: haul-cut\ndata\n\n")],
        "answered 410": [ends(ANNOUNCED)],
    };
    for (const [why, gets] of Object.entries(endings)) {
        const server = await serve(gets), connection = await connect(server.url);
        const error = await connection.recv().catch((error) => error);
        assert.equal(error.kind, "closed");
        assert.match(error.message, new RegExp(why));
        assert.equal(server.of("DELETE").length, 0);
    }
    const server = await serve([says(ANNOUNCED)], () => 404);
    const connection = await connect(server.url);
    await connection.send("nowhere");
    await assert.rejects(connection.closed, { kind: "closed" });
});

test("a server that cannot be spoken to is told from one that refuses and one that is not there", LATE, async () => {
    const answer = (status, head = {}, body = "") => (response) => response.writeHead(status, head).end(body);
    const cases = [
        [answer(401, {}, "show a token"), { kind: "unauthorized", status: "permanent", message: /401: show a token/ }],
        [answer(503, { "retry-after": "2" }), { kind: "overloaded", status: "transient", retryAfter: 2000 }],
        [answer(418), { kind: "rejected", status: "permanent" }],
        [answer(302, { location: "/" }), { kind: "connect" }],
        [answer(200, { ...TYPE, "haul-protocol": "" }, ANNOUNCED), { kind: "unsupported" }],
        [answer(200, { ...TYPE, "content-type": "text/html" }), { kind: "unsupported" }],
        [answer(200, TYPE, event(packet("x"), 0)), { kind: "protocol" }],
        [answer(200, TYPE), { kind: "connect", status: "transient" }],
        [() => {}, { kind: "timeout" }],
    ];
    for (const [get, error] of cases) {
        const { url } = await serve([get]);
        await assert.rejects(connect(url, { timeout: error.kind === "timeout" ? 50 : 20_000 }), error);
    }
    await assert.rejects(connect("sse://127.0.0.1:1/"), { kind: "connect", status: "transient" });
    await assert.rejects(connect("sse://"), { kind: "config" });
});

test("what is no haul.v1, and what is too much, ends the connection and is told to the peer", LATE, async () => {
    const cases = [
        ["data: *\n\n", "protocol"], [event(framed({ type: "ping", payload: Buffer.alloc(9) }).fill(0xff, 4), 1), "protocol"],
        [event(packet("x".repeat(1001)), 1), "too_large"], [event(Buffer.from("7fffffff", "hex"), 1), "too_large"],
        [`data: ${"x".repeat(200_000)}`, "too_large"], [`${"data: x\n".repeat(30_000)}`, "too_large"], [Buffer.of(0xff), "codec"],
    ];
    for (const [piece, kind] of cases) {
        let stream;
        const server = await serve([(response) => (stream = says(ANNOUNCED)(response))], () => (stream.write(piece), 204));
        const connection = await connect(server.url, { maxPacket: 1000 });
        await connection.send("go on");
        await assert.rejects(connection.closed, { kind });
        await until(`the end after ${kind}`, () => server.of("DELETE").length + server.of("POST").length > 1);
    }
});

test("a gateway names its protocols, and the first of them that opens is taken", LATE, async () => {
    const named = (response) => response.end('{"protocols":["wt","nonsense","ws","sse"],"certificateHashes":[]}');
    const server = await serve([named, says(ANNOUNCED)]);
    const connection = await connect(`http://127.0.0.1:${server.port}/live?room=1`, { token: "s3cret" });
    assert.equal(connection.url, server.url);
    assert.deepEqual(server.of("GET").map(({ url }) => url), ["/haul.json", "/live?room=1"]);
    assert.ok(server.of("GET").every(({ headers }) => headers.authorization === "Bearer s3cret"));
    connection.abort();
    for (const [get, kind] of [[(response) => response.end("{}"), "unsupported"], [(response) => response.writeHead(401).end(), "unauthorized"]]) {
        const { port } = await serve([get]);
        await assert.rejects(connect(`http://127.0.0.1:${port}/`), { kind });
    }
    await assert.rejects(connect(["http://127.0.0.1/", "ws://127.0.0.1/"]), { kind: "config" });
    await assert.rejects(connect("/live"), { kind: "config" });
    for (const options of [{ protocols: ["sse", "ftp"] }, { protocols: "sse" }, { token: 7 }, { certificateHashes: "ab" }, { maxPacket: 0 }]) {
        await assert.rejects(connect(server.url, options), { kind: "config" }, JSON.stringify(options));
    }
});

test("a session goes on over another event stream", LATE, async () => {
    const server = await serve([
        ends(ANNOUNCED, accepted, event(packet("one"))),
        says(ANNOUNCED, event(note({ word: "resumed", received: 0 })), event(packet("two"))),
    ]);
    const connection = await connect(server.url, { session: { base: 1 } });
    assert.equal((await connection.recv()).text(), "one");
    assert.equal((await connection.recv()).text(), "two");
    assert.equal(server.of("GET")[1].headers["haul-session"], undefined, "it is another link");
    connection.abort();
});

test("a session that the peer has forgotten has closed, if only its close was not settled", LATE, async () => {
    const unknown = event(note({ word: "refused", reason: "unknown", text: "no such session" }));
    for (const settled of [true, false]) {
        let stream;
        const first = (response) => (stream = says(ANNOUNCED, accepted)(response));
        const server = await serve([first, says(ANNOUNCED, unknown)], ({ body }) => {
            if (body.includes("kept") && settled) stream.write(event(note({ word: "ack", settled: 1 })));
            if (body.includes(close)) stream.end();
            return 204;
        });
        const connection = await connect(server.url, { session: { base: 1 } });
        await connection.send("kept");
        await until("the packet", () => server.of("POST").some(({ body }) => body.includes("kept")));
        const closed = connection.close();
        if (settled) assert.deepEqual(await closed, { code: 1000, reason: "", unsettled: 0 });
        else await assert.rejects(closed, { kind: "rejected", status: "permanent" });
    }
});

test("a delivery whose receipt came is settled, though the peer never said so", LATE, async () => {
    const unknown = event(note({ word: "refused", reason: "unknown", text: "no such session" }));
    for (const next of ["close", "open"]) {
        let stream;
        const id = "11111111-2222-4333-8444-555555555555", done = framed({ type: "receipt", id, receipt: { level: "stored", id, at: 5 } });
        const first = (response) => (stream = says(ANNOUNCED, accepted)(response));
        const server = await serve([first, says(ANNOUNCED, unknown, accepted)], ({ body }) => {
            if (body.includes("answered")) stream.write(event(done));
            if (body.includes(next === "close" ? close : "next")) stream.end();
            return 204;
        });
        const connection = await connect(server.url, { session: { base: 1 } });
        assert.equal((await connection.deliver(Packet.of("answered", { id }))).level, "stored");
        if (next === "close") {
            assert.deepEqual(await connection.close(), { code: 1000, reason: "", unsettled: 0 });
            continue;
        }
        await connection.send(Packet.of("next", { id: "21111111-2222-4333-8444-555555555555" }));
        const times = (text) => server.of("POST").filter(({ body }) => body.includes(text)).length;
        await until("the next again", () => times("next") === 2);
        assert.equal(times("answered"), 1, "it was sent again");
        connection.abort();
    }
});

test("a session asks a link on which nothing is heard, and gives it up if there is no answer", LATE, async () => {
    const server = await serve([says(ANNOUNCED, accepted), says(ANNOUNCED, event(note({ word: "resumed", received: 0 })))]);
    const connection = await connect(server.url, { session: { idle: 100 } }), states = [];
    await new Promise((resolve) => {
        connection.onstate = ({ name, error }) => states.push(error?.kind ?? name) === 2 && resolve();
    });
    assert.deepEqual(states, ["timeout", "connected"]);
    const ping = framed({ type: "ping", payload: new Uint8Array() });
    await until("the question", () => server.of("POST").some(({ body }) => body.includes(ping)));
    connection.abort();
});

test("a ping resolves with the time that it took", LATE, async () => {
    let stream;
    const server = await serve([(response) => (stream = says(ANNOUNCED)(response))], ({ body }) => {
        if (body.length === 14) stream.write(event(framed({ type: "pong", payload: body.subarray(6) })));
        return 204;
    });
    const connection = await connect(server.url), took = await connection.ping();
    assert.ok(took > 0 && took < 30_000);
    connection.abort();
});

test("the end of a WebTransport session that overtakes its close is a close, once this end has said its own", LATE, async (t) => {
    const ended = Object.assign(new Error("The session is closed."), { source: "session" });
    globalThis.WebTransport = class {
        ready = Promise.resolve();
        closed = new Promise((resolve) => (this.end = () => resolve({ closeCode: 3001, reason: "done" })));
        close() {}
        async createBidirectionalStream() {
            let fail;
            const readable = new ReadableStream({ start: (controller) => (fail = () => controller.error(ended)) });
            const write = (bytes) => {
                if (new TextDecoder("latin1").decode(bytes).includes("over")) queueMicrotask(() => (fail(), this.end()));
            };
            return { readable, writable: new WritableStream({ write }) };
        }
    };
    t.after(() => delete globalThis.WebTransport);
    const connection = await connect("wt://127.0.0.1:1/");
    assert.deepEqual(await connection.close(3001, "over"), { code: 3001, reason: "done", unsettled: 0 });
    const cut = await connect("wt://127.0.0.1:1/");
    await cut.send("over");
    await assert.rejects(cut.closed, { kind: "closed" });
});
