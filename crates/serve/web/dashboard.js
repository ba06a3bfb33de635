// The dashboard: what the gateway says at /status, drawn, and a connection of this tab's own. It uses haul.js as any page may.

import { connect } from "/haul.js";

const $ = (id) => document.getElementById(id);

// ---- numbers ----

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

const count = (number) => (number < 100_000 ? whole : short).format(number);
const rate = (number) => number < 10 ? String(Number(number.toFixed(1))) : count(number);

function size(bytes) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let at = 0;
    for (; bytes >= 999.5 && at < units.length - 1; at += 1) bytes /= 1000;
    return `${at === 0 ? whole.format(bytes) : Number(bytes.toPrecision(3))} ${units[at]}`;
}

function span(seconds) {
    const [days, hours, minutes] = [seconds / 86_400, (seconds / 3600) % 24, (seconds / 60) % 60].map(Math.floor);
    return days > 0 ? `${days} d ${hours} h` : hours > 0 ? `${hours} h ${minutes} min` : minutes > 0 ? `${minutes} min` : `${Math.floor(seconds)} s`;
}

const micros = (number) => number < 1000 ? `${number}\u00a0µs` : number < 1_000_000 ? `${number / 1000}\u00a0ms` : `${number / 1_000_000}\u00a0s`;
const millis = (number) => number === undefined ? "–" : `${number < 10 ? number.toFixed(1) : whole.format(number)} ms`;

/** The value below which `share` of the sorted values are. */
const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];

// ---- elements ----

/** An element with these attributes and children; text is escaped, as the browser does it. */
function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value);
    made.append(...children);
    return made;
}

function drawn(name, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
}

/** Terms and what they are, changed in place. */
function facts(list, entries) {
    const rows = Object.entries(entries);
    while (list.children.length > rows.length) list.lastChild.remove();
    rows.forEach(([term, value], at) => {
        const row = list.children[at] ?? list.appendChild(element("div", {}, element("dt"), element("dd")));
        const [said, note] = [value].flat();
        if (row.firstChild.textContent !== term) row.firstChild.textContent = term;
        row.lastChild.replaceChildren(said, ...(note ? [" ", element("small", {}, note)] : []));
    });
}

// ---- charts ----

/** Seconds that charts go back. */
const BACK = 120;
const WIDTH = 600, HEIGHT = 100;

/** The next of 1, 2, 5, 10, 20 and so on. */
function ceiling(number) {
    const power = 10 ** Math.floor(Math.log10(Math.max(number, 1)));
    return [1, 2, 5, 10].find((step) => step * power >= number) * power;
}

/** The path of values that end now, one each second. */
function path(values, top) {
    const x = (at) => WIDTH - (values.length - 1 - at) * (WIDTH / (BACK - 1)), y = (value) => HEIGHT * (1 - value / top);
    return values.map((value, at) => `${at === 0 ? "M" : "L"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
}

function area(values, top) {
    const first = WIDTH - (values.length - 1) * (WIDTH / (BACK - 1));
    return values.length > 1 ? `${path(values, top)}L${WIDTH} ${HEIGHT}L${first.toFixed(1)} ${HEIGHT}Z` : "";
}

/** A chart in `figure` of what was received and, if that is told, sent. */
function chart(figure, { low = false, format = rate, least = 1 } = {}) {
    const line = (name) => drawn("path", { class: name, "vector-effect": "non-scaling-stroke" });
    const [fill, received, sent] = [line("received-area"), line("received-line"), line("sent-line")];
    const grid = [0, 50, 100].map((y) => drawn("path", { class: "grid", d: `M0 ${y}H${WIDTH}`, "vector-effect": "non-scaling-stroke" }));
    const image = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, ...grid, fill, received, sent);
    const [top, middle] = ["top", "middle"].map((place) => element("span", { class: `scale ${place}`, "aria-hidden": "true" }));
    const ends = element("div", { class: "ends", "aria-hidden": "true" }, element("span", {}, `${BACK / 60} min ago`), element("span", {}, "now"));
    figure.append(element("div", { class: low ? "chart low" : "chart" }, image, top, ...(low ? [] : [middle])), ends);
    const title = figure.querySelector("figcaption").textContent;
    return (ins, outs) => {
        const most = ceiling(Math.max(least, ...ins, ...(outs ?? [])));
        fill.setAttribute("d", area(ins, most));
        received.setAttribute("d", path(ins, most));
        if (outs) sent.setAttribute("d", path(outs, most));
        top.textContent = format(most);
        middle.textContent = format(most / 2);
        const said = (values) => `${format(values.at(-1) ?? 0)} now, at most ${format(Math.max(0, ...values))}`;
        const label = outs ? `received ${said(ins)}; sent ${said(outs)}` : said(ins);
        image.setAttribute("aria-label", `${title}, the last two minutes: ${label}`);
    };
}

function spark(values) {
    const top = Math.max(1, ...values);
    const line = drawn("path", { class: "received-line", d: path(values, top), "vector-effect": "non-scaling-stroke" });
    const fill = drawn("path", { class: "received-area", d: area(values, top) });
    const label = `at most ${rate(Math.max(0, ...values))} packets per second`;
    return drawn("svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, fill, line);
}

// ---- what was, second by second ----

/** Sums of what only grows, as rates. */
class Rates {
    #last;
    #series = new Map();

    /** Takes the counters of now. Answers whether enough time went by for a rate. */
    take(counters, now, run) {
        if (this.#last?.run !== run) {
            this.#series.clear();
            this.#last = { counters, now, run };
            return false;
        }
        const seconds = (now - this.#last.now) / 1000;
        // What was held up on its way comes in one moment.
        if (seconds < 0.5) return false;
        for (const [name, value] of Object.entries(counters)) {
            const values = this.of(name);
            values.push(Math.max(0, value - (this.#last.counters[name] ?? 0)) / seconds);
            values.splice(0, values.length - BACK);
        }
        this.#last = { counters, now, run };
        return true;
    }

    of(name) {
        if (!this.#series.has(name)) this.#series.set(name, []);
        return this.#series.get(name);
    }

    now(name) {
        return this.of(name).at(-1) ?? 0;
    }
}

/** Counts by range, as they were in the last minute. */
class Ranges {
    #seen = new Map();

    /** Takes the counts of now; answers those of the last minute, or of all time while less is known. */
    take(name, counts, run) {
        const before = this.#seen.get(name);
        const goesOn = before?.run === run && before.at(-1).every((count, at) => count <= counts[at]);
        const all = goesOn ? before : Object.assign([counts.map(() => 0)], { run });
        all.push(counts);
        all.splice(0, all.length - 61);
        this.#seen.set(name, all);
        return counts.map((count, at) => count - all[0][at]);
    }
}

// ---- the gateway ----

const NAMES = { wt: "WebTransport", ws: "WebSocket", sse: "SSE", http: "HTTP", tcp: "TCP", quic: "QUIC", unix: "Unix socket", tls: "TLS", udp: "UDP" };
const STATES = ["connected", "reconnecting", "closing", "failed"];
const rates = new Rates();
const ranges = new Ranges();
const packetChart = chart($("packets"));
const byteChart = chart($("bytes"), { format: size, least: 1000 });

function show(status) {
    const protocols = Object.entries(status.protocols);
    const sum = (field) => protocols.reduce((total, [, protocol]) => total + protocol[field], 0);
    const counters = { received: sum("received"), sent: sum("sent"), received_bytes: sum("received_bytes"), sent_bytes: sum("sent_bytes"), stored: status.stored };
    for (const [name, { received, sent }] of protocols) {
        Object.assign(counters, { [`in ${name}`]: received, [`out ${name}`]: sent, [`both ${name}`]: received + sent });
    }
    for (const { name, receivers } of status.routes) {
        counters[`route ${name}`] = status.log.sinks.find((sink) => sink.name === name)?.delivered ?? 0;
        for (const { url, accepted } of receivers) counters[`receiver ${name} ${url}`] = accepted;
    }
    const run = `${status.pid} ${status.since}`;
    rates.take(counters, performance.now(), run);
    packetChart(rates.of("received"), rates.of("sent"));
    byteChart(rates.of("received_bytes"), rates.of("sent_bytes"));
    $("where").textContent = `${location.host} · up ${span((Date.now() - Date.parse(status.since)) / 1000)}`;
    const behind = status.log.sinks.map(({ lag }) => lag), trips = middles(status.rtt);
    facts($("tiles"), {
        "open connections": count(sum("open")),
        "packets in": [rate(rates.now("received")), "/s"],
        "bytes in": [size(rates.now("received_bytes")), "/s"],
        "events stored": count(status.stored),
        "round trip, median": trips.half ?? "–",
        "furthest route behind": behind.length > 0 ? count(Math.max(...behind)) : "–",
    });
    showProtocols(protocols);
    showTrips(status.rtt, trips);
    showStates(status.states);
    showLog(status);
    showRoutes(status, run);
    showListeners(status.listeners);
}

function showProtocols(protocols) {
    const order = Object.keys(NAMES), place = ([name]) => (order.indexOf(name) + 1) || order.length + 1;
    const cell = (text, wide = "") => element("td", { class: `number ${wide}` }, text);
    $("protocols").replaceChildren(...protocols.sort((one, two) => place(one) - place(two)).map(([name, protocol]) => element("tr", { "data-protocol": name },
        element("th", { scope: "row" }, NAMES[name] ?? name),
        cell(count(protocol.open)), cell(count(protocol.opened), "wide"),
        cell(rate(rates.now(`in ${name}`))), cell(rate(rates.now(`out ${name}`))),
        cell(count(protocol.received), "wide"), cell(count(protocol.sent), "wide"),
        element("td", {}, spark(rates.of(`both ${name}`))),
    )));
}

/** In which ranges half and nine in ten of the round trips are. */
function middles({ bounds_us: bounds, counts }) {
    const all = counts.reduce((sum, number) => sum + number, 0);
    const within = (share) => {
        let seen = 0;
        const at = counts.findIndex((number) => (seen += number) >= share * all);
        return at < bounds.length ? `<\u00a0${micros(bounds[at])}` : `>\u00a0${micros(bounds.at(-1))}`;
    };
    return all > 0 ? { all, half: within(0.5), most: within(0.9) } : { all };
}

function showTrips({ bounds_us: bounds, counts }, { all, half, most }) {
    $("trips-note").textContent = all > 0 ? `${count(all)} ${all === 1 ? "connection" : "connections"}: half ${half}, nine in ten ${most}` : "None is known yet.";
    const top = Math.max(1, ...counts), label = (at) => at === bounds.length ? "more" : bounds[at] < 1_000_000 ? bounds[at] / 1000 : "1 s";
    $("trips").replaceChildren(...counts.map((number, at) => {
        const bar = element("i");
        bar.style.height = `${75 * number / top}%`;
        return element("li", { class: number === 0 ? "none" : "" }, number > 0 ? count(number) : "", bar, String(label(at)));
    }));
}

function showStates(states) {
    const known = STATES.filter((name) => name in states || name === "connected" || name === "reconnecting");
    const others = Object.keys(states).filter((name) => !STATES.includes(name));
    $("states").replaceChildren(...[...known, ...others].map((name) =>
        element("li", { "data-state": name }, name, element("b", {}, count(states[name] ?? 0)))));
}

function showLog({ log, in_flight: inFlight }) {
    $("log-failure").hidden = !log.failure;
    if (log.failure && $("log-failure").textContent !== log.failure) $("log-failure").textContent = log.failure;
    facts($("log"), {
        "oldest event": count(log.first), "next event": count(log.next), "on disk": size(log.bytes),
        "appended": count(log.appended), "syncs": count(log.syncs), "waiting for the disk": size(log.queued_bytes + inFlight),
    });
}

// ---- routes ----

const some = (number, text) => number > 0 && `${count(number)} ${text}`;

/** What a layer knows, in words, and whether it is well. */
function layerSays(layer) {
    switch (layer.layer) {
        case "breaker": return [`breaker ${layer.state.replace("_", " ")}`, layer.state === "closed"];
        case "queue": return [`queue: ${count(layer.waiting)} waiting`, true];
        case "balance": {
            const { members, passed_over: passed } = layer;
            return [`balance over ${members}${passed.length > 0 ? `, passed over: ${passed.join(", ")}` : ""}`, passed.length === 0];
        }
        case "fallback": return [layer.active === 0 ? "fallback: at the preferred" : `fallback: at ${layer.url}`, layer.active === 0];
        case "limit": return [`limit: ${count(layer.allowed)} at once`, true];
        case "outbox": {
            const { pending, bytes, retries, dead, lost, dropped, failure } = layer;
            const more = [some(retries, "tried again"), some(dead, "refused for good"), some(lost, "lost"), some(dropped, "dropped"), failure];
            return [`outbox: ${[`${count(pending)} waiting`, size(bytes), ...more].filter(Boolean).join(", ")}`, !failure];
        }
        default: return [layer.layer, true];
    }
}

function receiver(route, { url, accepted, failed, abandoned, under_way: underWay, times, last_failure: why }, run) {
    const { half, most } = middles({ bounds_us: times.bounds_us, counts: ranges.take(`${route} ${url}`, times.counts, run) });
    const said = [
        `${rate(rates.now(`receiver ${route} ${url}`))}/s`, half && `half ${half}, nine in ten ${most}`, `${count(accepted)} accepted`,
        some(underWay, "under way"), some(failed, "failed"), some(abandoned, "not waited for"),
    ];
    return element("li", { "data-receiver": url },
        element("span", { class: "url" }, url),
        element("p", {}, ...said.filter(Boolean).map((text) => element("span", {}, text))),
        ...(why ? [element("p", { class: "why" }, `last failure: ${why}`)] : []));
}

function route({ name, receivers, layers }, { log, sink }, run) {
    const open = layers.some(({ state }) => state === "open" || state === "half_open");
    const state = sink.stuck ? "stuck" : open ? "breaker open" : sink.delivering_since ? "delivering" : "waiting for events";
    const all = Math.max(1, log.next - log.first);
    const list = element("dl", { class: "facts" });
    facts(list, {
        "delivered": [rate(rates.now(`route ${name}`)), "/s"], "behind": count(sink.lag), "in all": count(sink.delivered),
        "tried again": count(sink.retries), "dead letters": count(sink.dead),
        ...(sink.filtered > 0 && { "filtered": count(sink.filtered) }), ...(sink.lost > 0 && { "lost": count(sink.lost) }),
    });
    const said = layers.map(layerSays).map(([text, well]) => element("li", { class: well ? "" : "stuck" }, text));
    return element("li", { "data-sink": name },
        element("p", {}, element("b", {}, name), element("span", { class: sink.stuck || open ? "stuck" : "" }, state)),
        element("progress", { max: all, value: Math.max(0, all - sink.lag), "aria-label": `${name}: events it has` }),
        list, spark(rates.of(`route ${name}`)),
        ...(sink.stuck ? [element("p", { class: "stuck" }, sink.stuck.message)] : []),
        ...(said.length > 0 ? [element("ul", { class: "layers", "aria-label": `${name}: layers` }, ...said)] : []),
        element("ul", { class: "receivers", "aria-label": `${name}: receivers` }, ...receivers.map((at) => receiver(name, at, run))));
}

function showRoutes({ log, routes }, run) {
    const shown = routes.map((at) => [at, log.sinks.find(({ name }) => name === at.name)]).filter(([, sink]) => sink);
    const absent = log.absent.map(({ name, events }) => element("li", { "data-sink": name },
        element("p", {}, element("b", {}, name), element("span", {}, `not attached; ${count(events)} events are kept for it`))));
    const none = element("li", {}, element("p", {}, "None: events stay in the log."));
    const all = [...shown.map(([at, sink]) => route(at, { log, sink }, run)), ...absent];
    $("sinks").replaceChildren(...(all.length > 0 ? all : [none]));
}

function showListeners(listeners) {
    const cell = (number, wide = "") => element("td", { class: `number ${wide}` }, count(number));
    $("listeners").replaceChildren(...listeners.map((listener) => element("tr", {},
        element("th", { scope: "row" }, listener.url, ...[
            listener.protocols?.map((name) => NAMES[name] ?? name).join(", "), listener.last_failure && `last failure: ${listener.last_failure}`,
        ].filter(Boolean).map((text) => element("span", { class: "why" }, text))),
        cell(listener.open), cell(listener.accepted), cell(listener.refused, "wide"), cell(listener.failed))));
}

// ---- the feed ----

let token = sessionStorage.getItem("haul token") ?? "";

function say(state, text) {
    const place = $("feed");
    if (place.dataset.state === state && place.textContent === text) return;
    place.dataset.state = state;
    place.textContent = text;
}

const overWhat = (url) => NAMES[{ wss: "ws", sses: "sse" }[url.split(":")[0]] ?? url.split(":")[0]];
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The status by plain HTTP, which says when a token is asked for; then as it comes. */
async function follow() {
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const answer = await fetch("/status", { headers, cache: "no-store" });
    if (answer.status === 401) return ask();
    if (!answer.ok) throw new Error(`the gateway answers ${answer.status}`);
    show(await answer.json());
    const feed = await connect("/status", { token });
    const leave = () => feed.abort();
    addEventListener("pagehide", leave);
    const state = ({ name }) => say(name, name === "connected" ? `live over ${overWhat(feed.url)}` : name);
    feed.onstate = state;
    state(feed.state);
    try {
        for await (const packet of feed) show(packet.json());
    } finally {
        removeEventListener("pagehide", leave);
    }
    throw new Error("the gateway ended the connection");
}

/** Asks for a token; what was shown before was not known. */
async function ask() {
    say("waiting", "a token is asked for");
    const dialog = $("ask");
    if (token) $("ask-why").textContent = "The gateway does not know that token.";
    $("token").value = "";
    if (!dialog.open) dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    token = $("token").value;
    sessionStorage.setItem("haul token", token);
}

async function keepFollowing() {
    for (;;) {
        try {
            await follow();
        } catch (error) {
            say("reconnecting", `not live: ${error.message}`);
            await wait(2000);
        }
    }
}

// ---- this tab ----

/** Events on their way that are the most: beyond it the tab waits for receipts. */
const MOST_WAITING = 1000;
/** Between two handfuls of events, in milliseconds. */
const TICK = 50;
const LINES = 6;

const latencyChart = chart($("latency"), { low: true, format: (number) => `${rate(number)} ms` });
const tab = { connection: undefined, sent: 0, receipts: 0, refused: 0, owed: 0, trip: undefined, recent: [], latency: [] };
const name = `tab-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16)}`;

function note(text) {
    const time = new Date().toLocaleTimeString("en-GB");
    $("tab-log").prepend(element("li", {}, element("span", {}, time), element("span", {}, text)));
    while ($("tab-log").children.length > LINES) $("tab-log").lastChild.remove();
}

function showTab() {
    const { connection } = tab, state = connection?.state.name ?? "not connected";
    $("toggle").textContent = connection ? "Disconnect" : "Connect";
    $("once").disabled = !connection;
    facts($("tab-facts"), {
        "state": state, "over": connection ? overWhat(connection.url) : "–", "round trip": millis(tab.trip),
        "sent": count(tab.sent), "receipts": count(tab.receipts), "waiting": count(tab.sent - tab.receipts - tab.refused),
        ...(tab.refused > 0 && { "failed": count(tab.refused) }),
    });
    latencyChart(tab.latency);
}

async function open() {
    const chosen = new FormData($("tab")).get("transport");
    note(`connecting over ${chosen ? NAMES[chosen] : "what opens first"}`);
    const options = { session: true, token, ...(chosen && { protocols: [chosen] }) };
    const connection = await connect(`/tab?session=${name}`, options);
    Object.assign(tab, { connection, owed: 0, trip: undefined });
    note(`connected over ${overWhat(connection.url)}`);
    connection.onstate = (state) => {
        if (state.name === "connected") note(`goes on over ${overWhat(connection.url)}`);
        if (state.name === "reconnecting" && state.attempt === 1) note(`cut: ${state.error.message}`);
        showTab();
    };
    connection.onpacket = () => {};
    connection.ongap = (gap) => note(gap.message);
    connection.closed.then(() => note("disconnected"), (error) => note(error.message)).finally(() => {
        tab.connection = undefined;
        showTab();
    });
}

async function send() {
    const began = performance.now();
    tab.sent += 1;
    try {
        await tab.connection.deliver({ tab: name, number: tab.sent, at: new Date().toISOString() });
        tab.receipts += 1;
        tab.recent.push(performance.now() - began);
    } catch (error) {
        tab.refused += 1;
        if (tab.refused === 1) note(`event refused: ${error.message}`);
    }
}

/** Sends as many events as the time since the last tick asks for. */
function tick() {
    if (tab.connection?.state.name !== "connected") return;
    tab.owed = Math.min(tab.owed + Number($("tab").elements.rate.value) * TICK / 1000, 100);
    for (; tab.owed >= 1 && tab.sent - tab.receipts - tab.refused < MOST_WAITING; tab.owed -= 1) send();
}

async function eachSecond() {
    const recent = tab.recent.splice(0).sort((one, two) => one - two);
    if (tab.connection || tab.latency.length > 0) tab.latency.push(quantile(recent, 0.5) ?? 0);
    tab.latency.splice(0, tab.latency.length - BACK);
    showTab();
    if (tab.connection?.state.name === "connected") tab.trip = await tab.connection.ping().catch(() => undefined);
}

$("tab").addEventListener("input", () => {
    $("rate-now").textContent = $("tab").elements.rate.value;
});
$("tab").addEventListener("submit", async (event) => {
    event.preventDefault();
    $("toggle").disabled = true;
    try {
        if (tab.connection) await tab.connection.close();
        else await open();
    } catch (error) {
        note(error.message);
    }
    $("toggle").disabled = false;
    showTab();
});
$("once").addEventListener("click", send);
addEventListener("pagehide", () => tab.connection?.abort());
setInterval(tick, TICK);
setInterval(eachSecond, 1000);
showTab();
keepFollowing();
