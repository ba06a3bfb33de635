// Event streams of haul.js, against a server that says what each test needs.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, test } from "node:test";
import { Packet, connect, encode, encodeNote } from "./haul.js";

const TYPE = { "content-type": "text/event-stream", "haul-protocol": "haul.v1" };
const ANNOUNCED = "id: t.0\nretry: 1\nevent: haul-session\ndata: t\n\n";
const LATE = { timeout: 30_000 };
const servers = [];
after(() => servers.forEach((server) => server.close() && server.closeAllConnections()));

const framed = (frame) => {
    const bytes = encode(frame), head = Buffer.alloc(4);
    head.writeUInt32BE(bytes.length);
    return Buffer.concat([head, bytes]);
};
const packet = (text) => framed({ type: "packet", packet: Packet.of(text), receipt: false });
const close = framed({ type: "close", code: 1000, reason: "" });
const event = (bytes, number) => `id: t.${number}\ndata: ${bytes.toString("base64")}\n\n`;

/** A server of these answers to GETs, one after another, and of `post` to POSTs. What it was asked is in `asked`. */
async function serve(gets, post = () => 204) {
    const asked = [];
    const server = createServer(async (request, response) => {
        const { method, headers, url } = request, parts = [];
        for await (const part of request) parts.push(part);
        asked.push({ method, url, headers, body: Buffer.concat(parts) });
        if (method === "GET") return gets.length > 0 ? gets.shift()(response) : response.writeHead(410).end("no more");
        const status = method === "POST" ? await post(asked.at(-1), response) : 204;
        if (status) response.writeHead(status).end();
    });
    servers.push(server);
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address(), of = (method) => asked.filter((request) => request.method === method);
    return { of, url: `sse://127.0.0.1:${port}/live?room=1`, port };
}

const says = (...pieces) => (response) => {
    response.writeHead(200, TYPE);
    pieces.forEach((piece) => response.write(piece));
    return response;
};
const ends = (...pieces) => (response) => says(...pieces)(response).end();

/** Waits until `done` answers something. */
async function until(what, done) {
    for (const began = Date.now(); Date.now() - began < 20_000; await new Promise((resolve) => setTimeout(resolve, 2))) {
        const answer = done();
        if (answer) return answer;
    }
    throw new Error(`waited 20 s for ${what}`);
}

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

test("an event stream is the same wherever it is cut, and with every line end", LATE, async () => {
    const whole = `\ufeff: hello\n${ANNOUNCED}event: other\ndata: never\n\nid\n\ndata:${packet("ä").toString("base64")}\n\n`
        + `nothing: here\ndata\n\ndata: ${packet("two").subarray(0, 5).toString("base64")}\n\n`
        + event(packet("two").subarray(5), 2) + event(close, 3);
    for (const end of ["\n", "\r", "\r\n"]) {
        const bytes = Buffer.from(whole.replaceAll("\n", end));
        const bitwise = async (response) => {
            says()(response);
            for (const byte of bytes) await new Promise((resolve) => response.write(Buffer.of(byte), resolve));
        };
        for (const get of [says(bytes), bitwise]) {
            const connection = await connect((await serve([get])).url), texts = [];
            for await (const packet of connection) texts.push(packet.text());
            assert.deepEqual(texts, ["ä", "two"], JSON.stringify(end));
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
        [answer(200, TYPE), { kind: "closed" }],
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

test("sends wait while the server takes nothing, and POSTs are no larger than 256 KiB", LATE, async () => {
    let release;
    const held = new Promise((resolve) => (release = resolve));
    const server = await serve([says(ANNOUNCED)], () => held.then(() => 204));
    const connection = await connect(server.url, { maxWaiting: 100 });
    let accepted = 0;
    const sends = Array.from({ length: 100 }, () => connection.send(new Uint8Array(10_000)).then(() => (accepted += 1)));
    await until("a POST", () => server.of("POST").length > 0);
    assert.ok(accepted < 60, `${accepted} of 1 MB were accepted although nothing was taken`);
    const crowded = Array.from({ length: 100 }, () => connection.send("x").catch(({ kind }) => kind));
    assert.ok((await Promise.race(crowded.slice(-1))) === "overloaded");
    release();
    await Promise.all(sends);
    await until("all of it", () => server.of("POST").reduce((sum, { body }) => sum + body.length, 0) > 1_000_000);
    assert.ok(server.of("POST").every(({ body }) => body.length <= 256 << 10));
    connection.abort();
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
    const session = "0".repeat(32), token = "1".repeat(64);
    const note = (note) => framed({ type: "note", text: encodeNote(note) });
    const accepted = note({ word: "accepted", session, token, window: 1000 });
    const server = await serve([
        ends(ANNOUNCED, event(accepted, 1), event(packet("one"), 2)),
        says(ANNOUNCED, event(note({ word: "resumed", received: 0 }), 1), event(packet("two"), 2)),
    ]);
    const connection = await connect(server.url, { session: { base: 1 } });
    assert.equal((await connection.recv()).text(), "one");
    assert.equal((await connection.recv()).text(), "two");
    assert.equal(server.of("GET")[1].headers["haul-session"], undefined, "it is another link");
    connection.abort();
});

test("a session asks a link on which nothing is heard, and gives it up if there is no answer", LATE, async () => {
    const session = "0".repeat(32), token = "1".repeat(64);
    const note = (note) => event(framed({ type: "note", text: encodeNote(note) }), 1);
    const server = await serve([
        says(ANNOUNCED, note({ word: "accepted", session, token, window: 1000 })),
        says(ANNOUNCED, note({ word: "resumed", received: 0 })),
    ]);
    const connection = await connect(server.url, { session: { idle: 100 } }), states = [];
    await new Promise((resolve) => {
        connection.onstate = ({ name, error }) => states.push(error?.kind ?? name) === 2 && resolve();
    });
    assert.deepEqual(states, ["timeout", "connected"]);
    const ping = framed({ type: "ping", payload: new Uint8Array() });
    assert.equal(server.of("POST").filter(({ body }) => body.includes(ping)).length, 1);
    connection.abort();
});

test("a ping resolves with the time that it took, and not more than 64 wait", LATE, async () => {
    let stream, number = 1;
    const answered = (response) => (stream = says(ANNOUNCED)(response));
    const server = await serve([answered], ({ body }) => {
        if (body.length === 14) stream.write(event(framed({ type: "pong", payload: body.subarray(6) }), number++));
        return 204;
    });
    const connection = await connect(server.url);
    const took = await connection.ping();
    assert.ok(took > 0 && took < 30_000);
    const silent = await connect((await serve([says(ANNOUNCED)])).url, { timeout: 200 });
    const pings = Array.from({ length: 65 }, () => silent.ping().catch(({ kind }) => kind));
    assert.equal(await pings[64], "overloaded");
    assert.deepEqual(new Set(await Promise.all(pings.slice(0, 64))), new Set(["timeout"]));
    const last = silent.ping();
    silent.abort();
    await assert.rejects(last, { kind: "closed" });
    await assert.rejects(silent.ping(), { kind: "closed" });
    connection.abort();
});
