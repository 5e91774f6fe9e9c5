// The same on WebGPU, in software: a tiny model, and parity with the CPU device here and natively. No adapter, no pass.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "@playwright/test";
import { module, pictures, png, safetensors, tinyModel, writeFolder } from "./files.js";
import { addTests, choose, clearAndReopen, expectSame, moduleZip, open, openLibrary, predictions, reload, replay, rgbNoise, saveAs, scratch, startAndFinish, test, twoClasses } from "./support.js";

const TINY = new URL("../../target/site/models/tiny/", import.meta.url).pathname;
const config = JSON.parse(tinyModel()["config.json"]);
const STEPS = 10;

test.beforeEach(async ({ page }) => {
  await page.goto("icon.svg");
  const adapter = await page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter()));
  expect(adapter, "this test needs a WebGPU adapter; SwiftShader is enough").toBe(true);
});

test("the journey on WebGPU", async ({ page }) => {
  test.setTimeout(600_000);
  const problems = await open(page, "device=gpu&model=tiny&steps=2&folds=0");
  await expect(page.getByTestId("device")).toContainText("software");
  await openLibrary(page);
  await page.getByTestId("add-module").setInputFiles([moduleZip("one", config, 11), moduleZip("two", config, 12)]);
  // Before there are pictures: the probe's first answer would stay.
  await choose(page, ["nearest-mean", "uniform", "learned"]);
  await twoClasses(page);
  await addTests(page, "across", 0);
  const answer = page.locator("[data-testid=prediction][data-method=learned]");
  const tryOne = () => page.getByTestId("try-files").setInputFiles([{ name: "new.png", mimeType: "image/png", buffer: png(1, 90) }]);
  await tryOne();
  await startAndFinish(page);
  await expect(answer).toHaveCount(1, { timeout: 120_000 });
  await expect(page.getByTestId("prediction")).toHaveCount(3);
  const before = await predictions(page);
  const path = await saveAs(page, "save-project");
  replay(path, TINY, ["learned", "nearest-mean", "uniform"]);
  await reload(page);
  await clearAndReopen(page, path);
  await tryOne();
  await startAndFinish(page);
  await expect(answer).toHaveCount(1, { timeout: 120_000 });
  expectSame(await predictions(page), before);
  expect(problems).toEqual([]);
});

test("other numbers of pictures compile no shaders", async ({ page }) => {
  test.setTimeout(600_000);
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    const spy = `globalThis.shaders = 0;
      const create = GPUDevice.prototype.createShaderModule;
      GPUDevice.prototype.createShaderModule = function (...args) { shaders += 1; return create.apply(this, args); };\n`;
    await route.fulfill({ response, body: spy + (await response.text()) });
  });
  const shaders = async () => Math.max(...(await Promise.all(page.workers().map((worker) => worker.evaluate(() => globalThis.shaders ?? 0)))));
  await open(page, "device=gpu&model=tiny&steps=2&folds=0");
  expect(await shaders()).toBeGreaterThan(0);
  await twoClasses(page);
  await choose(page, ["linear-probe", "lora"]);
  await startAndFinish(page);
  const before = await shaders();
  await page.getByTestId("class-card").first().getByTestId("class-files").setInputFiles(pictures(0, 2, 20));
  await expect(page.getByTestId("class-card").first().locator(".thumb canvas")).toHaveCount(5);
  await startAndFinish(page);
  expect(await shaders()).toBe(before);
});

test("a lost device restarts the worker and loses nothing", async ({ page }) => {
  test.setTimeout(600_000);
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    // Every device that the worker opens can be lost from outside; the page itself has no way to do that.
    const spy = `const request = GPUAdapter.prototype.requestDevice;
      GPUAdapter.prototype.requestDevice = async function (...args) { const device = await request.apply(this, args); (globalThis.devices ??= []).push(device); return device; };
      addEventListener("message", ({ data }) => data.type === "flow" && data.flow === "pause" && devices.forEach((device) => device.destroy()));\n`;
    await route.fulfill({ response, body: spy + (await response.text()) });
  });
  await open(page, "device=gpu&model=tiny&steps=200&folds=0");
  await twoClasses(page);
  await choose(page, ["nearest-mean", "lora"]);
  await page.getByTestId("try-files").setInputFiles(pictures(1, 1, 90));
  await page.getByTestId("start").click();
  await expect(page.locator("tr[data-method=lora]")).toContainText("step 2", { timeout: 180_000 });
  await page.getByTestId("pause").click();
  await page.getByTestId("pause").click({ timeout: 2000 }).catch(() => {}); // The loss may have been noticed already.
  await expect(page.getByTestId("error")).toContainText("your pictures are kept", { timeout: 120_000 });
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
  await expect(page.getByTestId("start")).toBeEnabled({ timeout: 180_000 });
  // Its answer was taken away with the worker: this is one of the new worker.
  await expect(page.locator("[data-testid=prediction][data-method=nearest-mean]")).toHaveCount(1, { timeout: 120_000 });
});

test("a GPU that computes something else is found out, and the CPU takes its place", async ({ page }) => {
  test.setTimeout(600_000);
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    // Softmax with another base: shaders compile and run, and their results are numbers.
    const spy = `const create = GPUDevice.prototype.createShaderModule;
      GPUDevice.prototype.createShaderModule = function (own) { return create.call(this, { ...own, code: own.code.replace(/\\bexp\\(/g, "exp2(") }); };\n`;
    await route.fulfill({ response, body: spy + (await response.text()) });
  });
  await open(page, "device=gpu&model=tiny");
  await expect(page.getByTestId("device")).toContainText(/CPU in this tab.*differ from the CPU's/);
  await twoClasses(page);
  await expect(page.getByTestId("held-out-nearest-mean")).toContainText("%");
});

test("a GPU without timestamps is not used, and the page says so", async ({ page }) => {
  await page.addInitScript(() => {
    const { get } = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, "features");
    Object.defineProperty(GPUAdapter.prototype, "features", { get() { return new Set([...get.call(this)].filter((name) => name !== "timestamp-query")); } });
  });
  await open(page, "device=gpu&model=tiny");
  await expect(page.getByTestId("device")).toContainText(/CPU.*timestamp/);
});

test("a software adapter is left alone unless it is asked for", async ({ page }) => {
  await open(page, "model=tiny");
  await expect(page.getByTestId("device")).toContainText(/CPU.*software/);
});

test("logits and ten learned steps agree with the CPU device and with native code", async ({ page }) => {
  test.setTimeout(600_000);
  const kinds = [0, 1, 2];
  const train = kinds.map((kind) => [0, 1, 2].map((seed) => ({ name: `${seed}.png`, bytes: png(kind, seed).toString("base64") })));
  const modules = [11, 12].map((seed) => ({ name: `m${seed}`, config: module(config, seed)["adapter_config.json"], weights: Buffer.from(module(config, seed)["adapter_model.safetensors"]).toString("base64") }));
  const pixels = rgbNoise(5, 2 * 3 * 32 * 32);
  await page.goto("icon.svg");
  const inPage = (device) => page.evaluate(runInPage, { device, train, modules, pixels, steps: STEPS });
  const cpu = await inPage("cpu");
  const gpu = await inPage("gpu");
  const native = runNatively(train, modules);
  const nativeLogits = forwardNatively(pixels);
  expect(cpu.logits).toHaveLength(10);
  expect(nativeLogits).toHaveLength(10);
  cpu.logits.forEach((value, index) => {
    expect(Math.abs(value - nativeLogits[index]), "wasm and native CPU").toBeLessThan(1e-4);
    expect(Math.abs(value - gpu.logits[index]), "CPU and WebGPU").toBeLessThan(1e-3);
  });
  expect(cpu.losses).toHaveLength(STEPS);
  cpu.losses.forEach((loss, index) => {
    expect(Math.abs(loss - native.losses[index]), `step ${index + 1}, wasm and native CPU`).toBeLessThan(1e-4);
    expect(Math.abs(loss - gpu.losses[index]), `step ${index + 1}, CPU and WebGPU`).toBeLessThan(2e-3);
  });
  cpu.weights.flat().forEach((value, index) => {
    expect(Math.abs(value - native.weights.flat()[index])).toBeLessThan(1e-4);
    expect(Math.abs(value - gpu.weights.flat()[index])).toBeLessThan(2e-3);
  });
});

/** Runs inside the page: the wasm package alone, without the page around it. */
async function runInPage({ device, train, modules, pixels, steps }) {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const root = new URL("./", location.href);
  const { default: init, Engine } = await import(new URL("pkg/loraloom_web.js", root));
  await init();
  const file = (name) => fetch(new URL(`models/tiny/${name}`, root));
  const engine = await Engine.open(device, "tiny", await (await file("config.json")).text(), await (await file("preprocessor_config.json")).text(), new Uint8Array(await (await file("model.safetensors")).arrayBuffer()));
  const logits = [...(await engine.forward(new Float32Array(pixels)))];
  for (const own of modules) engine.addModule(own.name, own.config, bytes(own.weights));
  let count = 0;
  const taken = (own) => {
    count += 1;
    engine.addPicture(count, own.name, bytes(own.bytes));
    return count;
  };
  const classes = train.map((pictures, kind) => ({ name: `kind${kind}`, pictures: pictures.map(taken) }));
  let report;
  // As the command line does where nothing is said, and mirrored.
  const config = { train: { num_steps: steps, seed: 3, augment: true, mirror: true }, folds: 0, views: 4 };
  await engine.adapt({ methods: ["learned"], train: classes, test: [], config }, (event) => {
    if (event.type === "done") report = event.report;
  });
  return { logits, losses: report.losses, weights: report.coefficients.weights };
}

/** Logits of the command line for the same pixels. */
function forwardNatively(pixels) {
  const folder = scratch();
  const [input, output] = ["in", "out"].map((name) => join(folder, `${name}.safetensors`));
  writeFileSync(input, safetensors({ pixel_values: { shape: [2, 3, 32, 32], values: Float32Array.from(pixels) } }));
  execFileSync(process.env.LORALOOM, ["forward", "--model", TINY, "--input", input, "--output", output, "--device", "cpu"]);
  return tensor(readFileSync(output), "logits");
}

/** One f32 tensor of a safetensors file. */
function tensor(file, name) {
  const length = Number(file.readBigUInt64LE(0));
  const [start, end] = JSON.parse(file.subarray(8, 8 + length).toString())[name].data_offsets;
  const bytes = file.subarray(8 + length + start, 8 + length + end);
  return Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(4 * index));
}

function runNatively(train, modules) {
  const folder = scratch();
  train.forEach((pictures, kind) => writeFolder(join(folder, "train", `kind${kind}`), Object.fromEntries(pictures.map((own) => [own.name, Buffer.from(own.bytes, "base64")]))));
  const paths = modules.map((own) => {
    const path = join(folder, own.name);
    writeFolder(path, { "adapter_config.json": own.config, "adapter_model.safetensors": Buffer.from(own.weights, "base64") });
    return path;
  });
  const out = join(folder, "out.json");
  execFileSync(process.env.LORALOOM, ["adapt", "--model", TINY, "--train", join(folder, "train"), "--modules", ...paths, "--methods", "learned", "--steps", String(STEPS), "--seed", "3", "--folds", "0", "--mirror", "--device", "cpu", "--json", out]);
  const { methods } = JSON.parse(readFileSync(out, "utf8"));
  return { losses: methods[0].losses, weights: methods[0].coefficients.weights };
}
