// Writes the page's example task as folders of JPEGs, for the command line:
//
//   node tests/page/example.js docs/example
//
// Chromium draws them, with the page's own example.js.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "@playwright/test";

const [out] = process.argv.slice(2);
const ORIGIN = "http://example.test/";

/** In the page: as PNG the noise of a picture takes ten times the room. */
async function drawn() {
  const { exampleTask } = await import("/example.js");
  const jpeg = async (file) => {
    const picture = await createImageBitmap(file);
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    canvas.getContext("2d").drawImage(picture, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
    return { name: file.name.replace(/png$/, "jpg"), bytes: [...new Uint8Array(await blob.arrayBuffer())] };
  };
  const all = (files) => Promise.all(files.map(jpeg));
  return Promise.all((await exampleTask()).map(async ({ name, train, test }) => ({ name, train: await all(train), test: await all(test) })));
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage();
await page.route(`${ORIGIN}**`, (route) =>
  route.request().url() === ORIGIN
    ? route.fulfill({ body: "<!doctype html>", contentType: "text/html" })
    : route.fulfill({ body: readFileSync(new URL("../../www/example.js", import.meta.url)), contentType: "text/javascript" }),
);
await page.goto(ORIGIN);
for (const { name, ...parts } of await page.evaluate(drawn)) {
  for (const [part, files] of Object.entries(parts)) {
    const dir = join(out, part, name);
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir, { recursive: true });
    for (const file of files) writeFileSync(join(dir, file.name), Buffer.from(file.bytes));
  }
}
await browser.close();
