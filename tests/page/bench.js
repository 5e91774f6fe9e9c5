// The page's speed in Chromium: from navigation to "ready", `learned` steps per second, and the forward pass, next to
// ONNX Runtime Web on the same checkpoint when ONNX_MODEL names its ONNX file (see tests/page/vit_to_onnx.py).
//
//   node tests/page/bench.js [SITE] [DEVICE]      SITE: dist unless told; DEVICE: cpu unless told
//
// `gpu` is SwiftShader, in software, unless REAL_GPU is set.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "@playwright/test";

const [site = "dist", device = "cpu"] = process.argv.slice(2);
const PORT = 8392;
/** A GPU in software takes minutes where a real one takes a second: only the forward pass is timed. */
const SLOW = device === "gpu" && !process.env.REAL_GPU;
const [RUNS, IMAGES, STEPS] = SLOW ? [1, 2, 0] : [5, 8, 6];
const ORT = "node_modules/onnxruntime-web/dist";
const GPU = ["--enable-unsafe-webgpu", ...(SLOW ? ["--use-webgpu-adapter=swiftshader", "--disable-gpu-sandbox"] : [])];

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const ms = (value) => `${value.toFixed(0)} ms`;

async function readyTimes(browser) {
  const times = [];
  for (let run = 0; run < RUNS; run += 1) {
    const context = await browser.newContext({ serviceWorkers: "block" });
    const page = await context.newPage();
    const started = Date.now();
    await page.goto(`http://127.0.0.1:${PORT}/?device=${device}`);
    await page.waitForFunction(() => document.body.dataset.ready === "true", undefined, { timeout: 120_000 });
    times.push(Date.now() - started);
    await context.close();
  }
  return times;
}

/** In the page: passes and steps of the wasm package alone. */
async function ours({ device, images, runs, steps }) {
  const root = new URL("./", location.href);
  const { default: init, Engine } = await import(new URL("pkg/loraloom_web.js", root));
  const { exampleTask } = await import(new URL("example.js", root));
  await init();
  const file = (name) => fetch(new URL(`models/base/${name}`, root));
  const bytes = async (name) => new Uint8Array(await (await file(name)).arrayBuffer());
  const text = async (name) => (await file(name)).text();
  const engine = await Engine.open(device, "base", await text("config.json"), await text("preprocessor_config.json"), await bytes("model.safetensors"));
  const { modules = [] } = await (await file("manifest.json")).json();
  for (const { name } of modules) engine.addModule(name, await text(`modules/${name}/adapter_config.json`), await bytes(`modules/${name}/adapter_model.safetensors`));
  const [height, width] = engine.info().input_size;
  const pixels = Float32Array.from({ length: images * 3 * height * width }, (_, index) => Math.sin(index * 0.37));
  const passes = [];
  for (let run = 0; run <= runs; run += 1) {
    const started = performance.now();
    await engine.forward(pixels.slice());
    passes.push(performance.now() - started);
  }
  const size = [height, width];
  if (!steps) return { passes: passes.slice(1), size };
  const train = [];
  for (const { name, train: files } of await exampleTask({ shots: 4, tests: 0 })) {
    const pictures = [];
    for (const own of files) {
      pictures.push(pictures.length + 1);
      engine.addPicture(pictures.length, own.name, new Uint8Array(await own.arrayBuffer()));
    }
    train.push({ name, pictures });
  }
  const at = [];
  const method = modules.length ? "learned" : "lora";
  await engine.adapt({ methods: [method], train, test: [], config: { train: { num_steps: steps + 1 }, folds: 0 } }, ({ type, progress }) => type === "progress" && progress.phase === "step" && at.push(performance.now()));
  const each = at.slice(1).map((time, index) => time - at[index]);
  return { passes: passes.slice(1), each, method, size, pictures: train.reduce((sum, own) => sum + own.pictures.length, 0), modules: modules.length };
}

/** In the page: the same pass with ONNX Runtime Web on one thread. */
async function theirs({ images, runs, size, provider }) {
  const ort = await import(new URL(`/ort/ort.${provider}.min.mjs`, location.href));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("/ort/", location.href).href;
  const model = new Uint8Array(await (await fetch("/ort/model.onnx")).arrayBuffer());
  const session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
  const pixels = Float32Array.from({ length: images * 3 * size[0] * size[1] }, (_, index) => Math.sin(index * 0.37));
  const passes = [];
  for (let run = 0; run <= runs; run += 1) {
    const started = performance.now();
    await session.run({ pixel_values: new ort.Tensor("float32", pixels, [images, 3, ...size]) });
    passes.push(performance.now() - started);
  }
  return passes.slice(1);
}

async function compare(page, size, ownTime) {
  if (!process.env.ONNX_MODEL) return console.log("ONNX Runtime Web: set ONNX_MODEL to compare");
  await page.route("**/ort/**", (route) => {
    const name = new URL(route.request().url()).pathname.split("/").at(-1);
    const body = readFileSync(name === "model.onnx" ? process.env.ONNX_MODEL : join(ORT, name));
    return route.fulfill({ body, contentType: { mjs: "text/javascript", wasm: "application/wasm" }[name.split(".").at(-1)] ?? "application/octet-stream" });
  });
  const provider = device === "gpu" ? "webgpu" : "wasm";
  const time = median(await page.evaluate(theirs, { images: IMAGES, runs: RUNS, size, provider }));
  return console.log(`forward, ${IMAGES} images, ONNX Runtime Web (${provider}, one thread): ${ms(time)}; ours takes ${(ownTime / time).toFixed(2)} times as long`);
}

const server = spawn("node", [new URL("../../web/site/serve.js", import.meta.url).pathname, site, String(PORT)], { stdio: ["ignore", "pipe", "inherit"] });
await new Promise((resolve) => server.stdout.once("data", resolve));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", ...(device === "gpu" ? GPU : [])] });
try {
  if (!SLOW) {
    const times = await readyTimes(browser);
    console.log(`navigation to ready: ${ms(median(times))} (${RUNS} runs, ${ms(Math.min(...times))} to ${ms(Math.max(...times))})`);
  }
  const page = await browser.newPage({ serviceWorkers: "block" });
  // A page of the site's origin in which nothing else runs.
  const blank = `http://127.0.0.1:${PORT}/blank.html`;
  await page.route(blank, (route) => route.fulfill({ body: "<!doctype html>", contentType: "text/html" }));
  await page.goto(blank);
  const own = await page.evaluate(ours, { device, images: IMAGES, runs: RUNS, steps: STEPS });
  const forward = median(own.passes);
  console.log(`forward, ${IMAGES} images of ${own.size.join(" x ")} px, ${device}: ${ms(forward)}`);
  if (STEPS) console.log(`${own.method}, ${own.pictures} images, ${own.modules} modules, ${device}: ${(1000 / median(own.each)).toFixed(2)} steps per second`);
  await compare(page, own.size, forward);
} finally {
  await browser.close();
  server.kill();
}
