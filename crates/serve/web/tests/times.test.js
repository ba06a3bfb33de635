// What haul.js does when time has passed, by a clock that the tests turn.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../haul.js";
import { ANNOUNCED, LATE, accepted, ends, event, framed, note, says, serve, until } from "./server.js";

/** Stops the clock; it goes on by as much as the answer is called with. The calendar is wrong by so much. */
function stop(t, wrong = 0) {
    let passed = 0;
    t.mock.timers.enable({ apis: ["setTimeout"] });
    t.mock.method(performance, "now", () => passed);
    t.mock.method(Date, "now", () => START + passed + (passed > 0 ? wrong : 0));
    return (milliseconds) => {
        passed += milliseconds;
        t.mock.timers.tick(milliseconds);
    };
}

const START = 1_700_000_000_000, YEAR = 365 * 24 * 3600 * 1000;

/** A server that answers its first client only when `answer` is called. */
async function slow() {
    const held = { answer: undefined };
    const first = (response) => (held.answer = () => says(ANNOUNCED)(response));
    return Object.assign(held, await serve([first]));
}

/** Whatever was asked of the server before has come. */
const settled = ({ port }) => fetch(`http://127.0.0.1:${port}/`, { method: "PUT" });

test("the next URL starts when the head start is over, and at once when the one before has failed", LATE, async (t) => {
    const go = stop(t), adaptive = { headStart: 100 }, gone = "sse://127.0.0.1:1/";
    const [first, next, last] = [await slow(), await serve([says(ANNOUNCED)]), await serve([says(ANNOUNCED)])];
    const connecting = connect([first.url, next.url], { adaptive });
    await until("the first dial", () => first.answer);
    go(99);
    await settled(next);
    assert.equal(next.of("GET").length, 0);
    go(1);
    assert.equal((await connecting).url, next.url);
    assert.equal((await connect([gone, last.url], { adaptive })).url, last.url);
});

test("one that opens within its head start is alone", LATE, async (t) => {
    stop(t);
    const [first, next] = [await slow(), await serve([says(ANNOUNCED)])];
    const connecting = connect([first.url, next.url], { adaptive: { headStart: 100 } });
    await until("the first dial", () => first.answer);
    first.answer();
    assert.equal((await connecting).url, first.url);
    await settled(next);
    assert.equal(next.of("GET").length, 0);
});

test("256 hosts are remembered, the last that were dialed", LATE, async (t) => {
    stop(t);
    const fails = (response) => response.writeHead(503).end();
    const [first, next] = [await serve([fails, says(ANNOUNCED)]), await serve(Array(9).fill(says(ANNOUNCED)))];
    const taken = async () => {
        const connection = await connect([first.url, next.url], { adaptive: { headStart: 100 } });
        connection.abort();
        return connection.url;
    };
    const others = async (count) => {
        for (let host = 0; host < count; host += 1) await connect(`wt://host-${host}/`).catch(() => {});
    };
    assert.equal(await taken(), next.url);
    assert.equal(await taken(), next.url);
    await others(255);
    assert.equal(await taken(), next.url);
    assert.equal(first.of("GET").length, 1);
    await others(256);
    assert.equal(await taken(), first.url);
});

test("an event stream that cannot be come back to is lost after 10 s", LATE, async (t) => {
    const go = stop(t), began = Date.now();
    let stream;
    const refused = Array(100).fill((response) => response.writeHead(503).end());
    const server = await serve([(response) => (stream = says(ANNOUNCED)(response)), ...refused]);
    const connection = await connect(server.url);
    // Each try takes a second.
    connection.onstate = ({ name }) => name === "reconnecting" && setImmediate(go, 1000);
    stream.end();
    await assert.rejects(connection.closed, { kind: "overloaded" });
    assert.deepEqual([Date.now() - began, server.of("GET").length], [10_000, 11]);
});

for (const [way, wrong, passes] of [["ahead", YEAR, 999], ["back", -YEAR, 1000]]) {
    test(`an event stream is tried for 10 s though the calendar is set ${way} by a year`, LATE, async (t) => {
        const go = stop(t, wrong);
        let stream;
        const refused = Array(100).fill((response) => response.writeHead(503).end());
        const server = await serve([(response) => (stream = says(ANNOUNCED)(response)), ...refused]);
        const connection = await connect(server.url);
        connection.onstate = ({ name }) => name === "reconnecting" && setImmediate(go, 1000);
        stream.end();
        await assert.rejects(connection.closed, { kind: "overloaded" });
        assert.equal(server.of("GET").length, 11);
    });

    test(`a winner is remembered for its time though the calendar is set ${way} by a year`, LATE, async (t) => {
        const go = stop(t, wrong), fails = (response) => response.writeHead(503).end(), adaptive = { remember: 1000 };
        const [first, next] = [await serve([fails, says(ANNOUNCED)]), await serve([says(ANNOUNCED), says(ANNOUNCED)])];
        const taken = async () => {
            const connection = await connect([first.url, next.url], { adaptive });
            connection.abort();
            return connection.url;
        };
        assert.equal(await taken(), next.url);
        go(passes);
        assert.equal(await taken(), passes < 1000 ? next.url : first.url);
    });
}

test("a POST that is not taken is sent again for 10 s", LATE, async (t) => {
    const go = stop(t), began = Date.now();
    const server = await serve([says(ANNOUNCED)], () => 500), connection = await connect(server.url);
    let why;
    connection.closed.catch((error) => (why = error));
    await connection.send("once");
    await until("the end", () => (go(50), why));
    assert.equal(why.status, "transient");
    assert.ok(Date.now() - began >= 10_000 && server.of("POST").length > 1);
});

test("a peer that answers no close is left after 10 s", LATE, async (t) => {
    const go = stop(t), server = await serve([says(ANNOUNCED)]), connection = await connect(server.url);
    connection.abort();
    go(9999);
    await settled(server);
    assert.equal(server.of("DELETE").length, 0);
    go(1);
    await until("the end", () => server.of("DELETE").length === 1);
});

test("a WebTransport session whose peer answers no close is ended after 10 s", LATE, async (t) => {
    const go = stop(t);
    let ended = 0;
    globalThis.WebTransport = class {
        ready = Promise.resolve();
        closed = new Promise(() => {});
        close() {
            ended += 1;
        }
        async createBidirectionalStream() {
            return { readable: new ReadableStream(), writable: new WritableStream() };
        }
    };
    t.after(() => delete globalThis.WebTransport);
    const connection = await connect("wt://127.0.0.1:1/");
    connection.abort();
    go(9999);
    assert.equal(ended, 0);
    go(1);
    assert.equal(ended, 1);
});

test("a server that is known to have sessions is waited for when it greets late", LATE, async (t) => {
    const go = stop(t), pong = framed({ type: "pong", payload: Buffer.from("haul session") });
    const ping = framed({ type: "ping", payload: Buffer.from("heard?") }), answer = framed({ type: "pong", payload: Buffer.from("heard?") });
    let stream;
    const back = (response) => (stream = says(ANNOUNCED, event(Buffer.concat([pong, ping])))(response));
    const server = await serve([ends(ANNOUNCED, accepted), back]), connection = await connect(server.url, { session: true });
    await until("an answer on the next link", () => (go(1), server.of("POST").some(({ body }) => body.includes(answer))));
    go(2000);
    stream.write(event(note({ word: "resumed", received: 0 })));
    await until("the session to go on", () => connection.state.name !== "reconnecting");
    assert.equal(connection.state.name, "connected");
    connection.abort();
});
