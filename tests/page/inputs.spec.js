// Every way in: drops, folders, pastes, the camera, models and modules; and what is kept.
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "@playwright/test";
import { zipSync } from "fflate";
import { module, pictures, png, tinyModel, writeFolder } from "./files.js";
import { HUB_ID } from "./setup.js";
import { addTests, choose, drop, moduleZip, open, openLibrary, replay, saveAs, scratch, startAndFinish, test, twoClasses } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";
const config = JSON.parse(tinyModel()["config.json"]);
const cards = (page) => page.getByTestId("class-card");
const thumbs = (page, index) => cards(page).nth(index).locator(".thumb canvas");

function folders() {
  const root = scratch();
  for (const [kind, name] of ["cats", "dogs"].entries()) {
    writeFolder(join(root, "task", name), Object.fromEntries([0, 1, 2].map((seed) => [`${seed}.png`, png(kind, seed)])));
    writeFolder(join(root, "held", name), Object.fromEntries([7, 8].map((seed) => [`${seed}.png`, png(kind, seed)])));
  }
  writeFolder(join(root, "lora-one"), module(config, 31));
  return root;
}

test("a dropped folder is a class, a module folder joins the library, and test folders are only measured", async ({ page }) => {
  const root = folders();
  await open(page, TINY);
  await drop(page, page.locator("#classes").locator(".."), [join(root, "task")]);
  await expect(cards(page)).toHaveCount(2);
  await expect(cards(page).nth(0).getByTestId("class-name")).toHaveValue("cats");
  await expect(thumbs(page, 1)).toHaveCount(3);
  await drop(page, page.locator("footer"), [join(root, "lora-one")]);
  await expect(page.getByTestId("library").locator("li")).toHaveCount(1);
  await expect(page.getByTestId("library")).toContainText("lora-one");
  await drop(page, page.locator("#test-zone"), [join(root, "held", "cats"), join(root, "held", "dogs")]);
  await expect(page.locator("#test-count")).toHaveText("4 in 2 classes");
  await expect(thumbs(page, 0)).toHaveCount(3);
  await expect(page.getByTestId("accuracy-nearest-mean")).toContainText("%");
  // Packed, they are test pictures as well.
  const packed = Object.fromEntries(["cats", "dogs"].map((name, kind) => [`${name}/packed.png`, new Uint8Array(png(kind, 77))]));
  writeFileSync(join(root, "held.zip"), zipSync(packed));
  await drop(page, page.locator("#test-zone"), [join(root, "held.zip")]);
  await expect(page.locator("#test-count")).toHaveText("6 in 2 classes");
  await expect(thumbs(page, 0)).toHaveCount(3);
  await expect(page.getByTestId("accuracy-nearest-mean")).toContainText("%");
  // Two test pictures have the same file name; a cell shows the right ones.
  const cells = page.getByTestId("confusion").locator("button.cell:not([disabled])");
  await cells.first().click();
  await expect(page.locator("#confusion-pictures canvas")).toHaveCount(Number(await cells.first().textContent()));
});

test("folders can be chosen, pictures pasted, and a camera used", async ({ page, context }) => {
  const root = folders();
  await context.grantPermissions(["camera"]);
  await open(page, TINY);
  await page.locator("#folder-files").setInputFiles(join(root, "task"));
  await expect(cards(page)).toHaveCount(2);
  await cards(page).first().getByTestId("class-name").focus();
  await page.evaluate(async (bytes) => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
    dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
  }, [...png(0, 40)]);
  await expect(thumbs(page, 0)).toHaveCount(4);
  await cards(page).nth(1).getByTestId("class-camera").click();
  await expect.poll(() => page.locator("#camera-video").evaluate((video) => video.videoWidth)).toBeGreaterThan(0);
  await page.getByTestId("camera-take").click();
  await page.getByTestId("camera-take").click();
  await expect(thumbs(page, 1)).toHaveCount(5);
  await page.keyboard.press("Escape");
  await expect.poll(() => page.locator("#camera-video").evaluate((video) => video.srcObject.getTracks().every((track) => track.readyState === "ended"))).toBe(true);
});

test("a dropped model takes the place of the first one, keeps the pictures and survives a reload", async ({ page }) => {
  await open(page, TINY.replace("&model=tiny", ""));
  await twoClasses(page);
  await expect(page.getByTestId("accuracy-nearest-mean")).toBeVisible();
  const folder = join(scratch(), "my-vit");
  writeFolder(folder, tinyModel(5));
  await drop(page, page.locator("footer"), [folder]);
  await expect(page.getByTestId("model")).toContainText("my-vit");
  await expect(thumbs(page, 0)).toHaveCount(3);
  await expect(page.getByTestId("held-out-nearest-mean")).toContainText("%");
  await page.waitForTimeout(1500);
  await page.reload();
  await expect(page.getByTestId("model")).toContainText("my-vit", { timeout: 60_000 });
  await expect(thumbs(page, 1)).toHaveCount(3);
  // Files without a folder: two models that differ have different names.
  const names = [];
  for (const seed of [6, 7]) {
    const plain = scratch();
    const files = tinyModel(seed);
    writeFolder(plain, files);
    await drop(page, page.locator("footer"), Object.keys(files).map((name) => join(plain, name)));
    await expect(page.getByTestId("model")).toContainText("dropped model");
    if (names.length) await expect(page.getByTestId("model")).not.toHaveText(names[0]);
    names.push(await page.getByTestId("model").textContent());
  }
});

test("a task joins the library, and a module that does not fit another model comes back with its own", async ({ page }) => {
  await open(page, TINY);
  await openLibrary(page);
  await page.getByTestId("add-module").setInputFiles([moduleZip("one", config, 11), moduleZip("two", config, 12)]);
  await expect(page.getByTestId("library").locator("li")).toHaveCount(2);
  await twoClasses(page);
  await choose(page, ["learned"]);
  await startAndFinish(page);
  await page.getByTestId("join-library").click();
  await expect(page.getByTestId("library").locator("li")).toHaveCount(3);
  await expect(page.getByTestId("stale")).toBeVisible();
  await startAndFinish(page);
  await expect(page.getByTestId("composition").locator("li")).toHaveCount(3);
  await page.getByTestId("model").click();
  await page.getByTestId("model-shipped").click();
  await expect(page.getByTestId("error")).toContainText("two");
  await expect(page.getByTestId("library")).not.toContainText("my learned");
  await page.getByTestId("model").click();
  const files = Object.entries(tinyModel()).map(([name, bytes]) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.from(bytes) }));
  await page.getByTestId("model-files").setInputFiles(files);
  await expect(page.getByTestId("library")).toContainText("my learned");
});

/** The Hub with a tiny model: `hub.state` is how it answers, `hub.breaksAt` the byte of the weights from which on it does not,
 *  `hub.asked` which files it was asked for, `hub.starts` from which byte. */
async function serveHub(page, hub) {
  const files = Object.fromEntries(Object.entries(tinyModel(9)).map(([path, bytes]) => [path, Buffer.from(bytes)]));
  const git = (bytes) => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
  const tree = Object.entries(files).map(([path, bytes]) => ({ path, size: bytes.length, oid: git(bytes) }));
  tree.find((file) => file.path === "model.safetensors").lfs = { oid: createHash("sha256").update(files["model.safetensors"]).digest("hex") };
  await page.route("https://huggingface.co/**", async (route) => {
    const url = route.request().url();
    const headers = { "access-control-allow-origin": "*", "access-control-expose-headers": "*", "access-control-allow-headers": "*" };
    if (hub.state === "offline") return route.abort();
    if (url.endsWith("/tree/main")) return route.fulfill({ json: tree, headers });
    const name = url.split("/").at(-1);
    const range = /bytes=(\d+)-(\d+)/.exec(route.request().headers().range);
    const [start, end] = range.slice(1).map(Number);
    hub.asked.push(name);
    hub.starts.push(start);
    if (name === "model.safetensors" && hub.state === "broken") return route.abort();
    const bytes = Buffer.from(files[name]);
    if (name === "model.safetensors" && hub.state === "damaged") bytes[bytes.length - 1] ^= 1;
    if (name === "model.safetensors" && hub.breaksAt === start) return route.abort();
    if (hub.state === "whole") return route.fulfill({ status: 200, body: bytes, headers });
    return route.fulfill({ status: 206, body: bytes.subarray(start, end + 1), headers });
  });
}

async function loadFromHub(page, size = "") {
  await page.getByTestId("model").click();
  await page.getByTestId("hub-id").fill(HUB_ID);
  await page.getByTestId("hub-size").fill(size);
  await page.getByTestId("hub-load").click();
}

test("a model of the Hub downloads in pieces, goes on after a break, is checked, brings its modules, and works offline", async ({ page }) => {
  const hub = { state: "broken", asked: [], starts: [] };
  await serveHub(page, hub);
  await open(page, TINY);
  await loadFromHub(page);
  await expect(page.getByTestId("error")).toContainText("cannot be reached");
  hub.state = "damaged";
  await loadFromHub(page);
  await expect(page.getByTestId("error")).toContainText("damaged");
  hub.state = "fine";
  await loadFromHub(page);
  await expect(page.getByTestId("model")).toContainText(HUB_ID);
  expect(hub.asked.filter((name) => name === "config.json")).toHaveLength(1);
  await expect(page.getByTestId("library").locator("li")).toHaveCount(2);
  await expect(page.getByTestId("library")).toContainText("boats");
  hub.state = "offline";
  // What the service worker does not keep ahead is gone, too.
  await page.route("**/models/**", (route) => route.abort());
  await page.goto(`?device=cpu&model=${HUB_ID}`);
  await expect(page.getByTestId("model")).toContainText(HUB_ID);
  await expect(page.getByTestId("status")).toHaveText("ready");
  await expect(page.getByTestId("library").locator("li")).toHaveCount(2);
  await page.unroute("**/models/**");
  await page.unroute("https://huggingface.co/**");
});

test("a module of one's own gets a number where one that ships has its name", async ({ page }) => {
  await serveHub(page, { state: "fine", asked: [], starts: [] });
  await open(page, TINY);
  await openLibrary(page);
  await page.getByTestId("add-module").setInputFiles(moduleZip("birds", config, 11));
  await expect(page.getByTestId("library").locator("li")).toHaveCount(1);
  await loadFromHub(page);
  const library = page.getByTestId("library").locator("li");
  await expect(library).toHaveText([/^birds×$/, /^boats×$/, /^birds 2×$/]);
  await page.getByRole("button", { name: "Remove module birds 2", exact: true }).click();
  await expect(library).toHaveCount(2);
  await expect(page.getByTestId("error")).toBeHidden();
});

test("what has arrived of a model is not asked for again, with and without ranges", async ({ page }) => {
  const PIECE = 4096;
  await page.route("**/models.js", async (route) => {
    const response = await route.fetch();
    const text = await response.text();
    expect(text).toContain("const PIECE = 8 * 2 ** 20;");
    await route.fulfill({ response, body: text.replace("const PIECE = 8 * 2 ** 20;", `const PIECE = ${PIECE};`) });
  });
  const size = Buffer.from(tinyModel(9)["model.safetensors"]).length;
  expect(size).toBeGreaterThan(4 * PIECE);
  const hub = { state: "fine", breaksAt: 2 * PIECE, asked: [], starts: [] };
  await serveHub(page, hub);
  await open(page, TINY);
  const ofWeights = () => hub.starts.filter((_, index) => hub.asked[index] === "model.safetensors");
  await loadFromHub(page);
  await expect(page.getByTestId("error")).toContainText("cannot be reached");
  expect(ofWeights()).toEqual([0, PIECE, 2 * PIECE]);
  hub.breaksAt = undefined;
  await loadFromHub(page);
  await expect(page.getByTestId("model")).toContainText(HUB_ID);
  const all = Array.from({ length: Math.ceil(size / PIECE) }, (_, index) => index * PIECE);
  expect(ofWeights()).toEqual([0, PIECE, 2 * PIECE, ...all.slice(2)]);
  await expect(page.getByTestId("status")).toHaveText("ready");

  // A server that sends everything at once is asked once.
  await page.evaluate(() => caches.delete("loraloom-models"));
  Object.assign(hub, { state: "whole", asked: [], starts: [] });
  await page.goto(`?${TINY}`);
  await expect(page.getByTestId("status")).toHaveText("ready");
  await loadFromHub(page);
  await expect(page.getByTestId("model")).toContainText(HUB_ID);
  expect(ofWeights()).toEqual([0]);
  hub.state = "offline";
  await page.goto(`?device=cpu&model=${HUB_ID}`);
  await expect(page.getByTestId("model")).toContainText(HUB_ID);
  await page.unrouteAll();
});

test("a file that ships and arrives damaged is named, and nothing opens", async ({ page }) => {
  // What arrives after it says no more that the model is loading.
  await page.route("**/models/tiny/preprocessor_config.json", async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await route.continue();
  });
  await page.route("**/models/tiny/model.safetensors", async (route) => {
    const response = await route.fetch();
    const body = await response.body();
    body[body.length - 1] ^= 1;
    await route.fulfill({ response, body });
  });
  const late = page.waitForResponse("**/models/tiny/preprocessor_config.json");
  await page.goto(`?${TINY}`);
  await expect(page.getByTestId("error")).toContainText("model.safetensors arrived damaged");
  await (await late).finished();
  await page.waitForTimeout(300);
  await expect(page.getByTestId("status")).toHaveText("cannot start");
  await page.unrouteAll();
});

/** What the page says once the pictures of the last visit are in. */
const BACK = /pictures from last time are back|first answers are in/;

test("a model of the Hub opens at another input size, with the modules for it, and projects and visits keep it", async ({ page }) => {
  await serveHub(page, { state: "fine", asked: [], starts: [] });
  await open(page, TINY);
  await loadFromHub(page, "44");
  await expect(page.getByTestId("error")).toContainText("not a multiple of the 8x8 patch");
  await loadFromHub(page, "48");
  const model = page.getByTestId("model");
  await expect(model).toContainText("48 × 48 px");
  await expect(page.getByTestId("library").locator("li")).toHaveCount(1);
  await expect(page.getByTestId("library")).toContainText("lakes");
  await choose(page, ["nearest-mean", "learned"]); // Before there are pictures: the probe's first answer would stay.
  await twoClasses(page);
  await addTests(page, "across", 0);
  await expect(page.locator("#test-count")).toHaveText("2 in 1 class");
  await startAndFinish(page);
  const shown = await page.getByTestId("held-out-learned").textContent();
  const path = await saveAs(page, "save-project");
  const folder = scratch();
  writeFolder(folder, tinyModel(9));
  replay(path, folder, ["learned", "nearest-mean"]);
  await page.goto("?device=cpu&steps=4&folds=2");
  await expect(cards(page)).toHaveCount(2);
  await expect(model).toContainText("48 × 48 px");
  await loadFromHub(page);
  await expect(model).toContainText("32 × 32 px");
  await expect(page.getByTestId("library")).toContainText("boats");
  await page.getByTestId("open-project").setInputFiles(path);
  await page.getByTestId("fetch-yes").click();
  await expect(model).toContainText("48 × 48 px");
  // The first answers come right after it.
  await expect(page.getByTestId("status")).toHaveText(/project opened|first answers are in/);
  await expect(page.getByTestId("held-out-learned")).toHaveText(shown);
  await expect(page.getByTestId("stale")).toBeHidden();
  await page.goto(`?device=cpu&model=${HUB_ID}&img_size=64`);
  await expect(model).toContainText("64 × 64 px");
  // Its own size, named, is no other size: the project opens without asking for the model.
  await page.goto(`?device=cpu&model=${HUB_ID}&img_size=32`);
  await expect(page.getByTestId("status")).toHaveText(BACK);
  const named = await saveAs(page, "save-project");
  await page.goto(`?device=cpu&model=${HUB_ID}`);
  await expect(page.getByTestId("status")).toHaveText(BACK);
  const before = await thumbs(page, 0).count();
  await thumbs(page, 0).first().click();
  await expect(thumbs(page, 0)).toHaveCount(before - 1);
  await page.getByTestId("open-project").setInputFiles(named);
  await expect(thumbs(page, 0)).toHaveCount(before);
  await expect(page.getByTestId("fetch-yes")).toBeHidden();
  await page.goto("?device=cpu&model=tiny&img_size=40");
  await expect(model).toContainText("40 × 40 px");
  await expect(page.getByTestId("status")).toHaveText(BACK);
  await thumbs(page, 0).first().click();
  await expect(page.locator("#kept")).toContainText("kept");
  // A visit comes back to a model that ships, at its size; a size alone in the address is the embedded model's.
  await page.goto("?device=cpu");
  await expect(model).toContainText("40 × 40 px");
  await page.goto("?device=cpu&img_size=72");
  await expect(model).toContainText("72 × 72 px");
  await expect(model).toContainText("loraloom-base");
  await page.unroute("https://huggingface.co/**");
});

test("a project opens in a fresh page with its settings, and holds only results that are up to date", async ({ page }) => {
  await open(page, "device=cpu&model=tiny");
  await page.locator("summary", { hasText: "Settings" }).click();
  await page.getByTestId("steps").fill("5");
  await page.getByTestId("seed").fill("3");
  await page.getByTestId("folds").fill("2");
  await page.getByTestId("folds").press("Tab");
  await page.getByTestId("augment").selectOption("mirrored");
  await twoClasses(page);
  await addTests(page, "across", 0);
  await choose(page, ["nearest-mean", "lora"]);
  await startAndFinish(page);
  const shown = await page.getByTestId("held-out-lora").textContent();
  const path = await saveAs(page, "save-project");
  await expect(page.getByTestId("stale")).toBeHidden();
  await cards(page).first().getByTestId("class-files").setInputFiles(pictures(0, 1, 70));
  await expect(page.getByTestId("stale")).toBeVisible();
  await expect(page.getByTestId("status")).toHaveText("first answers are in");
  await saveAs(page, "save-project");
  await expect(page.getByTestId("status")).toContainText("without the results");
  await page.getByTestId("clear").click();
  await page.getByTestId("clear-now").click();
  await page.waitForEvent("load");
  await expect(page.getByTestId("status")).toHaveText("ready");
  await expect(cards(page)).toHaveCount(0);
  await page.getByTestId("open-project").setInputFiles(path);
  await expect(page.getByTestId("held-out-lora")).toHaveText(shown);
  await expect(page.locator("#settings-line")).toHaveText("5 steps, seed 3, 2 folds, pictures cropped and mirrored, answers over five crops");
  await expect(page.getByTestId("augment")).toHaveValue("mirrored");
  await expect(page.getByTestId("stale")).toBeHidden();
  await expect(thumbs(page, 0)).toHaveCount(3);
  // What a project takes the place of comes back.
  await thumbs(page, 0).first().click();
  await expect(thumbs(page, 0)).toHaveCount(2);
  await page.getByTestId("open-project").setInputFiles(path);
  await expect(thumbs(page, 0)).toHaveCount(3);
  await page.getByTestId("undo").click();
  await expect(thumbs(page, 0)).toHaveCount(2);
  await expect(cards(page)).toHaveCount(2);
});

test("a browser that keeps nothing and says no reason is told of, too", async ({ page }) => {
  // As a private window of Safari does: the transaction ends without an error.
  await page.addInitScript(() => {
    IDBTransaction.prototype.commit = IDBTransaction.prototype.abort;
  });
  await open(page, TINY);
  await twoClasses(page);
  await expect(page.getByTestId("error")).toContainText("cannot keep your pictures for the next visit (it says no reason)");
  await expect(page.getByTestId("status")).toContainText("first answers are in");
});

test("a full quota is told and stops nothing", async ({ page }) => {
  await open(page, TINY);
  const client = await page.context().newCDPSession(page);
  await client.send("Storage.overrideQuotaForOrigin", { origin: new URL(page.url()).origin, quotaSize: 1 });
  await twoClasses(page);
  await expect(page.getByTestId("error")).toContainText("cannot keep your pictures");
  await choose(page, ["nearest-mean", "lora"]);
  await startAndFinish(page);
  await expect(page.getByTestId("held-out-lora")).toContainText("%");
  await expect(page.locator("#kept")).toContainText("not kept");
});
