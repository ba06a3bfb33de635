// browser.js PAGE: runs the script on standard input in a page of Chromium, with `haul` being haul.js. Prints as JSON what it
// returns, which requests went to foreign origins, and what the page's policy refused. What the page, its connections and
// its WebSockets say goes to standard error as it happens: a page that never returns has told why.

const { readFileSync } = require("node:fs");
const { chromium } = require("playwright-core");

const tell = (...words) => console.error(`${Math.round(performance.now())} ms:`, ...words);

/** A control frame that goes over a WebSocket. */
const isControl = (frame) => typeof frame !== "string" && frame[0] === 0x20;

function listenTo(socket) {
    tell("WebSocket to", socket.url());
    for (const [event, word] of [["framesent", "sent"], ["framereceived", "received"]]) {
        socket.on(event, ({ payload }) => isControl(payload) && tell(word, JSON.stringify(payload.toString("latin1").slice(1))));
    }
    socket.on("socketerror", (error) => tell("WebSocket failed:", error));
    socket.on("close", () => tell("WebSocket closed:", socket.url()));
}

/** haul.js, whose connections say what becomes of them, and are as patient as a busy machine needs. */
async function told() {
    const module = await import("/haul.js"), patient = { timeout: 60_000, closeDeadline: 60_000 };
    let connections = 0;
    const connect = async (url, options) => {
        const name = `connection ${connections += 1}`;
        console.debug(name, `${url}`);
        const connection = await module.connect(url, { ...patient, ...options }).catch((error) => {
            console.debug(name, `was refused: ${error.message}`);
            throw error;
        });
        let last;
        const look = () => last !== connection.state && console.debug(name, (last = connection.state).name, `${last.error?.message ?? ""}`);
        look();
        const looking = setInterval(look, 1000);
        connection.closed.catch(() => {}).then(look).then(() => clearInterval(looking));
        return connection;
    };
    return { ...module, connect };
}

async function main() {
    const browser = await chromium.launch({ executablePath: process.env.HAUL_CHROMIUM, args: ["--no-sandbox"] });
    try {
        const page = await browser.newPage(), own = new URL(process.argv[2]).host, foreign = [];
        let broken;
        page.on("pageerror", (error) => {
            broken = error;
        });
        page.on("console", (message) => tell(message.text()));
        const asks = (request) => {
            const { host, protocol } = new URL(request.url());
            if (protocol !== "data:" && host !== own) foreign.push(request.url());
        };
        page.on("request", asks);
        page.on("websocket", asks);
        page.on("websocket", listenTo);
        await page.addInitScript(() => {
            window.violations = [];
            addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
                window.violations.push(`${violatedDirective} ${blockedURI}`);
            });
        });
        await page.goto(process.argv[2]);
        tell("the page is there");
        const script = readFileSync(0, "utf8");
        const result = await page.evaluate(`(async () => { ${told} const haul = await told(); ${script} })()`);
        if (broken) throw broken;
        console.log(JSON.stringify({ result: result ?? null, foreign, violations: await page.evaluate("window.violations") }));
    } finally {
        await browser.close();
    }
}

main().catch((error) => {
    console.error(error);
    process.exitCode = 1;
});
