// browser.js PAGE: runs the script on standard input in a page of Chromium, with `haul` being haul.js. Prints as JSON what it
// returns, which requests went to foreign origins, and what the page's policy refused.

const { readFileSync } = require("node:fs");
const { chromium } = require("playwright-core");

async function main() {
    const browser = await chromium.launch({ executablePath: process.env.HAUL_CHROMIUM, args: ["--no-sandbox"] });
    try {
        const page = await browser.newPage(), own = new URL(process.argv[2]).host, foreign = [];
        let broken;
        page.on("pageerror", (error) => {
            broken = error;
        });
        page.on("console", (message) => console.error(message.text()));
        const asks = (request) => {
            const { host, protocol } = new URL(request.url());
            if (protocol !== "data:" && host !== own) foreign.push(request.url());
        };
        page.on("request", asks);
        page.on("websocket", asks);
        await page.addInitScript(() => {
            window.violations = [];
            addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
                window.violations.push(`${violatedDirective} ${blockedURI}`);
            });
        });
        await page.goto(process.argv[2]);
        const script = readFileSync(0, "utf8");
        const result = await page.evaluate(`(async () => { const haul = await import("/haul.js"); ${script} })()`);
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
