// haul.js: haul connections for pages. One module, no dependencies; haul.d.ts says its types.
//
// Frames are those of docs/wire/frame.md, sessions those of docs/wire/session.md. A page may close a WebSocket only with
// 1000 or 3000 to 4999, so that this module says 4002, 4007, 4008 and 4009 where others say 1002, 1007, 1008 and 1009.

export const PROTOCOL = "haul.v1";

const MAX_HEAD = 64 << 10;
const MAX_PING = 125;
const MAX_NOTE = 1024;
/** What a queued packet counts for beside its bytes. */
const OVERHEAD = 64;

const KINDS = [
    "config", "unsupported", "connect", "tls", "timeout", "closed", "gap", "protocol", "too_large", "codec", "unauthorized",
    "rejected", "rate_limited", "overloaded", "circuit_open", "not_found", "io", "internal",
];
const TRANSIENT = ["connect", "timeout", "closed", "rate_limited", "overloaded", "circuit_open", "io"];
const LEVELS = ["discarded", "sent", "acknowledged", "stored"];
const STATUSES = ["transient", "permanent", "exhausted"];

/** What went wrong (`kind`), whether trying again may help (`status`), and whether the peer may have seen it (`sent`). */
export class HaulError extends Error {
    constructor(kind, message, facts = {}) {
        super(message, facts.cause && { cause: facts.cause });
        this.name = "HaulError";
        this.kind = kind;
        this.status = TRANSIENT.includes(kind) ? "transient" : "permanent";
        this.sent = "no";
        Object.assign(this, facts);
    }

    /** The same with other facts. */
    with(facts) {
        return new HaulError(this.kind, this.message, { ...this, ...facts, cause: this.cause });
    }
}

const malformed = (why) => new HaulError("protocol", `malformed haul.v1 frame: ${why}`);

// ---- bytes ----

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function utf8(bytes, kind = "protocol") {
    try {
        return decoder.decode(bytes);
    } catch {
        throw new HaulError(kind, "malformed haul.v1 frame: its text is not UTF-8");
    }
}

function join(parts) {
    const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
        joined.set(part, at);
        at += part.length;
    }
    return joined;
}

/** The longest beginning of `text` that has at most `most` bytes of UTF-8. */
function cut(text, most) {
    const bytes = encoder.encode(text);
    if (bytes.length <= most) return text;
    let end = most;
    while ((bytes[end] & 0xc0) === 0x80) end -= 1;
    return decoder.decode(bytes.subarray(0, end));
}

const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function u64(number) {
    const bytes = new Uint8Array(8);
    view(bytes).setBigUint64(0, BigInt(number));
    return bytes;
}

function idBytes(id) {
    const hex = String(id).replaceAll("-", "");
    if (!/^[0-9a-fA-F]{32}$/.test(hex)) throw new HaulError("config", `packet id ${id}: an id is a UUID`);
    return Uint8Array.from({ length: 16 }, (_, at) => parseInt(hex.slice(2 * at, 2 * at + 2), 16));
}

function idText(bytes) {
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** A new packet id: a UUID of version 7 (RFC 9562 section 5.7). */
export function newId() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes.set(u64(Date.now()).subarray(2), 0);
    bytes[6] = 0x70 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    return idText(bytes);
}

// ---- frames: docs/wire/frame.md ----

const TEXT = 0x01, ID = 0x02, METADATA = 0x04, WANTS_RECEIPT = 0x08, RECEIPT = 0x10, CONTROL = 0x20, KNOWN = 0x3f;
const CONTROLS = ["", "ping", "pong", "finish", "close", "note"];

/** What was received, or is to be sent. */
export class Packet {
    constructor(kind, payload, metadata = Object.create(null), id = undefined) {
        this.kind = kind;
        this.payload = payload;
        this.metadata = metadata;
        this.id = id;
    }

    /** A packet of what `send` takes. Throws `config`. */
    static of(content, { metadata = {}, id } = {}) {
        if (content instanceof Packet) return content;
        for (const [name, value] of Object.entries(metadata)) {
            if (typeof value !== "string") throw new HaulError("config", `metadata ${name} is not a string`);
        }
        if (id !== undefined) id = idText(idBytes(id));
        if (typeof content === "string") return new Packet("text", encoder.encode(content), metadata, id);
        // A copy: what waits to be sent must not change with the caller's buffer.
        if (content instanceof ArrayBuffer) return new Packet("binary", new Uint8Array(content.slice(0)), metadata, id);
        if (ArrayBuffer.isView(content)) {
            const bytes = new Uint8Array(content.buffer, content.byteOffset, content.byteLength).slice();
            return new Packet("binary", bytes, metadata, id);
        }
        const json = JSON.stringify(content);
        if (json === undefined) throw new HaulError("config", `a ${typeof content} is no packet`);
        return new Packet("text", encoder.encode(json), metadata, id);
    }

    /** The payload as text. Throws `codec` for bytes that are no UTF-8. */
    text() {
        return utf8(this.payload, "codec");
    }

    /** The payload as JSON. Throws as `text` and `JSON.parse` do. */
    json() {
        return JSON.parse(this.text());
    }
}

function encodeText(text) {
    const bytes = encoder.encode(text), length = bytes.length;
    if (length < 32) return join([[0xa0 | length], bytes]);
    if (length < 0x100) return join([[0xd9, length], bytes]);
    if (length < 0x10000) return join([[0xda, length >> 8, length & 0xff], bytes]);
    throw new HaulError("too_large", `metadata of ${length} bytes; a head has at most ${MAX_HEAD}`);
}

function encodeMetadata(metadata) {
    const pairs = Object.entries(metadata), count = pairs.length;
    const head = count < 16 ? [0x80 | count] : [0xde, (count >> 8) & 0xff, count & 0xff];
    if (count > MAX_HEAD / 2) throw new HaulError("too_large", `metadata of ${count} names; a head has at most ${MAX_HEAD} bytes`);
    return join([head, ...pairs.flat().map(encodeText)]);
}

function decodeMetadata(bytes) {
    const wrong = () => malformed("metadata is not a MessagePack map of text to text");
    let at = 0;
    const length = (size) => {
        if (at + size > bytes.length) throw wrong();
        let number = 0;
        for (const end = at + size; at < end; at += 1) number = number * 256 + bytes[at];
        return number;
    };
    const text = () => {
        const mark = length(1);
        const size = (mark & 0xe0) === 0xa0 ? mark & 0x1f : mark === 0xd9 ? length(1) : mark === 0xda ? length(2) : mark === 0xdb ? length(4) : undefined;
        if (size === undefined || at + size > bytes.length) throw wrong();
        at += size;
        return utf8(bytes.subarray(at - size, at));
    };
    const mark = length(1);
    const count = (mark & 0xf0) === 0x80 ? mark & 0x0f : mark === 0xde ? length(2) : mark === 0xdf ? length(4) : undefined;
    if (count === undefined) throw wrong();
    const metadata = Object.create(null);
    for (let pair = 0; pair < count; pair += 1) {
        const name = text();
        if (name in metadata) throw malformed(`metadata has ${JSON.stringify(name)} twice`);
        metadata[name] = text();
    }
    return [metadata, at];
}

/** One frame as bytes. Throws `too_large` and `config`. */
export function encode(frame) {
    switch (frame.type) {
        case "packet": {
            const { kind, payload, metadata, id } = frame.packet;
            const named = Object.keys(metadata).length > 0;
            const flags = (kind === "text" ? TEXT : 0) | (id ? ID : 0) | (named ? METADATA : 0) | (frame.receipt ? WANTS_RECEIPT : 0);
            const head = [[flags], id ? idBytes(id) : [], named ? encodeMetadata(metadata) : []];
            const size = head.reduce((sum, part) => sum + part.length, 0);
            if (size > MAX_HEAD) throw new HaulError("too_large", `metadata makes a head of ${size} bytes; at most ${MAX_HEAD}`);
            return join([...head, payload]);
        }
        case "receipt":
            return join([[RECEIPT | ID], idBytes(frame.id), encodeOutcome(frame)]);
        case "close":
            return join([[CONTROL, 4, frame.code >> 8, frame.code & 0xff], encoder.encode(frame.reason)]);
        case "note":
            return join([[CONTROL, 5], encoder.encode(frame.text)]);
        default:
            return join([[CONTROL, CONTROLS.indexOf(frame.type)], frame.payload ?? []]);
    }
}

function encodeOutcome({ receipt, error }) {
    if (receipt) return join([[LEVELS.indexOf(receipt.level)], u64(receipt.at), encoder.encode(receipt.reference ?? "")]);
    const kind = encoder.encode(error.kind);
    const head = [0xff, STATUSES.indexOf(error.status), error.sent === "maybe" ? 1 : 0];
    return join([head, u64(error.retryAfter ?? 0), [kind.length], kind, encoder.encode(cut(error.message, 1024))]);
}

/** The frame that `bytes` are; payloads are views of them. Throws `protocol` and `codec`. */
export function decode(bytes) {
    if (bytes.length === 0) throw malformed("it is empty");
    const flags = bytes[0];
    if (flags & ~KNOWN) throw malformed(`unknown flag bits 0x${(flags & ~KNOWN).toString(16)}`);
    if (flags & CONTROL) {
        if (flags !== CONTROL) throw malformed("a control frame with further flags");
        return decodeControl(bytes);
    }
    let at = 1, id;
    if (flags & ID) {
        if (bytes.length < 17) throw malformed("it ends inside the id");
        id = idText(bytes.subarray(1, at = 17));
    }
    if (flags & RECEIPT) {
        if (flags !== (RECEIPT | ID)) throw malformed("a receipt has an id and no further flags");
        return { type: "receipt", id, ...decodeOutcome(id, bytes.subarray(at)) };
    }
    const receipt = (flags & WANTS_RECEIPT) !== 0;
    if (receipt && !id) throw malformed("a receipt is wanted but there is no id");
    let metadata = Object.create(null);
    if (flags & METADATA) {
        let size;
        [metadata, size] = decodeMetadata(bytes.subarray(at, MAX_HEAD));
        at += size;
    }
    const payload = bytes.subarray(at);
    if (flags & TEXT) utf8(payload, "codec");
    return { type: "packet", packet: new Packet(flags & TEXT ? "text" : "binary", payload, metadata, id), receipt };
}

function decodeControl(bytes) {
    if (bytes.length < 2) throw malformed("a control frame without a type");
    const type = CONTROLS[bytes[1]], body = bytes.subarray(2);
    switch (type) {
        case "ping":
        case "pong":
            if (body.length > MAX_PING) throw malformed(`a ping or pong of ${body.length} bytes; at most ${MAX_PING}`);
            return { type, payload: body };
        case "finish":
            if (body.length > 0) throw malformed("a finish with a body");
            return { type };
        case "close":
            if (body.length < 2) throw malformed("a close without a code");
            if (body.length > 125) throw malformed(`a close reason of ${body.length - 2} bytes; at most 123`);
            return { type, code: view(body).getUint16(0), reason: utf8(body.subarray(2)) };
        case "note":
            if (body.length > MAX_NOTE) throw malformed(`a note of ${body.length} bytes; at most ${MAX_NOTE}`);
            return { type, text: utf8(body) };
        default:
            throw malformed(`unknown control type ${bytes[1]}`);
    }
}

function decodeOutcome(id, body) {
    const need = (size) => {
        if (body.length < size) throw malformed("a receipt cut short");
    };
    need(9);
    if (body[0] !== 0xff) {
        const level = LEVELS[body[0]];
        if (!level) throw malformed(`unknown level ${body[0]}`);
        const reference = utf8(body.subarray(9)) || undefined;
        return { receipt: { level, id, at: Number(view(body).getBigUint64(1)), reference } };
    }
    need(12);
    const status = STATUSES[body[1]], sent = ["no", "maybe"][body[2]];
    if (!status) throw malformed(`unknown status ${body[1]}`);
    if (!sent) throw malformed(`unknown sent ${body[2]}`);
    const message = 12 + body[11];
    need(message);
    const kind = utf8(body.subarray(12, message));
    const facts = { status, sent, retryAfter: Number(view(body).getBigUint64(3)) || undefined };
    return { error: new HaulError(KINDS.includes(kind) ? kind : "rejected", utf8(body.subarray(message)), facts) };
}

// ---- notes of sessions: docs/wire/session.md ----

const VERSION = 1;
const WORD = { session: /^[0-9a-f]{32}$/, token: /^[0-9a-f]{64}$/, reason: /^\S+$/ };
const NOTES = {
    hello: ["version"],
    open: ["version", "epoch", "window"],
    accepted: ["session", "token", "window"],
    resume: ["version", "session", "token", "attempt", "received"],
    resumed: ["received"],
    refused: ["reason", "text"],
    ack: ["settled"],
    gap: ["from", "to"],
    abort: ["code", "text"],
};

/** A note's text from its word and fields. */
export function encodeNote(note) {
    const field = (name) => name === "version" ? VERSION : name === "text" ? cut(note.text, 256) : note[name];
    return [note.word, ...NOTES[note.word].map(field)].join(" ");
}

/** A note's word and fields. Throws `protocol`, or `unsupported` for another version; its text is in neither, as it may
 * have the token. */
export function decodeNote(text) {
    const words = text.split(" "), word = words.shift();
    const wrong = () => new HaulError("protocol", `malformed session note ${JSON.stringify(word.slice(0, 16))}`);
    if (!Object.hasOwn(NOTES, word)) throw wrong();
    const note = { word };
    for (const name of NOTES[word]) {
        if (name === "text") {
            note.text = words.splice(0).join(" ");
        } else if (WORD[name]) {
            note[name] = words.shift() ?? "";
            if (!WORD[name].test(note[name])) throw wrong();
        } else {
            const digits = words.shift() ?? "";
            if (!/^(0|[1-9][0-9]{0,19})$/.test(digits) || BigInt(digits) >= 1n << 64n) throw wrong();
            note[name] = Number(digits);
        }
    }
    if (words.length > 0 || note.code > 0xffff) throw wrong();
    if ("version" in note && note.version !== VERSION) {
        throw new HaulError("unsupported", `the peer speaks version ${note.version} of sessions, this end version ${VERSION}`);
    }
    return note;
}

// ---- links ----
//
// A link carries frames until it ends. `onframe` hears each frame, a close as the last one; `onlost` hears why a link ended
// without a close; `onroom` that there is room again after `room()` answered that there is none.

class Link {
    onframe = () => {};
    onlost = () => {};
    onroom = () => {};
    /** Hears once whether anything came before the link ended; nothing where this end closed it. */
    onjudged = undefined;

    judge(verdict) {
        const judged = this.onjudged;
        this.onjudged = undefined;
        judged?.(verdict);
    }

    /** Nothing is heard any more. */
    mute() {
        this.onframe = this.onlost = this.onroom = () => {};
    }

    /** Hears the frame that `read` answers; where there is none, the link is closed for what `read` threw. */
    hear(read, maxPacket) {
        let frame;
        try {
            frame = read();
            const size = frame.packet?.payload.length ?? 0;
            if (size > maxPacket) throw new HaulError("too_large", `a packet of ${size} bytes; at most ${maxPacket}`);
        } catch (error) {
            const { onlost } = this;
            this.close(error.kind === "too_large" ? 4009 : error.kind === "codec" ? 4007 : 4002, error.message);
            this.mute();
            return onlost(error.with({ status: "permanent" }));
        }
        this.judge(frame.type === "close" ? "ended" : "heard");
        this.onframe(frame);
    }
}

/** Bytes that a socket may hold before nothing more is given to it. */
const SOCKET_BUFFER = 256 << 10;
/** A WebSocket does not tell when its buffer drains: it is asked, in milliseconds. */
const ASK_AGAIN = 5;

class WebSocketLink extends Link {
    #socket;
    #asking = false;

    /** Begins to open: `opened` is the link to come, `abort` gives it up. */
    static open(url, { maxPacket }) {
        let socket;
        try {
            socket = new WebSocket(url, [PROTOCOL]);
        } catch (cause) {
            throw new HaulError("config", `dial ${shown(url)}: ${cause.message}`, { cause });
        }
        socket.binaryType = "arraybuffer";
        const opened = new Promise((resolve, reject) => {
            socket.onopen = () => {
                if (socket.protocol === PROTOCOL) return resolve(new WebSocketLink(socket, maxPacket));
                socket.onclose = null;
                socket.close();
                reject(new HaulError("unsupported", `dial ${shown(url)}: the server does not speak ${PROTOCOL}`));
            };
            // Browsers do not tell pages why.
            socket.onclose = () => reject(new HaulError("connect", `dial ${shown(url)}: no WebSocket could be opened`));
        });
        const abort = () => {
            socket.onopen = socket.onclose = socket.onmessage = null;
            socket.close();
        };
        return { opened, abort };
    }

    constructor(socket, maxPacket) {
        super();
        this.#socket = socket;
        socket.onmessage = ({ data }) => this.hear(() => WebSocketLink.#read(data), maxPacket);
        socket.onclose = ({ code, reason, wasClean }) => {
            this.judge("ended");
            if (wasClean) return this.onframe({ type: "close", code, reason });
            this.onlost(new HaulError("closed", "the WebSocket was cut", { code, unsentBytes: socket.bufferedAmount }));
        };
    }

    static #read(data) {
        if (typeof data === "string") throw malformed("a text message where haul.v1 has binary ones");
        const frame = decode(new Uint8Array(data));
        // A WebSocket says its close in a frame of its own.
        if (frame.type === "close") throw malformed("a close in a binary message");
        return frame;
    }

    room() {
        if (this.#socket.readyState !== WebSocket.OPEN) return false;
        if (this.#socket.bufferedAmount < SOCKET_BUFFER) return true;
        if (!this.#asking) {
            this.#asking = true;
            setTimeout(() => {
                this.#asking = false;
                if (this.room()) this.onroom();
            }, ASK_AGAIN);
        }
        return false;
    }

    write(frame) {
        if (frame.type === "close") this.close(frame.code, frame.reason);
        else this.#socket.send(encode(frame));
    }

    close(code, reason) {
        this.onjudged = undefined;
        this.#socket.close(code, cut(reason, 123));
    }
}

const PREFACE = encoder.encode("haul.v1\n");
/** How long a peer may take to end a WebTransport session that this end has closed, in milliseconds. */
const FAREWELL = 10_000;

class WebTransportLink extends Link {
    #transport;
    #writer;
    #writing = 0;
    #closed = false;
    /** What was read and is no whole frame yet. */
    #chunks = [];
    #size = 0;
    #begun = false;

    /** Begins to open: `opened` is the link to come, `abort` gives it up. */
    static open(url, { maxPacket, certificateHashes }) {
        if (!globalThis.WebTransport) {
            throw new HaulError("unsupported", `dial ${shown(url)}: this browser has no WebTransport, or the page is not secure`);
        }
        let transport;
        try {
            const hashes = certificateHashes.map((hash) => ({ algorithm: "sha-256", value: hashBytes(hash) }));
            transport = new WebTransport(String(url).replace(/^wt:/, "https:"), {
                protocols: [PROTOCOL], ...(hashes.length > 0 && { serverCertificateHashes: hashes }),
            });
        } catch (cause) {
            throw new HaulError("config", `dial ${shown(url)}: ${cause.message}`, { cause });
        }
        // What ends it is heard by the link, or by `ready`.
        transport.closed.catch(() => {});
        const begin = async () => {
            try {
                await transport.ready;
                return new WebTransportLink(transport, await transport.createBidirectionalStream(), maxPacket);
            } catch (cause) {
                throw new HaulError("connect", `dial ${shown(url)}: ${cause.message}`, { cause });
            }
        };
        return { opened: begin(), abort: () => transport.close() };
    }

    constructor(transport, { readable, writable }, maxPacket) {
        super();
        this.#transport = transport;
        this.#writer = writable.getWriter();
        this.#write(PREFACE);
        this.#run(readable.getReader(), maxPacket);
    }

    async #run(reader, maxPacket) {
        let why = new HaulError("closed", "the stream ended without a close");
        try {
            for (;;) {
                const { value, done } = await reader.read();
                if (done) break;
                this.#chunks.push(value);
                this.#size += value.length;
                while (this.#next(maxPacket));
            }
        } catch (cause) {
            why = new HaulError("closed", `the WebTransport session was cut: ${cause?.message}`, { cause });
        }
        this.judge("ended");
        this.onlost(why);
        this.#transport.close();
    }

    /** Hears one frame of what was read, if there is a whole one. */
    #next(maxPacket) {
        if (!this.#begun) {
            if (this.#size < PREFACE.length) return false;
            this.#begun = true;
            if (this.#take(PREFACE.length).some((byte, at) => byte !== PREFACE[at])) {
                this.hear(() => { throw malformed("the peer began a stream without its preface"); }, maxPacket);
                return false;
            }
        }
        if (this.#size < 4) return false;
        const length = view(this.#peek(4)).getUint32(0);
        if (length > maxPacket + MAX_HEAD) {
            this.hear(() => { throw new HaulError("too_large", `a frame of ${length} bytes; at most ${maxPacket}`); }, maxPacket);
            this.#chunks = [];
            this.#size = 0;
            return false;
        }
        if (this.#size < 4 + length) return false;
        const bytes = this.#take(4 + length).subarray(4);
        this.hear(() => this.#read(bytes), maxPacket);
        return true;
    }

    #read(bytes) {
        const frame = decode(bytes);
        if (frame.type === "close") this.close(frame.code, frame.reason);
        return frame;
    }

    #peek(size) {
        if (this.#chunks[0].length < size) this.#chunks = [join(this.#chunks)];
        return this.#chunks[0].subarray(0, size);
    }

    #take(size) {
        const taken = this.#peek(size);
        this.#chunks[0] = this.#chunks[0].subarray(size);
        if (this.#chunks[0].length === 0) this.#chunks.shift();
        this.#size -= size;
        return taken;
    }

    room() {
        return !this.#closed && this.#writing < SOCKET_BUFFER;
    }

    write(frame) {
        if (frame.type === "close") return this.close(frame.code, frame.reason);
        this.#writeFrame(frame);
    }

    #writeFrame(frame) {
        const bytes = encode(frame), head = new Uint8Array(4);
        view(head).setUint32(0, bytes.length);
        this.#write(join([head, bytes]));
    }

    async #write(bytes) {
        this.#writing += bytes.length;
        try {
            await this.#writer.write(bytes);
        } catch {
            // The reader hears why.
            return;
        }
        const full = this.#writing >= SOCKET_BUFFER;
        this.#writing -= bytes.length;
        if (full && this.room()) this.onroom();
    }

    /** Says its close once, after what was written; the peer ends the session when it has said its own. */
    close(code, reason) {
        if (this.#closed) return;
        this.onjudged = undefined;
        this.#closed = true;
        this.#writeFrame({ type: "close", code, reason: cut(reason, 123) });
        this.#writer.close().catch(() => {});
        setTimeout(() => this.#transport.close(), FAREWELL);
    }
}

/** A SHA-256 in hexadecimal digits, with or without colons. Throws `config`. */
function hashBytes(hash) {
    const hex = String(hash).replaceAll(":", "");
    if (!/^[0-9a-fA-F]{64}$/.test(hex)) throw new HaulError("config", `certificate hash ${hash}: a SHA-256 has 64 hexadecimal digits`);
    return Uint8Array.from({ length: 32 }, (_, at) => parseInt(hex.slice(2 * at, 2 * at + 2), 16));
}

/** Begins to open a link by what the URL says. */
function open(url, options) {
    return (/^wt:/.test(url) ? WebTransportLink : WebSocketLink).open(url, options);
}

/** A URL without what may be secret. */
function shown(url) {
    return String(url).replace(/[?#].*$/, "").replace(/\/\/[^/@]*@/, "//");
}

// ---- the race: as crates/layers/adaptive has it ----

/** When the next URL starts, and what is remembered: see `AdaptiveOptions` in haul.d.ts. */
const ADAPTIVE = { headStart: 250, remember: 600_000, probe: 300_000, stallWithin: 30_000, demote: 60_000 };
/** A demotion lasts at most so many times `demote`. */
const LONGEST = 16;
/** Lists of URLs that are remembered. */
const MAX_REMEMBERED = 256;
const remembered = new Map();

/** What is known of these URLs: who won when, when to look again, and who stalled. */
function memory(urls) {
    const key = urls.map(shown).join(" ");
    const known = remembered.get(key) ?? { winner: undefined, stalls: urls.map(() => ({ inARow: 0, until: 0 })) };
    remembered.delete(key);
    remembered.set(key, known);
    if (remembered.size > MAX_REMEMBERED) remembered.delete(remembered.keys().next().value);
    return known;
}

/** In which order to start: the winner, unless it is time to look again; then as preferred; those that stalled last. */
function plan(known, { remember, probe }) {
    const now = Date.now(), demoted = (at) => known.stalls[at].until > now;
    const order = known.stalls.map((_, at) => at);
    const { winner } = known;
    if (winner && now - winner.time < remember) {
        const better = order.some((at) => at < winner.at && !demoted(at));
        if (better && now >= winner.probeAt) winner.probeAt = now + probe;
        else order.unshift(...order.splice(winner.at, 1));
    }
    return [...order.filter((at) => !demoted(at)), ...order.filter(demoted)];
}

function won(known, at, link, { probe, stallWithin, demote }) {
    const time = Date.now();
    known.winner = { at, time, probeAt: known.winner?.at === at ? known.winner.probeAt : time + probe };
    link.onjudged = (verdict) => {
        const stalls = known.stalls[at];
        if (verdict === "heard") {
            known.stalls[at] = { inARow: 0, until: 0 };
        } else if (verdict === "silent" || Date.now() - time <= stallWithin) {
            stalls.until = Date.now() + demote * Math.min(2 ** stalls.inARow, LONGEST);
            stalls.inARow += 1;
            if (known.winner?.at === at) known.winner = undefined;
        }
    };
}

function begin(url, options) {
    try {
        return open(url, options);
    } catch (error) {
        return { opened: Promise.reject(error), abort: () => {} };
    }
}

/** Begins to open one of `urls`: the next one starts `headStart` after the last one did, or at once when one fails. */
function race(urls, options) {
    const known = memory(urls), order = plan(known, options.adaptive), running = new Map(), failed = [];
    let timer, over = false;
    const stop = (except) => {
        over = true;
        clearTimeout(timer);
        for (const [at, abort] of running) if (at !== except) abort();
    };
    const opened = new Promise((resolve, reject) => {
        const next = () => {
            clearTimeout(timer);
            const at = order.shift(), attempt = begin(urls[at], options);
            running.set(at, attempt.abort);
            if (order.length > 0) timer = setTimeout(next, options.adaptive.headStart);
            attempt.opened.then((link) => {
                // Another one won in the same moment, and this one was told to go.
                if (over) return;
                stop(at);
                link.url = urls[at];
                won(known, at, link, options.adaptive);
                resolve(link);
            }, (error) => {
                running.delete(at);
                failed.push(error);
                if (over) return;
                if (order.length > 0) next();
                else if (running.size === 0) reject(noneOpened(failed));
            });
        };
        next();
    });
    return { opened, abort: () => stop() };
}

/** The one error for all that failed: transient if any is. */
function noneOpened(failed) {
    if (failed.length === 1) return failed[0];
    const { kind, status } = failed.find((error) => error.status === "transient") ?? failed[0];
    return new HaulError(kind, failed.map((error) => error.message).join("; "), { status });
}

/** Opens a link to one of `urls` within `timeout` milliseconds, `greet` included. */
async function dial(urls, options, greet = (link) => link) {
    const { opened, abort } = race(urls, options);
    let timer, link;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => {
            link?.judge("silent");
            reject(new HaulError("timeout", `dial ${urls.map(shown).join(", ")}: nothing stands after ${options.timeout} ms`));
        }, options.timeout);
    });
    try {
        return await Promise.race([opened.then((first) => greet(link = first)), late]);
    } catch (error) {
        abort();
        throw error;
    } finally {
        clearTimeout(timer);
    }
}

// ---- channels: what a connection stands on ----
//
// A channel is a link, or a session over links. `onframe(frame, settle)` gives what arrived, and `settle()` is called when
// the application has it; `onend(error)` is the last word, without an error after a close that both ends said.

class Plain {
    onframe = () => {};
    onroom = () => {};
    onend = () => {};
    #link;

    constructor(link) {
        this.#link = link;
        link.onroom = () => this.onroom();
        link.onframe = (frame) => this.onframe(frame, () => {});
        link.onlost = (error) => this.onend(error);
    }

    room() {
        return this.#link.room();
    }

    write(frame) {
        this.#link.write(frame);
    }

    abort(code, reason) {
        this.#link.mute();
        this.#link.close(code, reason);
    }

    get url() {
        return this.#link.url;
    }

    /** Packets that may be lost although they were written: only a session knows. */
    get unsettled() {
        return 0;
    }
}

/** What a client begins a session with: see `SessionOptions` in haul.d.ts. */
const SESSION = {
    replayBytes: 1 << 20, replayPackets: 16_384, attempts: Infinity, base: 200, factor: 2, cap: 30_000, deadline: Infinity,
    stableAfter: 10_000,
};
/** When settled packets are told: after so many, so many bytes, so many milliseconds. */
const TELL_COUNT = 64, TELL_BYTES = 64 << 10, TELL_DELAY = 20;
const REFUSALS = {
    unknown: ["rejected", "transient"],
    stale: ["rejected", "transient"],
    unauthorized: ["unauthorized", "permanent"],
    overloaded: ["overloaded", "transient"],
};

function refusal({ reason, text }) {
    const [kind, status] = REFUSALS[reason] ?? ["protocol", "permanent"];
    return new HaulError(kind, `the session was refused: ${text}`, { status });
}

class Session {
    onframe = () => {};
    onroom = () => {};
    onend = () => {};
    onstate = () => {};
    #urls;
    #options;
    #link;
    #key;
    #epoch = 0;
    #resumes = 0;
    #streak = 0;
    #since = 0;
    #over = false;
    // What is sent: frames kept until the peer has settled them, the first of them numbered `settled`.
    #kept = [];
    #keptBytes = 0;
    #settled = 0;
    #window;
    /** Deliveries that are settled and wait for their receipts. */
    #awaited = new Map();
    // What arrives.
    #received = 0;
    #taken = 0;
    #beyond = new Set();
    #told = 0;
    #toldBytes = 0;
    #telling;

    /** Where the last link led. */
    url;

    constructor(urls, options) {
        this.#urls = urls;
        this.#options = options;
        this.#window = options.session.replayBytes;
    }

    async open() {
        await dial(this.#urls, this.#options, (link) => this.#open(link));
        return this;
    }

    get unsettled() {
        return this.#kept.filter(({ frame }) => frame.type === "packet").length;
    }

    room() {
        if (!this.#link) return false;
        const { replayPackets } = this.#options.session;
        const full = this.#kept.length > 0 && (this.#keptBytes >= this.#window || this.#kept.length >= replayPackets);
        return !full && this.#link.room();
    }

    write(frame) {
        if (frame.type !== "ping" && frame.type !== "pong") this.#keep(frame);
        this.#link.write(frame);
    }

    #keep(frame) {
        const weight = OVERHEAD + (frame.packet?.payload.length ?? 0);
        this.#kept.push({ frame, weight });
        this.#keptBytes += weight;
    }

    abort(code, reason) {
        this.#say({ word: "abort", code, text: reason });
        this.#drop((link) => link.close(1000, ""));
        this.#over = true;
    }

    #drop(farewell) {
        const link = this.#link;
        this.#link = undefined;
        clearTimeout(this.#telling);
        this.#telling = undefined;
        if (!link) return;
        link.mute();
        farewell(link);
    }

    #end(error) {
        if (this.#over) return;
        this.#over = true;
        this.#drop((link) => link.close(4002, error?.message ?? ""));
        this.onend(error);
    }

    // -- greeting --

    async #open(link) {
        const window = this.#options.session.replayBytes;
        const answer = await ask(link, { word: "open", epoch: this.#epoch + 1, window });
        if (answer.word === "refused") throw refusal(answer);
        if (answer.word !== "accepted") throw new HaulError("protocol", "the peer answered an open with something else");
        this.#begin(link, answer);
    }

    #begin(link, { session, token, window }, lost) {
        this.#key = { session, token };
        this.#epoch += 1;
        this.#resumes = 0;
        this.#window = Math.min(this.#options.session.replayBytes, Math.max(window, 1));
        this.#attach(link, 0, lost && [{ word: "gap", from: lost.from, to: lost.to }]);
    }

    async #resume(link) {
        this.#resumes += 1;
        const answer = await ask(link, { word: "resume", ...this.#key, attempt: this.#resumes, received: this.#received });
        if (answer.word === "resumed") return this.#attach(link, answer.received);
        if (answer.word !== "refused") throw new HaulError("protocol", "the peer answered a resume with something else");
        if (answer.reason !== "unknown") throw refusal(answer);
        if (this.#kept.some(({ frame }) => frame.type === "finish" || frame.type === "close")) {
            throw refusal(answer).with({ status: "permanent" });
        }
        const window = this.#options.session.replayBytes;
        const again = await ask(link, { word: "open", epoch: this.#epoch + 1, window });
        if (again.word === "refused") throw refusal(again);
        if (again.word !== "accepted") throw new HaulError("protocol", "the peer answered an open with something else");
        const received = this.#received, lost = this.#startOver();
        const ours = lost ? `${lost.count} packets of ours between ${lost.from} and ${lost.to - 1} may be lost` : "nothing of ours is lost";
        const message = `a new session took the place of one that the peer no longer had: ${ours}, and what the peer sent `
            + `after its packet ${received} is unknown`;
        const facts = { received, from: lost?.from, to: lost?.to, oursMaybeLost: lost?.count ?? 0 };
        this.onframe({ type: "gap", error: new HaulError("gap", message, facts) }, () => {});
        this.#begin(link, again, lost);
    }

    /** A new epoch: what has an id is sent again, of the rest is answered what may be lost. */
    #startOver() {
        let lost;
        const again = [...this.#awaited.values()];
        this.#kept.forEach(({ frame }, at) => {
            const number = this.#settled + at;
            if (frame.type === "packet" && !frame.packet.id) {
                lost ??= { from: number, to: number, count: 0 };
                lost.to = number + 1;
                lost.count += 1;
            } else if (frame.type === "packet") {
                again.push(frame);
            }
        });
        this.#kept = [];
        this.#awaited.clear();
        this.#beyond.clear();
        this.#keptBytes = this.#settled = this.#received = this.#taken = this.#told = this.#toldBytes = 0;
        again.forEach((frame) => this.#keep(frame));
        return lost;
    }

    /** Goes on over `link`, whose peer has received so many. Throws `protocol` if that cannot be. */
    #attach(link, received, notes = []) {
        if (this.#over) throw new HaulError("closed", "the session is over");
        const next = this.#settled + this.#kept.length;
        if (received < this.#settled || received > next) {
            const message = `the peer received ${received} packets, settled ${this.#settled} before, and ${next} were sent`;
            throw new HaulError("protocol", message);
        }
        this.#link = link;
        this.url = link.url;
        this.#since = Date.now();
        link.onframe = (frame) => this.#hear(frame);
        link.onlost = (error) => this.#lost(error);
        link.onroom = () => this.onroom();
        this.#told = this.#taken;
        for (const note of [...notes, { word: "ack", settled: this.#taken }]) this.#say(note);
        for (const { frame } of this.#kept.slice(received - this.#settled)) link.write(frame);
        this.onstate({ name: "connected" });
        this.onroom();
    }

    // -- what is lost and found --

    #lost(error) {
        if (this.#over) return;
        this.#drop(() => {});
        if (error.status === "permanent") return this.#end(error);
        this.#reconnect(error);
    }

    async #reconnect(why) {
        const { attempts, base, factor, cap, deadline, stableAfter } = this.#options.session;
        const began = Date.now();
        if (began - this.#since >= stableAfter) this.#streak = 0;
        for (let attempt = 1; ; attempt += 1) {
            const backoff = this.#streak === 0 ? 0 : Math.random() * Math.min(cap, base * factor ** (this.#streak - 1));
            const wait = Math.max(backoff, why.retryAfter ?? 0);
            if (this.#streak >= attempts || Date.now() + wait - began > deadline) {
                const facts = { status: "exhausted", sent: this.unsettled > 0 ? "maybe" : "no", dials: this.#streak };
                return this.#end(why.with({ ...facts, unsettled: this.unsettled }));
            }
            this.#streak += 1;
            this.onstate({ name: "reconnecting", attempt, error: why });
            await pause(wait);
            if (this.#over) return;
            try {
                return await dial(this.#urls, this.#options, (link) => this.#resume(link));
            } catch (error) {
                if (this.#over) return;
                if (error.status === "permanent") return this.#end(error);
                why = error;
            }
        }
    }

    // -- what is heard --

    #hear(frame) {
        switch (frame.type) {
            case "note":
                try {
                    return this.#note(decodeNote(frame.text));
                } catch (error) {
                    return this.#end(error);
                }
            case "ping":
                return this.#link.write({ type: "pong", payload: frame.payload });
            case "pong":
                return;
        }
        const number = this.#received;
        const epoch = this.#epoch;
        this.#received += 1;
        this.#toldBytes += frame.packet?.payload.length ?? 0;
        const settle = () => {
            if (epoch === this.#epoch) this.#settle(number);
        };
        if (frame.type === "packet") return this.onframe(frame, settle);
        this.#settle(number);
        if (frame.type === "receipt") this.#awaited.delete(frame.id);
        if (frame.type === "close") {
            this.#over = true;
            this.#drop(() => {});
        }
        this.onframe(frame, () => {});
    }

    #note(note) {
        switch (note.word) {
            case "ack": {
                const next = this.#settled + this.#kept.length;
                if (note.settled > next) {
                    throw new HaulError("protocol", `the peer settled ${note.settled} packets, but ${next} were sent`);
                }
                for (const { frame, weight } of this.#kept.splice(0, note.settled - this.#settled)) {
                    this.#keptBytes -= weight;
                    if (frame.receipt === true) this.#awaited.set(frame.packet.id, frame);
                }
                this.#settled = Math.max(this.#settled, note.settled);
                return this.onroom();
            }
            case "gap": {
                const message = `the peer lost its session: of its packets ${note.from} to ${note.to - 1} some may be missing`;
                const error = new HaulError("gap", message, { from: note.from, to: note.to });
                return this.onframe({ type: "gap", error }, () => {});
            }
            case "abort":
                throw new HaulError("closed", `the peer aborted the session: code ${note.code} ${note.text}`, {
                    code: note.code, status: "permanent",
                });
            case "refused":
                return this.#lost(new HaulError("closed", `the peer ended the link: ${note.text}`));
            case "hello":
                return;
            default:
                throw new HaulError("protocol", "the peer greets again on a link of a session");
        }
    }

    // -- what is settled --

    #settle(number) {
        this.#beyond.add(number);
        while (this.#beyond.delete(this.#taken)) this.#taken += 1;
        if (this.#taken - this.#told >= TELL_COUNT || this.#toldBytes >= TELL_BYTES) this.#tell();
        else this.#telling ??= setTimeout(() => this.#tell(), TELL_DELAY);
    }

    #tell() {
        clearTimeout(this.#telling);
        this.#telling = undefined;
        const closing = this.#kept.at(-1)?.frame.type === "close";
        if (!this.#link || closing || this.#taken === this.#told) return;
        this.#told = this.#taken;
        this.#toldBytes = 0;
        this.#say({ word: "ack", settled: this.#taken });
    }

    #say(note) {
        this.#link?.write({ type: "note", text: encodeNote(note) });
    }
}

/** Asks, and once more when the server says that it hears; the answer. Rejects if the link ends before. */
function ask(link, question) {
    const say = () => link.write({ type: "note", text: encodeNote(question) });
    return new Promise((resolve, reject) => {
        link.onlost = reject;
        link.onframe = (frame) => {
            if (frame.type === "ping" && decoder.decode(frame.payload) !== "haul session") {
                return link.write({ type: "pong", payload: frame.payload });
            }
            if (frame.type === "ping" || frame.type === "pong") return;
            if (frame.type === "close") {
                return reject(new HaulError("closed", `the peer closed instead of greeting: ${frame.code} ${frame.reason}`));
            }
            try {
                if (frame.type !== "note") throw new HaulError("protocol", "the peer began without greeting: it speaks no sessions");
                const note = decodeNote(frame.text);
                if (note.word === "hello") say();
                else resolve(note);
            } catch (error) {
                reject(error);
            }
        };
        say();
        link.write({ type: "ping", payload: encoder.encode("haul session") });
    });
}

/** Waits so many milliseconds, or until the browser finds a network again. */
function pause(wait) {
    return new Promise((resolve) => {
        const done = () => {
            clearTimeout(timer);
            globalThis.removeEventListener?.("online", done);
            resolve();
        };
        const timer = setTimeout(done, wait);
        globalThis.addEventListener?.("online", done);
    });
}

// ---- connections ----

/** What a connection begins with: see `Options` in haul.d.ts. */
const OPTIONS = {
    session: false, adaptive: {}, certificateHashes: [], timeout: 10_000, maxPacket: 16 << 20, sendBuffer: 128 << 10, sendPackets: 4096, receiveBuffer: 32 << 20,
    closeDeadline: 5000, maxWaiting: 4096, maxUnanswered: 65_536,
};

function checked(given, defaults, what) {
    for (const [name, value] of Object.entries(given)) {
        if (!Object.hasOwn(defaults, name)) throw new HaulError("config", `${what}: no option ${name}; there are ${Object.keys(defaults).join(", ")}`);
        if (name === "certificateHashes") {
            if (!Array.isArray(value)) throw new HaulError("config", `${what}: certificateHashes is no array`);
        } else if (!["session", "adaptive"].includes(name) && !(typeof value === "number" && value > 0)) {
            throw new HaulError("config", `${what}: ${name} is ${value}, not a positive number`);
        }
    }
    return { ...defaults, ...given };
}

/** Connects to a `ws://`, `wss://` or `wt://` URL, or to the first of several that opens. Rejects with `connect`, `timeout`,
 * `unsupported`, `config`, and a session's refusal. */
export async function connect(url, given = {}) {
    const options = checked(given, OPTIONS, "connect");
    const urls = [url].flat().map(String);
    if (urls.length === 0) throw new HaulError("config", "connect: no URL");
    options.adaptive = checked(options.adaptive, ADAPTIVE, "adaptive");
    const { headStart } = options.adaptive;
    if (headStart < 10 || headStart > 2000) throw new HaulError("config", `adaptive: headStart is ${headStart}, not 10 to 2000`);
    if (!options.session) return new Connection(new Plain(await dial(urls, options)), options);
    options.session = checked(options.session === true ? {} : options.session, SESSION, "session");
    return new Connection(await new Session(urls, options).open(), options);
}

class Connection {
    /** Hears each change of `state`. */
    onstate = null;
    /** Hears gaps where `onpacket` is used; `recv` rejects with them. */
    ongap = null;
    #onpacket = null;
    #channel;
    #options;
    #state = { name: "connected" };
    // What goes out: accepted frames, and sends that wait for room.
    #queue = [];
    #queued = 0;
    #waiting = [];
    #finished = false;
    #unanswered = new Map();
    // What came in, in order: packets and gaps; and who waits for them.
    #inbox = [];
    #inboxBytes = 0;
    #readers = [];
    #peerDone = false;
    #failure;
    #ended;
    #closed;

    constructor(channel, options) {
        this.#channel = channel;
        this.#options = options;
        this.#closed = new Promise((resolve, reject) => {
            this.#ended = { resolve, reject };
        });
        // Whoever wants to know asks for `closed`.
        this.#closed.catch(() => {});
        channel.onframe = (frame, settle) => this.#hear(frame, settle);
        channel.onroom = () => this.#pump();
        channel.onend = (error) => this.#end(error);
        channel.onstate = (state) => this.#set(state);
    }

    get state() {
        return this.#state;
    }

    /** Where the link leads that stands, or stood last. */
    get url() {
        return this.#channel.url;
    }

    /** Resolves with code and reason when both ends have closed; rejects with why the connection failed otherwise. */
    get closed() {
        return this.#closed;
    }

    get onpacket() {
        return this.#onpacket;
    }

    set onpacket(handler) {
        const running = this.#onpacket;
        this.#onpacket = handler;
        if (handler && !running) this.#handle();
    }

    async #handle() {
        while (this.#onpacket) {
            try {
                const packet = await this.recv();
                if (!packet) return;
                // Taken away while it was awaited: the next reader gets it.
                await this.#onpacket?.(packet);
            } catch (error) {
                if (error === this.#failure) return;
                if (error.kind === "gap" && this.ongap) this.ongap(error);
                else reportError(error);
            }
        }
    }

    // -- sending --

    /** Resolves when the packet is accepted, in order, into the bounded send buffer. */
    async send(content, options) {
        return this.#accept({ type: "packet", packet: this.#packet(content, options), receipt: false });
    }

    /** Resolves with the receiver's receipt; rejects with its refusal. */
    async deliver(content, options = {}) {
        const packet = this.#packet(content, { ...options, id: options.id ?? newId() });
        const { id } = packet;
        if (this.#unanswered.has(id)) throw new HaulError("config", `deliver ${id}: it waits for its receipt already`);
        if (this.#unanswered.size >= this.#options.maxUnanswered) {
            throw new HaulError("overloaded", `${this.#unanswered.size} deliveries wait for their receipts`);
        }
        const frame = { type: "packet", packet, receipt: true };
        const answered = new Promise((resolve, reject) => this.#unanswered.set(id, { resolve, reject, frame }));
        answered.catch(() => {});
        try {
            await this.#accept(frame);
        } catch (error) {
            this.#unanswered.delete(id);
            throw error;
        }
        return answered;
    }

    #packet(content, options) {
        const packet = Packet.of(content, options), { maxPacket } = this.#options;
        if (packet.payload.length > maxPacket) {
            throw new HaulError("too_large", `a packet of ${packet.payload.length} bytes; at most ${maxPacket}`);
        }
        encode({ type: "packet", packet: new Packet(packet.kind, new Uint8Array(), packet.metadata, packet.id), receipt: false });
        return packet;
    }

    /** No more packets from here; the other direction goes on. */
    async finish() {
        const done = this.#accept({ type: "finish" });
        this.#finished = true;
        return done;
    }

    /** Sends what was accepted, closes, and resolves as `closed` does; rejects with `timeout` after the close deadline. */
    async close(code = 1000, reason = "") {
        if (code !== 1000 && !(code >= 3000 && code <= 4999)) throw new HaulError("config", `close code ${code}: a page may say 1000 or 3000 to 4999`);
        if (this.#ended && this.#state.name !== "closing") {
            this.#waiting.push({ frame: { type: "close", code, reason: cut(reason, 123) }, accepted: () => {}, refused: () => {} });
            this.#finished = true;
            this.#set({ name: "closing" });
            const timer = setTimeout(() => {
                const message = `the peer did not close within ${this.#options.closeDeadline} ms`;
                this.#channel.abort(1000, "the close deadline has passed");
                this.#end(new HaulError("timeout", message, { sent: "maybe", unflushed: this.#unflushed() }));
            }, this.#options.closeDeadline);
            this.#closed.finally(() => clearTimeout(timer)).catch(() => {});
            this.#pump();
        }
        return this.#closed;
    }

    /** Ends the connection at once. */
    abort(code = 4000, reason = "aborted") {
        if (!this.#ended) return;
        this.#channel.abort(code, reason);
        this.#end(new HaulError("closed", "this end aborted the connection", { code, unflushed: this.#unflushed() }));
    }

    #accept(frame) {
        if (this.#failure) throw this.#failure.with({ sent: "no" });
        if (this.#finished || !this.#ended) throw new HaulError("closed", "this end has finished, or the connection is closed");
        if (this.#waiting.length >= this.#options.maxWaiting) {
            throw new HaulError("overloaded", `${this.#waiting.length} sends wait for room; await them`);
        }
        return new Promise((accepted, refused) => {
            this.#waiting.push({ frame, accepted, refused });
            this.#pump();
        });
    }

    #enqueue(frame) {
        this.#queue.push(frame);
        this.#queued += weight(frame);
    }

    #pump() {
        const { sendBuffer, sendPackets } = this.#options;
        while (this.#ended) {
            while (this.#waiting.length > 0 && this.#queued < sendBuffer && this.#queue.length < sendPackets) {
                const { frame, accepted } = this.#waiting.shift();
                this.#enqueue(frame);
                accepted();
            }
            if (this.#queue.length === 0 || !this.#channel.room()) return;
            const frame = this.#queue.shift();
            this.#queued -= weight(frame);
            this.#channel.write(frame);
        }
    }

    #unflushed() {
        return this.#queue.filter(({ type }) => type === "packet").length;
    }

    // -- receiving --

    /** The next packet; undefined when the peer has closed or finished. Rejects with a gap, after which `recv` goes on, and
     * with why the connection failed. */
    recv() {
        const next = this.#inbox.shift();
        if (next) return this.#take(next);
        if (this.#failure) return Promise.reject(this.#failure);
        if (this.#peerDone) return Promise.resolve(undefined);
        return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
    }

    async *[Symbol.asyncIterator]() {
        for (;;) {
            const packet = await this.recv();
            if (!packet) return;
            yield packet;
        }
    }

    #take({ frame, settle }) {
        if (frame.type === "gap") return Promise.reject(frame.error);
        this.#inboxBytes -= weight(frame);
        settle();
        if (frame.receipt && this.#ended && this.#state.name !== "closing") {
            const receipt = { level: "acknowledged", at: Date.now() * 1000 };
            this.#enqueue({ type: "receipt", id: frame.packet.id, receipt });
            if (this.#queued > 8 * this.#options.sendBuffer) this.#fail("overloaded", "the peer reads no answers", 4008);
            this.#pump();
        }
        return Promise.resolve(frame.packet);
    }

    #hear(frame, settle) {
        switch (frame.type) {
            case "packet":
            case "gap": {
                if (this.#peerDone || !this.#ended) return;
                const reader = this.#readers.shift();
                if (frame.type === "packet") this.#inboxBytes += weight(frame);
                if (reader) return void this.#take({ frame, settle }).then(reader.resolve, reader.reject);
                this.#inbox.push({ frame, settle });
                if (this.#inboxBytes > this.#options.receiveBuffer) this.#fail("overloaded", "the page does not take what arrives", 4008);
                return;
            }
            case "receipt": {
                const waits = this.#unanswered.get(frame.id);
                this.#unanswered.delete(frame.id);
                return frame.error ? waits?.reject(frame.error) : waits?.resolve(frame.receipt);
            }
            case "ping":
                this.#enqueue({ type: "pong", payload: frame.payload });
                return this.#pump();
            case "finish":
                return this.#peerIsDone();
            case "close":
                return this.#peerClosed(frame);
        }
    }

    #peerIsDone() {
        this.#peerDone = true;
        for (const { resolve } of this.#readers.splice(0)) resolve(undefined);
    }

    #peerClosed({ code, reason }) {
        const ours = this.#state.name === "closing", unflushed = this.#unflushed();
        const clean = code === 1000 || code === 1001 || code === 1005;
        if (unflushed === 0 && (clean || ours)) return this.#end(undefined, { code, reason, unsettled: ours ? 0 : this.#channel.unsettled });
        const left = unflushed > 0 ? `, with ${unflushed} packets not sent` : "";
        this.#end(new HaulError("closed", `the peer closed: code ${code} ${reason}${left}`, { code, unflushed, sent: "maybe" }));
    }

    // -- ending --

    #fail(kind, message, code) {
        this.#channel.abort(code, message);
        this.#end(new HaulError(kind, message, { unflushed: this.#unflushed() }));
    }

    /** The connection is over: whoever waits is answered. */
    #end(error, reason) {
        const ended = this.#ended;
        if (!ended) return;
        this.#ended = undefined;
        if (error && error.unflushed === undefined) error = error.with({ unflushed: this.#unflushed() });
        const why = error ?? new HaulError("closed", `the peer closed: code ${reason.code} ${reason.reason}`, { code: reason.code });
        const queued = new Set(this.#queue);
        for (const { refused } of this.#waiting.splice(0)) refused(why.with({ sent: "no" }));
        for (const { reject, frame } of this.#unanswered.values()) reject(why.with({ sent: queued.has(frame) ? "no" : "maybe" }));
        this.#unanswered.clear();
        this.#queue = [];
        this.#failure = error;
        if (error) for (const { reject } of this.#readers.splice(0)) reject(error);
        else this.#peerIsDone();
        this.#set(error ? { name: "failed", error } : { name: "disconnected" });
        if (error) ended.reject(error);
        else ended.resolve(reason);
    }

    #set(state) {
        // A session that reconnects while it closes is closing.
        if (this.#state.name === "closing" && this.#ended) return;
        this.#state = state;
        this.onstate?.(state);
    }
}

const weight = (frame) => OVERHEAD + (frame.packet?.payload.length ?? 0);
