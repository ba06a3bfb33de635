// A server of event streams that says what a test needs.

import { createServer } from "node:http";
import { after } from "node:test";
import { Packet, encode, encodeNote } from "../haul.js";

/** What an event stream of a haul peer is called. */
export const TYPE = { "content-type": "text/event-stream", "haul-protocol": "haul.v1" };
/** How it begins. */
export const ANNOUNCED = "id: t.0\nretry: 1\nevent: haul-session\ndata: t\n\n";
/** How long a test may take. */
export const LATE = { timeout: 90_000 };

/** The clock that no test turns. */
const { setTimeout } = globalThis, now = performance.now.bind(performance);

const servers = [];
after(() => servers.forEach((server) => server.close() && server.closeAllConnections()));

/** A frame as it stands in the stream. */
export function framed(frame) {
    const bytes = encode(frame), head = Buffer.alloc(4);
    head.writeUInt32BE(bytes.length);
    return Buffer.concat([head, bytes]);
}

export const packet = (text, receipt = false, id = undefined) => framed({ type: "packet", packet: Packet.of(text, { id }), receipt });
export const note = (note) => framed({ type: "note", text: encodeNote(note) });
export const close = framed({ type: "close", code: 1000, reason: "" });
export const event = (bytes, number = 1) => `id: t.${number}\ndata: ${bytes.toString("base64")}\n\n`;
/** The answer to whoever opens a session. */
export const accepted = event(note({ word: "accepted", session: "0".repeat(32), token: "1".repeat(64), window: 1_000_000 }));

/** A server of these answers to GETs, one after another, then 410; and of `post` to POSTs. `of(method)` is what it was asked. */
export async function serve(gets, post = () => 204) {
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

/** Answers with an event stream of these pieces, which stays open. */
export const says = (...pieces) => (response) => {
    response.writeHead(200, TYPE);
    pieces.forEach((piece) => response.write(piece));
    return response;
};

/** The same, and ends it. */
export const ends = (...pieces) => (response) => says(...pieces)(response).end();

/** Waits until `done` answers something. */
export async function until(what, done) {
    for (const began = now(); now() - began < 60_000; await new Promise((resolve) => setTimeout(resolve, 2))) {
        const answer = done();
        if (answer) return answer;
    }
    throw new Error(`waited 60 s for ${what}`);
}
