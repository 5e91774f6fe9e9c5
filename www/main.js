// Wires the page: engine, columns, model, settings from the address.
import { Classes } from "./classes.js";
import { $, fail, say } from "./dom.js";
import { Engine } from "./engine.js";
import { exampleTask } from "./example.js";
import { Run } from "./run.js";
import { TryIt } from "./tryit.js";

const query = new URLSearchParams(location.search);
const settings = {
  device: query.get("device") ?? "auto",
  model: query.get("model") ?? "base",
  steps: Number(query.get("steps") ?? 40),
  seed: Number(query.get("seed") ?? 0),
  folds: Number(query.get("folds") ?? 3),
};

const engine = new Engine();
let restarts = 0;
const classes = new Classes(engine, () => changed());
const tryIt = new TryIt(engine, classes);
const run = new Run(engine, classes, settings, () => tryIt.refresh());

function changed() {
  run.refresh();
  run.stale();
}

/** Which device can be asked for: WebGPU needs an adapter with timestamps, which the GPU backend starts with. */
async function usableDevice(wanted) {
  if (wanted === "cpu") return "cpu";
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return "cpu";
  if (!adapter.features.has("timestamp-query")) return "cpu";
  return wanted;
}

async function bytes(path, label) {
  const response = await fetch(path);
  if (!response.ok) throw { code: "io", message: `${label} cannot be loaded (${response.status})` };
  return response;
}

async function loadModel() {
  const root = new URL(`./models/${settings.model}/`, location.href);
  say("loading the model");
  const manifest = await (await bytes(new URL("manifest.json", root), "the model's list of files")).json();
  const text = async (name) => (await bytes(new URL(name, root), name)).text();
  const data = async (name) => new Uint8Array(await (await bytes(new URL(name, root), name)).arrayBuffer());
  const model = {
    name: manifest.name,
    config: await text("config.json"),
    preprocessor: await text("preprocessor_config.json"),
    weights: await data("model.safetensors"),
  };
  const modules = [];
  for (const name of manifest.modules ?? []) {
    modules.push({ name, config: await text(`modules/${name}/adapter_config.json`), weights: await data(`modules/${name}/adapter_model.safetensors`) });
  }
  return { model, modules };
}

async function open() {
  engine.start();
  const { model, modules } = await loadModel();
  say("preparing the device");
  const device = await usableDevice(settings.device);
  let report;
  try {
    report = await engine.open(device, model);
  } catch (error) {
    if (device === "cpu") throw error;
    engine.start();
    report = await engine.open("cpu", model);
  }
  for (const module of modules) await engine.addModule(module);
  const cpu = report.device === "cpu";
  $("device").textContent = cpu ? "CPU in this tab" : `${report.device_name}${report.software ? " (software)" : ""}`;
  $("device").title = cpu && !navigator.gpu ? "This browser has no WebGPU" : "";
  $("model").textContent = `${report.model} · ${(report.parameters / 1e6).toFixed(1)} M parameters · ${report.input_size.join(" × ")} px`;
  run.setModules(modules.map((module) => module.name));
  $("library").replaceChildren(...modules.map(({ name }) => Object.assign(document.createElement("li"), { textContent: name })));
  document.body.dataset.ready = "true";
  say("ready");
}

engine.onFatal = async (error) => {
  fail({ message: `${error.message}. The worker starts again; your pictures are kept.` });
  if (++restarts > 3) return say("the device keeps failing; reload the page with ?device=cpu");
  if (restarts > 1) settings.device = "cpu";
  await open();
  await classes.replay();
  run.refresh();
};

async function loadExample() {
  $("example").disabled = true;
  classes.reading += 1;
  for (const own of await exampleTask()) {
    const card = classes.add(own.name);
    await classes.addFiles(card, own.train);
    await classes.addFiles(card, own.test, "test");
  }
  classes.reading -= 1;
  changed();
  $("example").disabled = false;
  say("example loaded: press Start");
}

$("example").addEventListener("click", () => loadExample().catch(fail));
$("dismiss").addEventListener("click", () => fail(null));
$("save-adapter").addEventListener("click", async () => {
  try {
    const [config, weights] = await engine.saveAdapter("learned");
    for (const [name, part] of [["adapter_config.json", config], ["adapter_model.safetensors", weights]]) {
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(new Blob([part])), download: name });
      link.click();
      URL.revokeObjectURL(link.href);
    }
  } catch (error) {
    fail(error);
  }
});

/** Folders and files dropped anywhere: a folder is a class. */
async function dropped(items) {
  for (const entry of items) {
    if (!entry?.isDirectory) continue;
    const reader = entry.createReader();
    const files = [];
    for (let batch = await read(reader); batch.length; batch = await read(reader)) {
      for (const child of batch) if (child.isFile) files.push(await new Promise((resolve, reject) => child.file(resolve, reject)));
    }
    if (files.length) await classes.addFiles(classes.find(entry.name), files);
  }
}
const read = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  dropped([...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.())).catch(fail);
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  if (files.length) classes.addFiles(classes.list.at(-1) ?? classes.add("class 1"), files);
});

classes.draw();
run.setModules([]);
open()
  .then(() => (query.has("example") ? loadExample() : null))
  .catch((error) => {
    fail(error);
    say("cannot start");
  });
