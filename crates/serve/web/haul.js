// haul.js: haul connections for pages. One module, no dependencies; haul.d.ts says its types. From the ground up:
//
//   errors, bytes    what the rest is made of
//   frames           docs/wire/frame.md: Packet, encode, decode
//   notes            docs/wire/session.md: encodeNote, decodeNote
//   requests         HTTP, within a time
//   links            what carries frames: a WebSocket, a WebTransport stream, an event stream with POSTs
//   the race         which of several links it will be
//   gateways         which links there are to one
//   channels         what a connection stands on: a link, or a session over links
//   connections      connect
//
// A page may close a WebSocket only with 1000 or 3000 to 4999, so that this module says 4002, 4007, 4008 and 4009 where
// others say 1002, 1007, 1008 and 1009.

export const PROTOCOL = "haul.v1";

const MAX_HEAD = 64 << 10;
const MAX_PING = 125;
const MAX_NOTE = 1024;
/** What a queued packet counts for beside its bytes. */
const OVERHEAD = 64;

// ---- errors ----

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

// ---- requests ----

/** A URL without what may be secret. */
function shown(url) {
    return String(url).replace(/[?#].*$/, "").replace(/\/\/[^/@]*@/, "//");
}

/** What an answer that is no success says. */
const MEANINGS = {
    401: "unauthorized", 403: "unauthorized", 404: "not_found", 408: "timeout", 410: "not_found", 413: "too_large",
    429: "rate_limited", 500: "io", 502: "io", 503: "overloaded", 504: "timeout",
};
/** How much of it goes into the error. */
const SAID = 256;

/** Asks, and answers when the head of a success is there: within `timeout` milliseconds, and until `stop` is aborted. Rejects
 * with `connect`, `timeout`, and what the status says. */
async function request(url, { timeout, token, headers = {}, stop = new AbortController(), ...init }) {
    const late = new HaulError("timeout", `${init.method ?? "GET"} ${shown(url)}: no answer within ${timeout} ms`);
    const timer = setTimeout(() => stop.abort(late), timeout);
    if (token) headers = { ...headers, authorization: `Bearer ${token}` };
    try {
        const response = await fetch(url, { ...init, headers, cache: "no-store", redirect: "error", signal: stop.signal });
        if (response.ok) return response;
        const { status } = response, seconds = Number(response.headers.get("retry-after"));
        const text = (await response.text()).trim().slice(0, SAID);
        const facts = { busy: response.headers.has("haul-busy"), ...(seconds > 0 && { retryAfter: seconds * 1000 }) };
        throw new HaulError(MEANINGS[status] ?? "rejected", `${shown(url)} answered ${status}${text && `: ${text}`}`, facts);
    } catch (cause) {
        if (cause instanceof HaulError) throw cause;
        throw new HaulError("connect", `${init.method ?? "GET"} ${shown(url)}: ${cause.message}`, { cause });
    } finally {
        clearTimeout(timer);
    }
}

/** Milliseconds by a clock that nobody sets. */
const now = () => performance.now();

/** How many milliseconds to wait after so many tries: anything up to a bound that grows. */
function drawn({ base, factor, cap }, tries) {
    return Math.random() * Math.min(cap, base * factor ** tries);
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

// ---- links ----
//
// A link carries frames until it ends. Its hearer is told each `frame`, a close as the last one; why it was `lost`, if it ended
// without a close; that there is `room` again after `room()` answered that there is none; and its `state` while it is come back
// to.

/** Tells its hearer what happens, in order. What happens while there is none is told to the next one. */
class Told {
    #hearer;
    #untold = [];
    #over = false;

    set hearer(hearer) {
        this.#hearer = hearer;
        while (this.#hearer && this.#untold.length > 0) {
            const [what, facts] = this.#untold.shift();
            this.#hearer[what]?.(...facts);
        }
    }

    tell(what, ...facts) {
        if (this.#over) return;
        this.#untold.push([what, facts]);
        this.hearer = this.#hearer;
    }

    /** Tells this, and nothing more. */
    tellLast(what, ...facts) {
        this.tell(what, ...facts);
        this.#over = true;
    }

    /** Nothing is told any more. */
    mute() {
        this.#over = true;
        this.#untold = [];
    }
}

class Link extends Told {
    /** Hears once whether anything came before the link ended; nothing where this end closed it. */
    onjudged = undefined;
    /** What was heard is no haul.v1: the rest is not looked at. */
    broken = false;

    judge(verdict) {
        const judged = this.onjudged;
        this.onjudged = undefined;
        judged?.(verdict);
    }

    /** Hears the frame that `read` answers, if there is one; the link is closed for what `read` throws. Answers whether there
     * was one. */
    hear(read, maxPacket) {
        let frame;
        try {
            frame = read();
            if (!frame) return false;
            const size = frame.packet?.payload.length ?? 0;
            if (size > maxPacket) throw new HaulError("too_large", `a packet of ${size} bytes; at most ${maxPacket}`);
        } catch (error) {
            this.broken = true;
            this.close(error.kind === "too_large" ? 4009 : error.kind === "codec" ? 4007 : 4002, error.message);
            this.tellLast("lost", error.with({ status: "permanent" }));
            return false;
        }
        this.judge(frame.type === "close" ? "ended" : "heard");
        this.tell("frame", frame);
        return true;
    }
}

/** Frames in a stream of bytes, each behind its length. */
class Frames {
    #maxPacket;
    /** What was read and is no whole frame yet. */
    #chunks = [];
    #size = 0;

    constructor(maxPacket) {
        this.#maxPacket = maxPacket;
    }

    push(bytes) {
        if (bytes.length > 0) this.#chunks.push(bytes);
        this.#size += bytes.length;
    }

    /** The next `size` bytes, once they are there. */
    take(size) {
        if (this.#size < size) return undefined;
        const taken = this.#peek(size);
        this.#chunks[0] = this.#chunks[0].subarray(size);
        if (this.#chunks[0].length === 0) this.#chunks.shift();
        this.#size -= size;
        return taken;
    }

    /** The next frame, once it is there. Throws as `decode`, and `too_large`. */
    next() {
        if (this.#size < 4) return undefined;
        const length = view(this.#peek(4)).getUint32(0);
        if (length > this.#maxPacket + MAX_HEAD) {
            throw new HaulError("too_large", `a frame of ${length} bytes; at most ${this.#maxPacket}`);
        }
        const bytes = this.take(4 + length);
        return bytes && decode(bytes.subarray(4));
    }

    #peek(size) {
        if (this.#chunks[0].length < size) this.#chunks = [join(this.#chunks)];
        return this.#chunks[0].subarray(0, size);
    }

    /** A frame as it stands in the stream. */
    static bytes(frame) {
        const bytes = encode(frame), head = new Uint8Array(4);
        view(head).setUint32(0, bytes.length);
        return join([head, bytes]);
    }
}

/** Bytes that a socket may hold before nothing more is given to it. */
const SOCKET_BUFFER = 256 << 10;
/** Tokens that can be a part of a subprotocol's name (RFC 9110 section 5.6.2). */
const TOKEN_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** The URL with the token in its query, where nothing else can carry it. */
function withToken(url, token) {
    if (!token) return String(url);
    const [base, fragment = ""] = String(url).split(/(?=#)/);
    return `${base}${base.includes("?") ? "&" : "?"}access_token=${encodeURIComponent(token)}${fragment}`;
}

/** A WebSocket does not tell when its buffer drains: it is asked, in milliseconds. */
const ASK_AGAIN = 5;

class WebSocketLink extends Link {
    #socket;
    #asking = false;

    /** Begins to open: `opened` is the link to come, `abort` gives it up. */
    static open(url, { maxPacket, token }) {
        const carried = TOKEN_NAME.test(token) ? [`bearer.${token}`] : [];
        let socket;
        try {
            socket = new WebSocket(carried.length > 0 ? url : withToken(url, token), [PROTOCOL, ...carried]);
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
            if (wasClean) return this.tell("frame", { type: "close", code, reason });
            this.tell("lost", new HaulError("closed", "the WebSocket was cut", { code, unsentBytes: socket.bufferedAmount }));
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
                if (this.room()) this.tell("room");
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
    /** The peer was not waited for any longer. */
    #left = false;
    #begun = false;

    /** Begins to open: `opened` is the link to come, `abort` gives it up. */
    static open(url, { maxPacket, certificateHashes, token }) {
        if (!globalThis.WebTransport) {
            throw new HaulError("unsupported", `dial ${shown(url)}: this browser has no WebTransport, or the page is not secure`);
        }
        let transport;
        try {
            const hashes = certificateHashes.map((hash) => ({ algorithm: "sha-256", value: hashBytes(hash) }));
            transport = new WebTransport(withToken(url, token).replace(/^wt:/, "https:"), {
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
        const frames = new Frames(maxPacket);
        let why = new HaulError("closed", "the stream ended without a close");
        try {
            for (;;) {
                const { value, done } = await reader.read();
                if (done) break;
                if (this.broken) continue;
                frames.push(value);
                while (this.hear(() => this.#next(frames), maxPacket));
            }
        } catch (cause) {
            why = new HaulError("closed", `the WebTransport session was cut: ${cause?.message}`, { cause });
        }
        // Whoever hears our close says its own and ends the session, and the end may overtake it.
        const said = this.#closed && await this.#transport.closed.catch(() => undefined);
        if (said && !this.#left) return this.tell("frame", { type: "close", code: said.closeCode || 1000, reason: said.reason });
        this.judge("ended");
        this.tell("lost", why);
        this.#transport.close();
    }

    #next(frames) {
        if (!this.#begun) {
            const preface = frames.take(PREFACE.length);
            if (!preface) return undefined;
            if (preface.some((byte, at) => byte !== PREFACE[at])) throw malformed("the peer began a stream without its preface");
            this.#begun = true;
        }
        const frame = frames.next();
        if (frame?.type === "close") this.close(frame.code, frame.reason);
        return frame;
    }

    room() {
        return !this.#closed && this.#writing < SOCKET_BUFFER;
    }

    write(frame) {
        if (frame.type === "close") this.close(frame.code, frame.reason);
        else this.#write(Frames.bytes(frame));
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
        if (full && this.room()) this.tell("room");
    }

    /** Says its close once, after what was written; the peer ends the session when it has said its own. */
    close(code, reason) {
        if (this.#closed) return;
        this.onjudged = undefined;
        this.#closed = true;
        this.#write(Frames.bytes({ type: "close", code, reason: cut(reason, 123) }));
        this.#writer.close().catch(() => {});
        setTimeout(() => {
            this.#left = true;
            this.#transport.close();
        }, FAREWELL);
    }
}

/** A SHA-256 in hexadecimal digits, with or without colons. Throws `config`. */
function hashBytes(hash) {
    const hex = String(hash).replaceAll(":", "");
    if (!/^[0-9a-fA-F]{64}$/.test(hex)) throw new HaulError("config", `certificate hash ${hash}: a SHA-256 has 64 hexadecimal digits`);
    return Uint8Array.from({ length: 32 }, (_, at) => parseInt(hex.slice(2 * at, 2 * at + 2), 16));
}

/** Events out of an event stream (WHATWG HTML section 9.2.6). */
class Events {
    #decoder = new TextDecoder("utf-8", { fatal: true });
    #most;
    #line = "";
    #endedWithReturn = false;
    // The event that has begun.
    #name = "";
    #data = [];
    #size = 0;
    #id;

    /** The id of the last event, to begin behind. */
    lastId;
    /** After how many milliseconds the server wants to be come back to. */
    retry;

    /** Events of at most `most` characters; after a cut with what was known before. */
    constructor(most, { lastId = "", retry = 3000 } = {}) {
        this.#most = most;
        this.#id = this.lastId = lastId;
        this.retry = retry;
    }

    /** The events that `bytes` make whole. Throws `too_large`, and `codec` for what is no UTF-8. */
    *read(bytes) {
        let text;
        try {
            text = this.#decoder.decode(bytes, { stream: true });
        } catch (cause) {
            throw new HaulError("codec", "the event stream is not UTF-8", { cause });
        }
        if (text === "") return;
        if (this.#endedWithReturn && text.startsWith("\n")) text = text.slice(1);
        this.#endedWithReturn = text.endsWith("\r");
        const lines = text.split(/\r\n|\r|\n/);
        lines[0] = this.#line + lines[0];
        this.#line = lines.pop();
        for (const line of lines) {
            const event = this.#take(line);
            if (event) yield event;
        }
        if (this.#size + this.#line.length > this.#most) throw new HaulError("too_large", `an event of more than ${this.#most} characters`);
    }

    #take(line) {
        if (line === "") return this.#end();
        const [, name, value] = /^([^:]*)(?:: ?)?([^]*)$/.exec(line);
        if (name === "event") this.#name = value;
        else if (name === "id" && !value.includes("\0")) this.#id = value;
        else if (name === "retry" && /^[0-9]+$/.test(value)) this.retry = Math.min(Number(value), LONGEST_RETRY);
        else if (name === "data") {
            this.#data.push(value);
            this.#size += line.length + 1;
        }
        return undefined;
    }

    #end() {
        this.lastId = this.#id;
        const event = this.#data.length > 0 ? { name: this.#name || "message", data: this.#data.join("\n") } : undefined;
        this.#name = "";
        this.#data = [];
        this.#size = 0;
        return event;
    }
}

/** The most of a server's `retry` that is heeded, in milliseconds. */
const LONGEST_RETRY = 3_600_000;
/** What an event may have beside a packet: a head, and what is around base64. */
const EVENT_SLACK = 128 << 10;
/** Bytes of a POST. */
const POST = 256 << 10;
/** How long the answer to a POST may take: longer than a server holds one that it cannot take yet. */
const ANSWER = 30_000;
/** How long an event stream that was cut, and a POST that fails, are tried again. A session looks for another link at once. */
const PATIENCE = 10_000;
/** The waits before a POST is sent again. */
const AGAIN = { base: 50, factor: 2, cap: 5000 };

class EventStreamLink extends Link {
    #url;
    #options;
    #patience;
    /** What the server calls this client; whoever knows it may POST. */
    #session;
    // What ends the request for events, and the POST that is under way.
    #getting;
    #sending;
    // What goes out: bytes of frames, in POSTs that are numbered, so that one whose answer was lost is taken once.
    #queue = [];
    #queued = 0;
    #number = 0;
    #posting = false;
    // How far it has ended: both ends' closes, and all of it.
    #closed = false;
    #peerClosed = false;
    #over = false;
    #leave = () => this.#lose(new HaulError("closed", "the page was left"));

    /** Begins to open: `opened` is the link to come, `abort` gives it up. */
    static open(url, options) {
        const link = new EventStreamLink(url, options);
        return { opened: link.#open(), abort: () => link.#cut() };
    }

    constructor(url, options) {
        super();
        try {
            this.#url = new URL(String(url).replace(/^sse(s?):/, "http$1:"));
        } catch (cause) {
            throw new HaulError("config", `dial ${shown(url)}: ${cause.message}`, { cause });
        }
        this.#url.hash = "";
        this.#options = options;
        this.#patience = options.session ? 0 : PATIENCE;
    }

    async #open() {
        const events = this.#listen(), { value: first } = await events.next().catch((error) => {
            throw error.kind === "closed" ? new HaulError("connect", `dial ${shown(this.#url)}: ${error.message}`, { cause: error }) : error;
        });
        if (first?.name !== "haul-session") throw new HaulError("protocol", `dial ${shown(this.#url)}: the first event is no session`);
        this.#session = first.data;
        // A page that is left would otherwise count until the server has waited for it in vain.
        globalThis.addEventListener?.("pagehide", this.#leave);
        this.#run(events);
        return this;
    }

    #ask(init) {
        const { token } = this.#options;
        const headers = { ...init.headers, ...(this.#session && { "haul-session": this.#session }) };
        return request(this.#url, { ...init, headers, token });
    }

    async #get(lastId) {
        const headers = { accept: "text/event-stream", "haul-protocol": PROTOCOL, ...(lastId && { "last-event-id": lastId }) };
        const stop = this.#getting = new AbortController();
        const response = await this.#ask({ headers, timeout: this.#options.timeout, stop });
        const type = response.headers.get("content-type") ?? "";
        if (response.headers.get("haul-protocol") === PROTOCOL && /^text\/event-stream\s*(;|$)/i.test(type)) return response.body.getReader();
        stop.abort();
        throw new HaulError("unsupported", `dial ${shown(this.#url)}: the server does not speak ${PROTOCOL} in event streams`);
    }

    /** Events, over as many requests as it takes. Throws why it cannot be gone on with. */
    async *#listen() {
        let events = new Events(this.#options.maxPacket + EVENT_SLACK), since, tries = 0;
        for (;;) {
            let why = new HaulError("closed", "the server ended the event stream");
            try {
                const reader = await this.#get(events.lastId);
                if (tries > 0) this.tell("state", { name: "connected" });
                for (;;) {
                    const { value, done } = await reader.read();
                    if (done) break;
                    for (const event of events.read(value)) {
                        [since, tries] = [undefined, 0];
                        yield event;
                    }
                }
            } catch (cause) {
                why = cause instanceof HaulError ? cause : new HaulError("closed", `the event stream was cut: ${cause.message}`, { cause });
            }
            if (!this.#session || this.#over || this.#peerClosed) throw why;
            since ??= now();
            if (this.#isOver(why, since)) throw why;
            tries += 1;
            this.tell("state", { name: "reconnecting", attempt: tries, error: why });
            const wait = Math.max(drawn({ base: events.retry, factor: 2, cap: Math.max(30_000, events.retry) }, tries - 1), why.retryAfter ?? 0);
            await pause(Math.min(wait, this.#patience));
            // What was not whole was not said.
            events = new Events(this.#options.maxPacket + EVENT_SLACK, events);
        }
    }

    async #run(events) {
        const { maxPacket } = this.#options, frames = new Frames(maxPacket);
        try {
            for await (const { name, data } of events) {
                if (name === "haul-cut") {
                    this.#session = undefined;
                    throw new HaulError("closed", "the peer cut the connection");
                }
                if (name !== "message" || this.broken) continue;
                this.hear(() => void frames.push(bytesOf(data)), maxPacket);
                while (!this.broken && this.hear(() => this.#next(frames), maxPacket));
            }
        } catch (error) {
            this.#lose(error);
        }
    }

    #next(frames) {
        const frame = frames.next();
        if (frame?.type === "close") {
            this.#peerClosed = true;
            this.close(frame.code, frame.reason);
            this.#endIfClosed();
        }
        return frame;
    }

    room() {
        return !this.#closed && !this.#over && this.#queued < SOCKET_BUFFER;
    }

    write(frame) {
        if (frame.type === "close") this.close(frame.code, frame.reason);
        else this.#write(Frames.bytes(frame));
    }

    #write(bytes) {
        this.#queue.push(bytes);
        this.#queued += bytes.length;
        this.#post();
    }

    /** POSTs what has gathered, one after another. */
    async #post() {
        if (this.#posting) return;
        this.#posting = true;
        try {
            // What is written in the same moment goes together.
            await undefined;
            while (this.#queue.length > 0 && !this.#over) {
                const body = this.#gathered(), full = this.#queued >= SOCKET_BUFFER;
                await this.#deliver(body);
                this.#number += 1;
                this.#queued -= body.length;
                if (full && this.room()) this.tell("room");
            }
        } catch (error) {
            this.#lose(error);
        }
        this.#posting = false;
        this.#endIfClosed();
    }

    /** At most `POST` bytes of what waits, cut anywhere. */
    #gathered() {
        const parts = [];
        for (let room = POST; room > 0 && this.#queue.length > 0;) {
            const part = this.#queue[0].subarray(0, room);
            parts.push(part);
            room -= part.length;
            if (part.length === this.#queue[0].length) this.#queue.shift();
            else this.#queue[0] = this.#queue[0].subarray(part.length);
        }
        return join(parts);
    }

    /** Sends the POST of this number until it is taken. */
    async #deliver(body) {
        const headers = { "haul-number": String(this.#number), "content-type": "application/octet-stream" };
        for (let tries = 0, since; ; tries += 1) {
            const stop = this.#sending = new AbortController();
            try {
                await this.#ask({ method: "POST", headers, body, timeout: ANSWER, stop });
                return;
            } catch (error) {
                if (this.#over) throw error;
                if (error.busy) {
                    // Nothing is wrong: the peer's application has yet to read what came before.
                    [tries, since] = [-1, undefined];
                    continue;
                }
                since ??= now();
                if (this.#isOver(error, since)) throw error;
                await pause(drawn(AGAIN, tries));
            }
        }
    }

    /** Whether it is not to be tried again after it has failed since then. */
    #isOver(error, since) {
        return error.status !== "transient" || now() - since >= this.#patience;
    }

    /** Says its close once, after what was written; the peer ends the event stream when it has said its own. */
    close(code, reason) {
        if (this.#closed || this.#over) return;
        this.onjudged = undefined;
        this.#closed = true;
        this.#write(Frames.bytes({ type: "close", code, reason: cut(reason, 123) }));
        setTimeout(() => this.#cut(), FAREWELL);
    }

    /** The link is lost: the peer is told, if it can be. */
    #lose(error) {
        if (this.#over || this.#peerClosed) return;
        this.judge("ended");
        if (error.kind === "not_found") {
            // The server knows it no more, which another link may mend.
            error = new HaulError("closed", `the session has ended: ${error.message}`, { cause: error });
            this.#session = undefined;
        }
        this.#cut();
        this.tell("lost", error);
    }

    #endIfClosed() {
        if (this.#closed && this.#peerClosed && !this.#posting) this.#done();
    }

    #cut() {
        if (this.#over) return;
        if (this.#session) this.#ask({ method: "DELETE", keepalive: true, timeout: this.#options.timeout }).catch(() => {});
        this.#done();
    }

    #done() {
        this.#over = true;
        globalThis.removeEventListener?.("pagehide", this.#leave);
        this.#getting?.abort();
        this.#sending?.abort();
    }
}

/** The bytes of base64. Throws `protocol`. */
function bytesOf(base64) {
    try {
        return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    } catch (cause) {
        throw new HaulError("protocol", "an event is not base64", { cause });
    }
}

/** Begins to open a link by what the URL says. */
function open(url, options) {
    const link = /^wt:/.test(url) ? WebTransportLink : /^sses?:/.test(url) ? EventStreamLink : WebSocketLink;
    return link.open(url, options);
}

// ---- the race: as crates/layers/adaptive has it ----

/** When the next URL starts, and what is remembered: see `AdaptiveOptions` in haul.d.ts. */
const ADAPTIVE = { headStart: 250, remember: 600_000, probe: 300_000, stallWithin: 30_000, demote: 60_000 };
/** A demotion lasts at most so many times `demote`. */
const LONGEST = 16;
/** Hosts, or lists of them, that are remembered. */
const MAX_REMEMBERED = 256;
const remembered = new Map();

/** What is known of these URLs' hosts: who won when, when to look again, and who stalled. */
function memory(urls) {
    const key = urls.map((url) => /^[^/]*\/\/[^/]*/.exec(shown(url))?.[0]).join(" ");
    const known = remembered.get(key) ?? { winner: undefined, stalls: urls.map(() => ({ inARow: 0, until: 0 })) };
    remembered.delete(key);
    remembered.set(key, known);
    if (remembered.size > MAX_REMEMBERED) remembered.delete(remembered.keys().next().value);
    return known;
}

/** In which order to start: the winner, unless it is time to look again; then as preferred; those that stalled last. */
function plan(known, { remember, probe }) {
    const time = now(), demoted = (at) => known.stalls[at].until > time;
    const order = known.stalls.map((_, at) => at);
    const { winner } = known;
    if (winner && time - winner.time < remember) {
        const better = order.some((at) => at < winner.at && !demoted(at));
        if (better && time >= winner.probeAt) winner.probeAt = time + probe;
        else order.unshift(...order.splice(winner.at, 1));
    }
    return [...order.filter((at) => !demoted(at)), ...order.filter(demoted)];
}

function won(known, at, link, { probe, stallWithin, demote }) {
    const time = now();
    known.winner = { at, time, probeAt: known.winner?.at === at ? known.winner.probeAt : time + probe };
    link.onjudged = (verdict) => {
        const stalls = known.stalls[at];
        if (verdict === "heard") {
            known.stalls[at] = { inARow: 0, until: 0 };
        } else if (verdict === "silent" || now() - time <= stallWithin) {
            stalls.until = now() + demote * Math.min(2 ** stalls.inARow, LONGEST);
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

/** Opens a link to one of the `places` within `timeout` milliseconds, `greet` included. */
async function dial(places, options, greet = (link) => link) {
    let timer, racing, link, over = false;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => {
            link?.judge("silent");
            reject(new HaulError("timeout", `dial ${places}: nothing stands after ${options.timeout} ms`));
        }, options.timeout);
    });
    const first = async () => {
        const { urls, certificateHashes } = await places.find();
        if (over) return undefined;
        racing = race(urls, { ...options, certificateHashes });
        return greet(link = await racing.opened);
    };
    try {
        return await Promise.race([first(), late]);
    } catch (error) {
        over = true;
        racing?.abort();
        throw error;
    } finally {
        clearTimeout(timer);
    }
}

// ---- gateways ----

/** The URLs that were given. */
class Listed {
    #urls;
    #options;

    constructor(urls, options) {
        this.#urls = urls;
        this.#options = options;
    }

    async find() {
        return { urls: this.#urls, certificateHashes: this.#options.certificateHashes };
    }

    toString() {
        return this.#urls.map(shown).join(", ");
    }
}

/** Schemes by protocol: behind plain HTTP, and behind HTTPS. */
const SCHEMES = { wt: ["wt:", "wt:"], ws: ["ws:", "wss:"], sse: ["sse:", "sses:"] };

/** What `/haul.json` of a gateway names. It is asked each time, as its certificates change; where it does not answer within a
 * head start, it will be as before. */
class Gateway {
    #url;
    #options;
    #known;

    constructor(url, options) {
        this.#url = url;
        this.#options = options;
    }

    async find() {
        const asked = this.#ask();
        if (!this.#known) return asked;
        const before = () => this.#known;
        return Promise.race([asked.catch(before), pause(this.#options.adaptive.headStart).then(before)]);
    }

    async #ask() {
        const { timeout, token, protocols: wanted } = this.#options, at = new URL("/haul.json", this.#url);
        const response = await request(at, { timeout, token });
        const { protocols, certificateHashes } = await response.json().catch(() => ({}));
        const known = wanted.filter((name) => [protocols].flat().includes(name));
        if (known.length === 0) throw new HaulError("unsupported", `${shown(at)} names none of ${wanted.join(", ")}`);
        const secure = this.#url.protocol === "https:" ? 1 : 0;
        const urls = known.map((name) => this.#url.href.replace(/^https?:/, SCHEMES[name][secure]));
        return this.#known = { urls, certificateHashes: [...this.#options.certificateHashes, ...certificateHashes ?? []] };
    }

    toString() {
        return shown(this.#url);
    }
}

/** Where these lead: one gateway by `http://`, `https://` or a path of the page's own, or a list of links. Throws `config`. */
function placesOf(url, options) {
    const urls = [url].flat().map(String), web = (url) => /^(https?:|\/)/.test(url);
    if (urls.length === 0) throw new HaulError("config", "connect: no URL");
    if (!urls.some(web)) return new Listed(urls, options);
    if (urls.length > 1) throw new HaulError("config", `connect: ${urls.find(web)} stands alone, not in a list`);
    try {
        return new Gateway(new URL(urls[0], globalThis.location?.href), options);
    } catch (cause) {
        throw new HaulError("config", `connect ${shown(urls[0])}: ${cause.message}`, { cause });
    }
}

// ---- channels: what a connection stands on ----
//
// A channel is a link, or a session over links. Its hearer is told `frame(frame, settle)`, and calls `settle()` when the
// application has it; `room` and `state` as a link's; and as the last word its `end(error)`.

class Plain extends Told {
    #link;

    constructor(link) {
        super();
        this.#link = link;
        link.hearer = {
            frame: (frame) => this.tell("frame", frame, () => {}),
            lost: (error) => this.tell("end", error),
            room: () => this.tell("room"),
            state: (state) => this.tell("state", state),
        };
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

/** The ping by which a client learns whether the server speaks sessions. */
const PROBE = "haul session";
/** What a client begins a session with: see `SessionOptions` in haul.d.ts. */
const SESSION = {
    replayBytes: 1 << 20, replayPackets: 16_384, attempts: Infinity, base: 200, factor: 2, cap: 30_000, deadline: Infinity,
    stableAfter: 10_000, idle: 10_000,
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

class Session extends Told {
    #places;
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
    /** Deliveries that wait for their receipts, settled or not. */
    #awaited = new Map();
    // What arrives.
    #received = 0;
    #taken = 0;
    #beyond = new Set();
    #told = 0;
    #toldBytes = 0;
    #telling;
    // Whether the link lives: what was heard since it was looked at last, and whether the peer was asked.
    #watching;
    #heard = false;
    #asked = false;

    /** Where the last link led. */
    url;

    constructor(places, options) {
        super();
        this.#places = places;
        this.#options = options;
        this.#window = options.session.replayBytes;
    }

    async open() {
        await dial(this.#places, this.#options, (link) => this.#open(link));
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
        if (frame.receipt === true) this.#awaited.set(frame.packet.id, frame);
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
        clearInterval(this.#watching);
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
        this.tell("end", error);
    }

    // -- greeting --

    async #open(link) {
        const window = this.#options.session.replayBytes;
        const answer = await ask(link, { word: "open", epoch: this.#epoch + 1, window }, HELLO);
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
        // The server has sessions: if it is slow now, it is busy.
        const answer = await ask(link, { word: "resume", ...this.#key, attempt: this.#resumes, received: this.#received });
        if (answer.word === "resumed") return this.#attach(link, answer.received);
        if (answer.word !== "refused") throw new HaulError("protocol", "the peer answered a resume with something else");
        if (answer.reason !== "unknown") throw refusal(answer);
        const [frame, ...others] = this.#kept.map(({ frame }) => frame).filter((frame) => !this.#isAnswered(frame));
        if (frame?.type === "close" && others.length === 0) {
            // All before it was settled, and the peer forgets a session when it has answered its close.
            this.#over = true;
            link.close(1000, "");
            return this.tell("frame", frame, () => {});
        }
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
        this.tell("frame", { type: "gap", error: new HaulError("gap", message, facts) }, () => {});
        this.#begin(link, again, lost);
    }

    /** Whether it is a delivery whose receipt came: the peer settled it, though it may not have said so yet. */
    #isAnswered(frame) {
        return frame.receipt === true && this.#awaited.get(frame.packet.id) !== frame;
    }

    /** A new epoch: what has an id is sent again, of the rest is answered what may be lost. */
    #startOver() {
        let lost;
        const kept = new Set(this.#kept.map(({ frame }) => frame));
        const again = [...this.#awaited.values()].filter((frame) => !kept.has(frame));
        this.#kept.forEach(({ frame }, at) => {
            const number = this.#settled + at;
            if (frame.type === "packet" && !frame.packet.id) {
                lost ??= { from: number, to: number, count: 0 };
                lost.to = number + 1;
                lost.count += 1;
            } else if (frame.type === "packet" && !this.#isAnswered(frame)) {
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
        this.#since = now();
        this.#told = this.#taken;
        for (const note of [...notes, { word: "ack", settled: this.#taken }]) this.#say(note);
        for (const { frame } of this.#kept.slice(received - this.#settled)) link.write(frame);
        this.#heard = true;
        this.#watching = setInterval(() => this.#watch(), this.#options.session.idle / 2);
        this.tell("state", { name: "connected" });
        this.tell("room");
        link.hearer = {
            frame: (frame) => this.#hear(frame),
            lost: (error) => this.#lost(error),
            room: () => this.tell("room"),
        };
    }

    // -- what is lost and found --

    /** Asks a peer that is silent, and gives the link up if it stays so. */
    #watch() {
        if (this.#heard) {
            this.#heard = this.#asked = false;
        } else if (!this.#asked) {
            this.#asked = true;
            this.#link.write({ type: "ping", payload: new Uint8Array() });
        } else {
            this.#lost(new HaulError("timeout", `nothing was heard from the peer for ${this.#options.session.idle} ms`));
        }
    }

    #lost(error) {
        if (this.#over) return;
        this.#drop((link) => link.close(1000, ""));
        if (error.status === "permanent") return this.#end(error);
        this.#reconnect(error);
    }

    async #reconnect(why) {
        const { attempts, deadline, stableAfter } = this.#options.session;
        const began = now();
        if (began - this.#since >= stableAfter) this.#streak = 0;
        for (let attempt = 1; ; attempt += 1) {
            const backoff = this.#streak === 0 ? 0 : drawn(this.#options.session, this.#streak - 1);
            const wait = Math.max(backoff, why.retryAfter ?? 0);
            if (this.#streak >= attempts || now() + wait - began > deadline) {
                const facts = { status: "exhausted", sent: this.unsettled > 0 ? "maybe" : "no", dials: this.#streak };
                return this.#end(why.with({ ...facts, unsettled: this.unsettled }));
            }
            this.#streak += 1;
            this.tell("state", { name: "reconnecting", attempt, error: why });
            await pause(wait);
            if (this.#over) return;
            try {
                return await dial(this.#places, this.#options, (link) => this.#resume(link));
            } catch (error) {
                if (this.#over) return;
                if (error.status === "permanent") return this.#end(error);
                why = error;
            }
        }
    }

    // -- what is heard --

    #hear(frame) {
        this.#heard = true;
        switch (frame.type) {
            case "note":
                try {
                    return this.#note(decodeNote(frame.text));
                } catch (error) {
                    return this.#end(error);
                }
            case "ping":
                // Who reads no answers gets none.
                if (this.#link.room()) this.#link.write({ type: "pong", payload: frame.payload });
                return;
            case "pong":
                return this.tell("frame", frame, () => {});
        }
        const number = this.#received;
        const epoch = this.#epoch;
        this.#received += 1;
        this.#toldBytes += frame.packet?.payload.length ?? 0;
        const settle = () => {
            if (epoch === this.#epoch) this.#settle(number);
        };
        if (frame.type === "packet") return this.tell("frame", frame, settle);
        this.#settle(number);
        if (frame.type === "receipt") this.#awaited.delete(frame.id);
        if (frame.type === "close") {
            this.#over = true;
            this.#drop(() => {});
        }
        this.tell("frame", frame, () => {});
    }

    #note(note) {
        switch (note.word) {
            case "ack": {
                const next = this.#settled + this.#kept.length;
                if (note.settled > next) {
                    throw new HaulError("protocol", `the peer settled ${note.settled} packets, but ${next} were sent`);
                }
                for (const { weight } of this.#kept.splice(0, note.settled - this.#settled)) this.#keptBytes -= weight;
                this.#settled = Math.max(this.#settled, note.settled);
                return this.tell("room");
            }
            case "gap": {
                const message = `the peer lost its session: of its packets ${note.from} to ${note.to - 1} some may be missing`;
                const error = new HaulError("gap", message, { from: note.from, to: note.to });
                return this.tell("frame", { type: "gap", error }, () => {});
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

/** How long a server that answers pings may take to say hello, if it is not known to have sessions, in milliseconds. */
const HELLO = 2000;

/** Asks, and once more when the server says that it hears; the answer. What comes behind it waits for the next hearer. Rejects
 * if the link ends before, and with `unsupported` if the server answers pings and does not greet within `patience`. */
function ask(link, question, patience = Infinity) {
    const say = () => link.write({ type: "note", text: encodeNote(question) });
    return new Promise((resolve, reject) => {
        const frame = (frame) => {
            const probe = frame.payload && String.fromCharCode(...frame.payload) === PROBE;
            switch (frame.type) {
                case "ping":
                    return probe || link.write({ type: "pong", payload: frame.payload });
                case "pong":
                    if (!probe || patience === Infinity) return;
                    return setTimeout(reject, patience, new HaulError("unsupported", "the server does not speak sessions"));
                case "close":
                    return reject(new HaulError("closed", `the peer closed instead of greeting: ${frame.code} ${frame.reason}`));
                case "note": {
                    const note = decodeNote(frame.text);
                    if (note.word === "hello") return say();
                    link.hearer = undefined;
                    return resolve(note);
                }
                default:
                    throw new HaulError("protocol", "the peer began without greeting: it speaks no sessions");
            }
        };
        const heard = (heard) => {
            try {
                frame(heard);
            } catch (error) {
                reject(error);
            }
        };
        link.hearer = { frame: heard, lost: reject };
        say();
        link.write({ type: "ping", payload: encoder.encode(PROBE) });
    });
}

// ---- connections ----

/** What a connection begins with: see `Options` in haul.d.ts. */
const OPTIONS = {
    session: false, adaptive: {}, protocols: Object.keys(SCHEMES), token: "", certificateHashes: [], timeout: 10_000, maxPacket: 16 << 20, sendBuffer: 128 << 10,
    sendPackets: 4096, receiveBuffer: 32 << 20, closeDeadline: 5000, maxWaiting: 4096, maxUnanswered: 65_536,
};
/** Pings that may wait for their answers. */
const MAX_PINGS = 64;

function checked(given, defaults, what) {
    for (const [name, value] of Object.entries(given)) {
        if (!Object.hasOwn(defaults, name)) throw new HaulError("config", `${what}: no option ${name}; there are ${Object.keys(defaults).join(", ")}`);
        if (name === "certificateHashes" || name === "protocols") {
            const wrong = !Array.isArray(value) || (name === "protocols" && !value.every((name) => Object.hasOwn(SCHEMES, name)));
            if (wrong) throw new HaulError("config", `${what}: ${name} is no array of such names`);
        } else if (name === "token") {
            if (typeof value !== "string") throw new HaulError("config", `${what}: token is no string`);
        } else if (!["session", "adaptive"].includes(name) && !(typeof value === "number" && value > 0)) {
            throw new HaulError("config", `${what}: ${name} is ${value}, not a positive number`);
        }
    }
    return { ...defaults, ...given };
}

/** Connects to a gateway by `http://`, `https://` or a path, or to the first that opens of `wt://`, `ws://`, `wss://`, `sse://`
 * and `sses://` URLs. Rejects with `connect`, `timeout`, `unauthorized`, `unsupported`, `config`, and a session's refusal. */
export async function connect(url, given = {}) {
    const options = checked(given, OPTIONS, "connect");
    options.adaptive = checked(options.adaptive, ADAPTIVE, "adaptive");
    const { headStart } = options.adaptive;
    if (headStart < 10 || headStart > 2000) throw new HaulError("config", `adaptive: headStart is ${headStart}, not 10 to 2000`);
    const places = placesOf(url, options);
    if (!options.session) return new Connection(new Plain(await dial(places, options)), options);
    options.session = checked(options.session === true ? {} : options.session, SESSION, "session");
    return new Connection(await new Session(places, options).open(), options);
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
    #pings = new Map();
    #pinged = 0;
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
        channel.hearer = {
            frame: (frame, settle) => this.#hear(frame, settle),
            room: () => this.#pump(),
            end: (error) => this.#end(error),
            state: (state) => this.#set(state),
        };
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

    /** Resolves with how many milliseconds the peer took to answer, behind what was sent before. */
    async ping() {
        if (!this.#ended) throw new HaulError("closed", "the connection is closed");
        if (this.#pings.size >= MAX_PINGS) throw new HaulError("overloaded", `${MAX_PINGS} pings wait for their answers`);
        const number = this.#pinged += 1, began = performance.now(), { timeout } = this.#options;
        return new Promise((resolve, reject) => {
            const timer = setTimeout(() => {
                this.#pings.delete(number);
                reject(new HaulError("timeout", `the peer did not answer a ping within ${timeout} ms`));
            }, timeout);
            const settle = (error) => {
                clearTimeout(timer);
                if (error) reject(error);
                else resolve(performance.now() - began);
            };
            this.#pings.set(number, settle);
            this.#enqueue({ type: "ping", payload: u64(number) });
            this.#pump();
        });
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

    /** Sends what answers the peer, who must read it some time. */
    #answer(frame) {
        this.#enqueue(frame);
        if (this.#queued > 8 * this.#options.sendBuffer) this.#fail("overloaded", "the peer reads no answers", 4008);
        this.#pump();
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
            this.#answer({ type: "receipt", id: frame.packet.id, receipt });
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
                return this.#answer({ type: "pong", payload: frame.payload });
            case "pong": {
                const number = frame.payload.length === 8 ? Number(view(frame.payload).getBigUint64(0)) : undefined;
                this.#pings.get(number)?.();
                return void this.#pings.delete(number);
            }
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
        for (const settle of this.#pings.values()) settle(why);
        this.#pings.clear();
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
