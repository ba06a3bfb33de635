// The frames and notes of haul.js, against the documents' golden vectors.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as haul from "../haul.js";
import { HaulError, Packet, decode, decodeNote, encode, encodeNote } from "../haul.js";

const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const ascii = (text) => new TextEncoder().encode(text);

/** The lines `| name | bytes |` behind the heading "Golden vectors". */
function vectors(name) {
    const text = readFileSync(new URL(`../../../../docs/wire/${name}`, import.meta.url), "utf8");
    const rows = text.split("## Golden vectors")[1].matchAll(/^\| ([a-z ]+) \| `([0-9a-f]+)` \|$/gm);
    return new Map(Array.from(rows, ([, name, hex]) => [name, hex]));
}

const id = "30313233-3435-3637-3839-616263646566";
const packet = (content, options, receipt = false) => ({ type: "packet", packet: Packet.of(content, options), receipt });
const receipt = (level, reference) => ({ type: "receipt", id, receipt: { level, id, at: 5, reference } });

const frames = {
    "empty binary": packet(new Uint8Array()),
    "text": packet("hi"),
    "text with id": packet("hi", { id }),
    "metadata": packet(ascii("hi"), { metadata: { a: "1", session_id: "7" } }),
    "receipt wanted": packet("hi", { id, metadata: { a: "1" } }, true),
    "stored": receipt("stored", "1-0"),
    "acknowledged": receipt("acknowledged"),
    "refused": { type: "receipt", id, error: new HaulError("rejected", "no", { status: "transient", retryAfter: 1500 }) },
    "ping": { type: "ping", payload: ascii("abc") },
    "pong": { type: "pong", payload: new Uint8Array() },
    "finish": { type: "finish" },
    "close": { type: "close", code: 1001, reason: "bye" },
    "note": { type: "note", text: "ack 7" },
};

/** Plain values, so that prototypes of metadata and views of buffers do not count. */
function plain(frame) {
    const error = frame.error && { ...frame.error, message: frame.error.message };
    const text = JSON.stringify({ ...frame, error }, (_, value) => (value instanceof Uint8Array ? hex(value) : value));
    return JSON.parse(text);
}

test("the golden frames are what is written and read", () => {
    const document = vectors("frame.md");
    assert.deepEqual([...document.keys()], Object.keys(frames));
    for (const [name, want] of document) {
        assert.equal(hex(encode(frames[name])), want, name);
        assert.deepEqual(plain(decode(bytes(want))), plain(frames[name]), name);
    }
});

const session = "000102030405060708090a0b0c0d0e0f";
const token = "00112233445566778899aabbccddeeff".repeat(2);
const notes = {
    hello: {},
    open: { epoch: 1, window: 1048576 },
    accepted: { session, token, window: 1048576 },
    resume: { session, token, attempt: 2, received: 70 },
    resumed: { received: 41 },
    refused: { reason: "unknown", text: "no such session" },
    ack: { settled: 64 },
    gap: { from: 41, to: 44 },
    abort: { code: 1011, text: "out of order" },
};

test("the golden notes are what is written and read", () => {
    const document = vectors("session.md");
    assert.deepEqual([...document.keys()], Object.keys(notes));
    for (const [word, want] of document) {
        assert.equal(hex(encode({ type: "note", text: encodeNote({ word, ...notes[word] }) })), want, word);
        const { version, ...note } = decodeNote(decode(bytes(want)).text);
        assert.deepEqual(note, { word, ...notes[word] }, word);
    }
});

test("what is malformed is refused", () => {
    const kinds = {
        "": "protocol", "40": "protocol", "80": "protocol", "0230": "protocol", "0868": "protocol", "10": "protocol",
        "21": "protocol", "20": "protocol", "2006": "protocol", "200300": "protocol", "200403": "protocol",
        "01ff": "codec", "04": "protocol", "0481a161": "protocol", "0482a161a131a161a132": "protocol", "0481a16101": "protocol",
        ["2001" + "61".repeat(126)]: "protocol", ["2005" + "61".repeat(1025)]: "protocol",
        ["12" + "30".repeat(16) + "04" + "00".repeat(8)]: "protocol", ["12" + "30".repeat(16) + "03"]: "protocol",
    };
    for (const [hex, kind] of Object.entries(kinds)) {
        assert.throws(() => decode(bytes(hex)), { name: "HaulError", kind }, hex);
    }
    for (const note of ["ack", "ack 07", "ack -1", "ack 18446744073709551616", "ack 1 2", "ack 1 ", "accepted 00 11 1", "abort 65536 x", "what 1"]) {
        assert.throws(() => decodeNote(note), { name: "HaulError", kind: "protocol" }, note);
    }
    assert.throws(() => decodeNote("hello 2"), { kind: "unsupported" });
});

test("every frame cut short is refused or another frame, and never anything else", () => {
    for (const whole of vectors("frame.md").values()) {
        for (let end = 0; end < whole.length; end += 2) {
            try {
                decode(bytes(whole.slice(0, end)));
            } catch (error) {
                assert.ok(error instanceof HaulError, `${whole.slice(0, end)}: ${error}`);
            }
        }
    }
});

test("metadata of every length comes back, and a head above 64 KiB is refused", () => {
    for (const size of [0, 1, 31, 32, 255, 256, 65000]) {
        const metadata = { name: "é".repeat(size / 2), __proto__: null, constructor: "own" };
        assert.deepEqual({ ...decode(encode(packet("", { metadata }))).packet.metadata }, { ...metadata });
    }
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`n${at}`, "v"]));
    assert.deepEqual({ ...decode(encode(packet("", { metadata: many }))).packet.metadata }, many);
    assert.throws(() => encode(packet("", { metadata: { a: "b".repeat(65536) } })), { kind: "too_large" });
});

test("the module exports what its types name", () => {
    const named = ["HaulError", "PROTOCOL", "Packet", "connect", "decode", "decodeNote", "encode", "encodeNote", "newId"];
    assert.deepEqual(Object.keys(haul).sort(), named);
});
