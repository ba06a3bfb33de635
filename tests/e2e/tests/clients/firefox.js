// firefox.js PAGE: as browser.js, in Firefox.

const { readFileSync } = require("node:fs");
const { launch } = require("puppeteer-core");

async function main() {
    const browser = await launch({ browser: "firefox", executablePath: process.env.HAUL_FIREFOX });
    try {
        const page = await browser.newPage(), own = new URL(process.argv[2]).host, foreign = [];
        page.on("console", (message) => console.error(message.text()));
        page.on("request", (request) => {
            const { host, protocol } = new URL(request.url());
            if (protocol !== "data:" && host !== own) foreign.push(request.url());
        });
        await page.evaluateOnNewDocument(() => {
            window.violations = [];
            addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
                window.violations.push(`${violatedDirective} ${blockedURI}`);
            });
        });
        await page.goto(process.argv[2]);
        const script = readFileSync(0, "utf8");
        const result = await page.evaluate(`(async () => { const haul = await import("/haul.js"); ${script} })()`);
        console.log(JSON.stringify({ result: result ?? null, foreign, violations: await page.evaluate("window.violations") }));
    } finally {
        await browser.close();
    }
}

main().catch((error) => {
    console.error(error);
    process.exitCode = 1;
});
