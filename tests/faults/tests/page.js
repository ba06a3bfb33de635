// page.js PAGE: runs the script on standard input in a page of Chromium, with `haul` being haul.js, and prints what it
// returns as JSON.

const { readFileSync } = require("node:fs");
const { chromium } = require("playwright-core");

async function main() {
    const browser = await chromium.launch({ executablePath: process.env.HAUL_CHROMIUM, args: ["--no-sandbox"] });
    try {
        const page = await browser.newPage();
        await page.goto(process.argv[2]);
        const script = readFileSync(0, "utf8");
        const result = await page.evaluate(`(async () => { const haul = await import("/haul.js"); ${script} })()`);
        console.log(JSON.stringify(result));
    } finally {
        await browser.close();
    }
}

main().catch((error) => {
    console.error(error);
    process.exitCode = 1;
});
