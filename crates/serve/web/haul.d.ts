/** The frames' name and version; offered as WebSocket subprotocol. */
export const PROTOCOL: "haul.v1";

export type ErrorKind =
    | "config" | "unsupported" | "connect" | "tls" | "timeout" | "closed" | "gap" | "protocol" | "too_large" | "codec"
    | "unauthorized" | "rejected" | "rate_limited" | "overloaded" | "circuit_open" | "not_found" | "io" | "internal";

/** What went wrong. */
export class HaulError extends Error {
    constructor(kind: ErrorKind, message: string, facts?: Partial<HaulError>);
    readonly kind: ErrorKind;
    /** Whether trying again may help; `exhausted` was tried again already. */
    readonly status: "transient" | "permanent" | "exhausted";
    /** Whether the peer may have seen what failed. */
    readonly sent: "no" | "maybe";
    /** Milliseconds after which the peer asks to try again. */
    readonly retryAfter?: number;
    /** A close code. */
    readonly code?: number;
    /** Packets that were accepted and never given to the browser. */
    readonly unflushed?: number;
    /** Packets that a session sent and the peer did not settle. */
    readonly unsettled?: number;
    /** Bytes that the browser had not sent when a WebSocket was cut. */
    readonly unsentBytes?: number;
    /** How often a session dialed before it was given up. */
    readonly dials?: number;
    /** Of a gap: the first packet that may be missing, the one after the last, how many of ours, and what was received. */
    readonly from?: number;
    readonly to?: number;
    readonly oursMaybeLost?: number;
    readonly received?: number;
    /** The same with other facts. */
    with(facts: Partial<HaulError>): HaulError;
}

/** Text, bytes (copied), or anything else as JSON. */
export type Content = string | ArrayBuffer | ArrayBufferView | Packet | object | number | boolean | null;

export interface PacketOptions {
    metadata?: Record<string, string>;
    /** A UUID. It states that the receiver tolerates duplicates: a session sends the packet again where it must. */
    id?: string;
}

export class Packet {
    constructor(kind: "text" | "binary", payload: Uint8Array, metadata?: Record<string, string>, id?: string);
    /** A packet of what `send` takes. Throws `config`. */
    static of(content: Content, options?: PacketOptions): Packet;
    readonly kind: "text" | "binary";
    readonly payload: Uint8Array;
    /** Without a prototype. */
    readonly metadata: Record<string, string>;
    readonly id?: string;
    /** Throws `codec` for bytes that are no UTF-8. */
    text(): string;
    /** Throws as `text` and `JSON.parse` do. */
    json(): any;
}

/** A new packet id: a UUID of version 7. */
export function newId(): string;

export interface Receipt {
    readonly level: "discarded" | "sent" | "acknowledged" | "stored";
    readonly id: string;
    /** Microseconds since 1970-01-01 UTC. */
    readonly at: number;
    /** The receiver's own name for the packet. */
    readonly reference?: string;
}

/** A session survives the loss of its link; the server needs `session::Acceptor`. Times are milliseconds. */
export interface SessionOptions {
    /** Bytes that may be on their way and not settled, in each direction; more waits. Default 1 MiB. */
    replayBytes?: number;
    /** Packets that may be on their way and not settled; more waits. Default 16,384. */
    replayPackets?: number;
    /** Dials in a row, without a stable link in between, after which the connection fails. Default without end. */
    attempts?: number;
    /** The longest wait before the second dial after a cut; the first is at once. Default 200. */
    base?: number;
    /** What the longest wait is multiplied with each time. Default 2. */
    factor?: number;
    /** The longest wait that is drawn. Default 30,000. A browser that finds a network again ends any wait. */
    cap?: number;
    /** The connection fails when no dial can begin within this time after a cut. Default never. */
    deadline?: number;
    /** How long a link must have stood for the next dial to be at once. Default 10,000. */
    stableAfter?: number;
    /** A link on which nothing was heard for so long is given up; the peer is asked halfway. Default 10,000. */
    idle?: number;
}

/** Of several URLs, the next one starts `headStart` after the last one did, or at once when one fails; the first to open wins.
 * Times are milliseconds. The page remembers, for as long as it lives. */
export interface AdaptiveOptions {
    /** Between 10 and 2000. Default 250. */
    headStart?: number;
    /** How long after its last win a URL starts first. Default 600,000. */
    remember?: number;
    /** How often those that are preferred to the winner get their head start again. Default 300,000. */
    probe?: number;
    /** A link that ends within this time before anything came has stalled. Default 30,000. */
    stallWithin?: number;
    /** How long a URL that stalled starts last; each time in a row twice as long, up to 16 times. Default 60,000. */
    demote?: number;
}

/** Unknown options are `config` errors. Sizes are bytes, times milliseconds. */
export interface Options {
    /** `true` for a session with its defaults. Default none: a cut ends the connection. */
    session?: boolean | SessionOptions;
    /** How several URLs race. */
    adaptive?: AdaptiveOptions;
    /** What to speak with a gateway, the preferred one first. Default `["wt", "ws", "sse"]`. */
    protocols?: ("wt" | "ws" | "sse")[];
    /** A bearer token: in a header over HTTP, as subprotocol `bearer.TOKEN` of a WebSocket, and in the query as `access_token`
     * where it cannot stand there, and of WebTransport. Default none. */
    token?: string;
    /** SHA-256 of certificates to trust with `wt://`, in hexadecimal digits: ECDSA, valid for at most 14 days. Default those
     * that the browser trusts, and those that a gateway names. */
    certificateHashes?: string[];
    /** Of one dial, the greeting of a session included. Default 10,000. */
    timeout?: number;
    /** The largest payload sent or received. Default 16 MiB. */
    maxPacket?: number;
    /** The send buffer takes packets while it holds fewer bytes; then `send` waits. Default 128 KiB. */
    sendBuffer?: number;
    /** The send buffer takes packets while it holds fewer; then `send` waits. Default 4096. */
    sendPackets?: number;
    /** How many sends may wait; one more is `overloaded`. Default 4096. */
    maxWaiting?: number;
    /** How many deliveries may wait for their receipts; one more is `overloaded`. Default 65,536. */
    maxUnanswered?: number;
    /** What arrived and was not taken; beyond it the connection fails, as a page cannot stop a WebSocket. Default 32 MiB. A
     * session's peer stops at `replayBytes` before. */
    receiveBuffer?: number;
    /** How long `close` waits. Default 5000. */
    closeDeadline?: number;
}

export type State =
    | { readonly name: "connected" }
    | { readonly name: "reconnecting"; readonly attempt: number; readonly error: HaulError }
    | { readonly name: "closing" }
    | { readonly name: "disconnected" }
    | { readonly name: "failed"; readonly error: HaulError };

export interface Closed {
    readonly code: number;
    readonly reason: string;
    /** Packets of a session that the peer had not settled when it closed. */
    readonly unsettled: number;
}

export interface Connection extends AsyncIterable<Packet> {
    readonly state: State;
    /** Where the link leads that stands, or stood last. */
    readonly url: string;
    /** Resolves after a close; rejects with why the connection failed. */
    readonly closed: Promise<Closed>;
    onstate: ((state: State) => void) | null;
    /** Hears each packet; the next one when what it returned has resolved. What it throws goes to `reportError`. */
    onpacket: ((packet: Packet) => void | Promise<void>) | null;
    /** Gaps, where `onpacket` is used; without it they go to `reportError`. */
    ongap: ((gap: HaulError) => void) | null;
    /** Resolves when the packet is accepted, in order, into the bounded send buffer. Rejects with `closed`, `overloaded`,
     * `too_large` and `config`; nothing was accepted then. What is lost later is told by `closed`. */
    send(content: Content, options?: PacketOptions): Promise<void>;
    /** Resolves with the receiver's receipt; rejects with its refusal, or, with `sent`, when the connection ends before. */
    deliver(content: Content, options?: PacketOptions): Promise<Receipt>;
    /** The next packet; undefined when the peer has closed or finished. Rejects with a gap, after which it goes on. */
    recv(): Promise<Packet | undefined>;
    /** Resolves with how many milliseconds the peer took to answer, behind what was sent before. Rejects with `timeout` after
     * the option of that name, `overloaded` while 64 others wait, and `closed`. */
    ping(): Promise<number>;
    /** No more packets from here; the other direction goes on. */
    finish(): Promise<void>;
    /** Sends what was accepted, then closes with 1000 or 3000 to 4999; resolves as `closed`. */
    close(code?: number, reason?: string): Promise<Closed>;
    /** Ends the connection at once. */
    abort(code?: number, reason?: string): void;
}

/** Connects to a gateway by `http://host/path`, `https://host/path` or a path of the page's own: over what its `/haul.json` names,
 * as a race. Or to the first that opens of URLs, the preferred one first: WebTransport is `wt://`, WebSocket `ws://` or
 * `wss://`, an event stream with POSTs `sse://` or `sses://`. A session dials each time anew, and so moves from one to another;
 * without one, an event stream that is cut is come back to for 10 s. Rejects with `connect`, `timeout`, `unauthorized`,
 * `unsupported`, `config`, or a session's refusal. */
export function connect(url: string | URL | (string | URL)[], options?: Options): Promise<Connection>;

/** A frame of docs/wire/frame.md. */
export type Frame =
    | { type: "packet"; packet: Packet; receipt: boolean }
    | { type: "receipt"; id: string; receipt?: Omit<Receipt, "id">; error?: HaulError }
    | { type: "ping" | "pong"; payload: Uint8Array }
    | { type: "finish" }
    | { type: "close"; code: number; reason: string }
    | { type: "note"; text: string };

/** One frame as bytes. Throws `too_large` and `config`. */
export function encode(frame: Frame): Uint8Array;
/** The frame that `bytes` are; payloads are views of them. Throws `protocol` and `codec`. */
export function decode(bytes: Uint8Array): Frame;

/** A note of docs/wire/session.md: its word and its fields. */
export type Note = { word: string; [field: string]: string | number };
export function encodeNote(note: Note): string;
/** Throws `protocol`, and `unsupported` for another version. */
export function decodeNote(text: string): Note;
