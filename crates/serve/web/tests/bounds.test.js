// What is bounded in haul.js answers or waits when it is full.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, newId } from "../haul.js";
import { ANNOUNCED, LATE, accepted, event, framed, note, packet, says, serve, until } from "./server.js";

const kind = (error) => error.kind;

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

test("no packet above `maxPacket` is sent", LATE, async () => {
    const connection = await connect((await serve([says(ANNOUNCED)])).url, { maxPacket: 10 });
    await connection.send("x".repeat(10));
    await assert.rejects(connection.send("x".repeat(11)), { kind: "too_large", sent: "no" });
    await assert.rejects(connection.send("x", { metadata: { name: "x".repeat(1 << 16) } }), { kind: "too_large" });
    connection.abort();
});

test("the send buffer takes `sendPackets`, and `sendBuffer` bytes", LATE, async () => {
    // What the link holds is not in the send buffer: 256 KiB, which the first packet fills.
    for (const options of [{ sendPackets: 3 }, { sendBuffer: 3000 }]) {
        const connection = await connect((await serve([says(ANNOUNCED)], () => 0)).url, options);
        await connection.send(new Uint8Array(300_000));
        let taken = 0;
        const sends = Array.from({ length: 10 }, () => connection.send(new Uint8Array(1000)).then(() => (taken += 1), kind));
        await Promise.race(sends.slice(0, 3));
        await new Promise(setImmediate);
        assert.equal(taken, 3, JSON.stringify(options));
        connection.abort();
        assert.deepEqual((await Promise.all(sends)).slice(3), Array(7).fill("closed"));
    }
});

test("`maxUnanswered` deliveries wait for their receipts", LATE, async () => {
    const connection = await connect((await serve([says(ANNOUNCED)])).url, { maxUnanswered: 2 }), id = newId();
    const waiting = [connection.deliver("a", { id }).catch(kind), connection.deliver("b").catch(kind)];
    await assert.rejects(connection.deliver("c"), { kind: "overloaded" });
    await assert.rejects(connection.deliver("a", { id }), { kind: "config" });
    connection.abort();
    assert.deepEqual(await Promise.all(waiting), ["closed", "closed"]);
});

test("64 pings wait for their answers, each for `timeout`", LATE, async () => {
    const connection = await connect((await serve([says(ANNOUNCED)])).url, { timeout: 200 });
    const pings = Array.from({ length: 65 }, () => connection.ping().catch(kind));
    assert.equal(await pings[64], "overloaded");
    assert.deepEqual(new Set(await Promise.all(pings.slice(0, 64))), new Set(["timeout"]));
    const last = connection.ping();
    connection.abort();
    await assert.rejects(last, { kind: "closed" });
    await assert.rejects(connection.ping(), { kind: "closed" });
});

test("what arrives and is not taken ends the connection beyond `receiveBuffer`, and what came before is given", LATE, async () => {
    const packets = Array.from({ length: 6 }, (_, number) => event(packet(`${number}`.padEnd(936)), number));
    const server = await serve([says(ANNOUNCED, ...packets)]), connection = await connect(server.url, { receiveBuffer: 4000 });
    await assert.rejects(connection.closed, { kind: "overloaded" });
    const taken = [];
    for (let next; (next = await connection.recv().catch(() => undefined));) taken.push(next.text().trim());
    assert.deepEqual(taken, ["0", "1", "2", "3", "4"]);
    await until("the reason", () => server.of("POST").some(({ body }) => body.includes("the page does not take what arrives")));
});

test("a peer that does not close is waited for until `closeDeadline`", LATE, async () => {
    const connection = await connect((await serve([says(ANNOUNCED)])).url, { closeDeadline: 50 });
    await connection.send("x");
    await assert.rejects(connection.close(), { kind: "timeout", sent: "maybe" });
    assert.equal(connection.state.name, "failed");
});

test("a session keeps `replayPackets` and `replayBytes` that are not settled, and then sends wait", LATE, async () => {
    for (const session of [{ replayPackets: 3 }, { replayBytes: 3100 }]) {
        const frames = () => server.of("POST").reduce((sum, { body }) => sum + body.toString("latin1").split("#").length - 1, 0);
        let stream;
        const server = await serve([(response) => (stream = says(ANNOUNCED, accepted)(response))]);
        const connection = await connect(server.url, { session });
        for (let number = 0; number < 6; number += 1) await connection.send(`#${"x".repeat(1000)}`);
        await until("three packets", () => frames() === 3);
        await connection.ping().catch(() => {});
        assert.equal(frames(), 3, JSON.stringify(session));
        stream.write(event(note({ word: "ack", settled: 2 })));
        await until("two more", () => frames() === 5);
        connection.abort();
    }
});

test("a session dials `attempts` times in a row, and for `deadline`", LATE, async () => {
    for (const session of [{ attempts: 3, base: 1 }, { deadline: 100, base: 60, factor: 1 }]) {
        let gone;
        const refused = Array(100).fill((response) => response.writeHead(503).end());
        const server = await serve([(response) => (gone = says(ANNOUNCED, accepted)(response)), ...refused]);
        const connection = await connect(server.url, { session });
        await connection.send("kept");
        await until("the packet", () => server.of("POST").some(({ body }) => body.includes("kept")));
        gone.end();
        const error = await connection.closed.catch((error) => error);
        assert.deepEqual([error.status, error.sent, error.unsettled], ["exhausted", "maybe", 1]);
        const dials = server.of("GET").length - 1;
        if (session.attempts) assert.deepEqual([dials, error.dials], [3, 3]);
        else assert.ok(dials > 1);
    }
});

test("a peer that sends pings and reads no pongs does not fill the memory", LATE, async () => {
    const pings = Array.from({ length: 4000 }, () => framed({ type: "ping", payload: Buffer.alloc(125) }));
    const server = await serve([says(ANNOUNCED, event(Buffer.concat(pings)))], () => 0);
    const connection = await connect(server.url, { sendBuffer: 1000 });
    await assert.rejects(connection.closed, { kind: "overloaded" });
});
