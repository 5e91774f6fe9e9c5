// What the page's tests share.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test as base, expect } from "@playwright/test";
import { zipSync } from "fflate";
import { module, pictures, tinyModel, writeFolder } from "./files.js";

/** Playwright's test, which fails where an error of the page is caught by nobody, or something is sent anywhere. */
export const test = base.extend({
  quiet: [async ({ context }, use) => {
    const problems = [];
    context.on("weberror", (event) => problems.push(`uncaught: ${event.error().message}`));
    context.on("request", (request) => ["GET", "HEAD"].includes(request.method()) || problems.push(`${request.method()} ${request.url()}`));
    await use();
    expect(problems).toEqual([]);
  }, { auto: true }],
});

/** An empty folder of the test that runs; it is cleared away before the next run. */
export function scratch() {
  const own = base.info().outputPath();
  mkdirSync(own, { recursive: true });
  return mkdtempSync(join(own, "files-"));
}

/** Opens the page and waits until it is ready; what must not happen is gathered in the list that this returns. */
export async function open(page, query = "device=cpu") {
  const problems = watch(page);
  await page.goto(`?${query}`);
  await expect(page.getByTestId("status")).toHaveText("ready", { timeout: 180_000 });
  return problems;
}

export function watch(page) {
  const problems = [];
  page.on("request", (request) => {
    const { protocol, host } = new URL(request.url());
    if (/^https?:$/.test(protocol) && !host.startsWith("127.0.0.1")) problems.push(`request to ${request.url()}`);
  });
  page.on("console", (message) => {
    // A shader that does not compile is only logged, and its results are garbage.
    if (/Content Security Policy|Refused to|cubecl-wgpu/.test(message.text())) problems.push(message.text());
  });
  return problems;
}

export async function addClass(page, name, files) {
  await page.getByTestId("add-class").click();
  const card = page.getByTestId("class-card").last();
  await card.getByTestId("class-name").fill(name);
  await card.getByTestId("class-name").press("Tab");
  await page.getByTestId("class-card").last().getByTestId("class-files").setInputFiles(files);
  await expect(page.getByTestId("class-card").last().locator(".thumb canvas")).toHaveCount(files.length);
}

/** Runs in the page: the worker gets every picture so many milliseconds late. */
export function slowPictures(wait) {
  const { postMessage } = Worker.prototype;
  Worker.prototype.postMessage = function (message, ...rest) {
    setTimeout(() => postMessage.call(this, message, ...rest), message.type === "add-picture" ? wait : 0);
  };
}

/** Two classes of stripes with some pictures each. */
export async function twoClasses(page, count = 3) {
  await addClass(page, "across", pictures(0, count));
  await addClass(page, "along", pictures(1, count));
}

export async function addTests(page, name, kind, count = 2) {
  await page.locator("#test-class").selectOption({ label: name });
  await page.getByTestId("test-files").setInputFiles(pictures(kind, count, 50));
}

export function moduleZip(name, config, seed, rank = 2) {
  const files = Object.fromEntries(Object.entries(module(config, seed, rank)).map(([path, bytes]) => [`${name}/${path}`, new Uint8Array(Buffer.from(bytes))]));
  return { name: `${name}.zip`, mimeType: "application/zip", buffer: Buffer.from(zipSync(files)) };
}

/** Two modules of a person's own in the open library, and nothing else in use. */
export async function withModules(page, names = ["one", "two"]) {
  await openLibrary(page);
  const config = JSON.parse(tinyModel()["config.json"]);
  await page.getByTestId("add-module").setInputFiles(names.map((name, index) => moduleZip(name, config, 11 + index)));
  await expect(page.getByTestId("library").locator("li")).toHaveCount(names.length);
}

/** Chooses the files of a random model. */
export async function chooseOwnModel(page, seed) {
  await page.getByTestId("model").click();
  await page.getByTestId("model-files").setInputFiles(Object.entries(tinyModel(seed)).map(([name, content]) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.from(content) })));
}

export async function choose(page, methods) {
  await page.locator("#more").evaluate((more) => (more.open = true));
  // Methods that compose wait for modules, and are ticked anew when the first ones come.
  for (const name of methods) await expect(page.getByTestId(`method-${name}`)).toBeEnabled();
  for (const box of await page.locator(".methods input").all()) {
    if (await box.isDisabled()) continue;
    const name = (await box.getAttribute("id")).replace("method-", "");
    await box.setChecked(methods.includes(name));
  }
}

export async function startAndFinish(page) {
  await expect(page.getByTestId("start")).toBeEnabled();
  await page.getByTestId("start").click();
  await expect(page.getByTestId("status")).toHaveText("done", { timeout: 200_000 });
}

export const rgbNoise = (seed, count) => {
  let state = seed >>> 0;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
};

/** Traces the page's main thread; `longest()` ends it and gives its longest task in milliseconds. Processor time, not time
 *  on the clock: the browser, the worker and the test share few cores. */
export async function traceTasks(page) {
  const browser = page.context().browser();
  await browser.startTracing(page, { categories: ["toplevel", "devtools.timeline", "__metadata"] });
  return {
    async longest() {
      const { traceEvents } = JSON.parse((await browser.stopTracing()).toString());
      const thread = ({ pid, tid }) => `${pid}:${tid}`;
      const mains = new Set(traceEvents.filter(({ name, args }) => name === "thread_name" && args?.name === "CrRendererMain").map(thread));
      const tasks = traceEvents.filter((event) => /RunTask$/.test(event.name) && event.tdur && mains.has(thread(event)));
      if (!tasks.length) throw new Error("the trace has no tasks of the page");
      // What the test asks of the page by itself is no work of the page's.
      const asked = traceEvents.filter(({ args }) => args?.chrome_mojo_event_info?.mojo_interface_tag === "blink.mojom.DevToolsSession");
      const isOwn = (task) => !asked.some((event) => thread(event) === thread(task) && event.ts >= task.ts && event.ts < task.ts + task.dur);
      return tasks.toSorted((a, b) => b.tdur - a.tdur).find(isOwn).tdur / 1000;
    },
  };
}

export const openLibrary = (page) => page.locator("details", { hasText: "Library of LoRA modules" }).locator("summary").click();

export async function saveAs(page, testId) {
  const download = page.waitForEvent("download");
  await page.getByTestId(testId).click();
  return (await download).path();
}

/** Drops real files and folders on an element, as a person does. */
export async function drop(page, target, paths) {
  await target.scrollIntoViewIfNeeded();
  const box = await target.boundingBox();
  const client = await page.context().newCDPSession(page);
  const data = { items: [], files: paths, dragOperationsMask: 1 };
  const at = { x: box.x + box.width / 2, y: box.y + Math.min(40, box.height / 2) };
  for (const type of ["dragEnter", "dragOver", "drop"]) await client.send("Input.dispatchDragEvent", { type, data, ...at });
  await client.detach();
}

/** Method, label and probability of every answer about the pictures to try. */
export async function predictions(page) {
  const rows = await page.getByTestId("prediction").all();
  return Promise.all(rows.map(async (row) => [await row.getAttribute("data-method"), await row.getAttribute("data-label"), Number(await row.getAttribute("data-probability"))]));
}

export function expectSame(found, expected) {
  const after = Object.fromEntries(found.map(([method, ...rest]) => [method, rest]));
  for (const [method, label, probability] of expected) {
    expect(after[method][0], method).toBe(label);
    expect(Math.abs(after[method][1] - probability), method).toBeLessThan(1e-3);
  }
}

/** The command line gives a project's numbers again. */
export function replay(path, model, methods) {
  const out = `${path}.json`;
  execFileSync(process.env.LORALOOM, ["replay", path, "--model", model, "--device", "cpu", "--json", out]);
  const replayed = JSON.parse(readFileSync(out, "utf8"));
  expect(replayed.map((own) => own.method).sort()).toEqual(methods);
  for (const own of replayed) {
    expect(own.probability, own.method).toBeLessThan(1e-3);
    expect(own.test_accuracy[0]).not.toBeNull();
    expect(own.test_accuracy[0]).toBe(own.test_accuracy[1]);
    expect(own.held_out_accuracy[0]).toBe(own.held_out_accuracy[1]);
  }
}

/** What the command line says of pictures by a saved task in a zip, as [`predictions`] gives it. */
export function predict(path, name, images) {
  const root = scratch();
  writeFolder(root, Object.fromEntries(images.map((image) => [image.name, image.buffer])));
  const out = join(root, "out.json");
  execFileSync(process.env.LORALOOM, ["predict", "--task", path, "--device", "cpu", "--json", out, ...images.map((image) => join(root, image.name))]);
  return JSON.parse(readFileSync(out, "utf8")).map(({ top: [best] }) => [name, best.label, best.probability]);
}

const learned = (page) => page.getByTestId("accuracy-learned");

/** A reload keeps pictures, modules and results. */
export async function reload(page) {
  await page.waitForTimeout(1500);
  const shown = await learned(page).textContent();
  await page.reload();
  await expect(page.getByTestId("class-card")).toHaveCount(2, { timeout: 180_000 });
  await expect(learned(page)).toHaveText(shown);
}

/** Everything is cleared, then the project opens with the same numbers. */
export async function clearAndReopen(page, path) {
  const shown = await learned(page).textContent();
  await page.getByTestId("clear").click();
  await page.getByTestId("clear-now").click();
  await page.waitForEvent("load");
  await expect(page.getByTestId("status")).toHaveText("ready", { timeout: 180_000 });
  await expect(page.getByTestId("class-card")).toHaveCount(0);
  await page.getByTestId("open-project").setInputFiles({ name: "p.zip", mimeType: "application/zip", buffer: readFileSync(path) });
  await expect(page.getByTestId("class-card")).toHaveCount(2);
  await expect(learned(page)).toHaveText(shown);
}

/** Clicks a button; what the status says until it begins with a text, each with milliseconds of the page's own clock. */
export const saidUntil = (page, button, text) => page.evaluate(([button, text]) => new Promise((resolve) => {
  const find = (id) => document.querySelector(`[data-testid=${id}]`);
  const started = performance.now();
  const said = [];
  const observer = new MutationObserver(() => {
    said.push({ text: find("status").textContent, after: performance.now() - started });
    if (!said.at(-1).text.startsWith(text)) return;
    observer.disconnect();
    resolve(said);
  });
  observer.observe(find("status"), { childList: true, characterData: true, subtree: true });
  find(button).click();
}), [button, text]);
