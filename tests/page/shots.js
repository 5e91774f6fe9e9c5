// Screenshots to look at: the page empty, loaded, training and done, at three widths and in both themes.
//
//   node tests/page/shots.js OUTDIR [SITE] [QUERY]      SITE: a built site, target/site unless told
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "@playwright/test";

const [out, site = new URL("../../target/site", import.meta.url).pathname, query = "device=cpu&steps=20&folds=2"] = process.argv.slice(2);
const PORT = 8391;
if (!out || out.startsWith("-")) throw new Error("usage: node tests/page/shots.js OUTDIR [SITE] [QUERY]");
const WIDTHS = [1440, 1024, 390];
const MINUTES = 20;
/** The picture that the README shows (`docs/page.jpg`): the page from its top to the map of weights when all methods are done. */
const README = { type: "jpeg", quality: 85, fullPage: true, clip: { x: 0, y: 0, width: WIDTHS[0], height: 1920 } };

async function shoot(page, state) {
  await page.mouse.move(0, 0);
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: width === 390 ? 844 : 900 });
    await page.evaluate(() => scrollTo(0, 0));
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.waitForTimeout(250);
      await page.screenshot({ path: join(out, `${state}-${width}-${colorScheme}.png`), fullPage: true });
    }
  }
  await page.setViewportSize({ width: WIDTHS[0], height: 900 });
}

/** One of the example's pictures of another seed, to ask about. */
async function tryPictures(page) {
  const files = await page.evaluate(async () => {
    const { exampleTask } = await import("./example.js");
    const task = await exampleTask({ shots: 0, tests: 1, seed: 11 });
    return Promise.all(task.slice(0, 3).map(async ({ test: [file] }) => ({ name: file.name, bytes: [...new Uint8Array(await file.arrayBuffer())] })));
  });
  await page.getByTestId("try-files").setInputFiles(files.map(({ name, bytes }) => ({ name, mimeType: "image/png", buffer: Buffer.from(bytes) })));
}

async function walk(page) {
  const status = (text) => page.waitForFunction((wanted) => new RegExp(wanted).test(document.getElementById("status").textContent), text, { timeout: MINUTES * 60_000 });
  await status("ready");
  await shoot(page, "empty");
  await page.getByTestId("example").click();
  await status("first answers are in");
  await tryPictures(page);
  await status("answered");
  await shoot(page, "loaded");
  await page.getByTestId("start").click();
  await page.waitForFunction(() => [...document.querySelectorAll("#rows progress")].some((bar) => bar.value > 0.25 && bar.value < 0.9), undefined, { timeout: MINUTES * 60_000 });
  await page.getByTestId("pause").click();
  await status("paused");
  await shoot(page, "training");
  await page.getByTestId("pause").click();
  await status("done");
  await page.locator("[data-testid=prediction][data-method=learned]").nth(2).waitFor({ state: "attached" });
  await page.locator("#confusion button.wrong:not([disabled]), #confusion button.cell:not([disabled])").first().click();
  await page.waitForTimeout(500);
  await shoot(page, "done");
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
  await page.screenshot({ ...README, path: join(out, "page.jpg") });
}

mkdirSync(out, { recursive: true });
const server = spawn("node", [new URL("../../web/site/serve.js", import.meta.url).pathname, site, String(PORT)], { stdio: ["ignore", "pipe", "inherit"] });
await new Promise((resolve) => server.stdout.once("data", resolve));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  const page = await browser.newPage({ viewport: { width: WIDTHS[0], height: 900 }, serviceWorkers: "block", bypassCSP: true });
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && console.log(message.text()));
  page.on("pageerror", (error) => console.log(error.message));
  await page.goto(`http://127.0.0.1:${PORT}/?${query}`);
  // Cards that are not on the screen are drawn, too: the pictures show the page as a whole.
  await page.addStyleTag({ content: "* { content-visibility: visible !important }" });
  await walk(page);
} finally {
  await browser.close();
  server.kill();
}
