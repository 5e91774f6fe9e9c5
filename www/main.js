// Wires the page: engine, columns, model, what comes in, what is kept, settings from the address.
import { download } from "./archive.js";
import { Classes } from "./classes.js";
import { CompositionView } from "./composition.js";
import { $, fail, say } from "./dom.js";
import { droppedFiles, sort } from "./drops.js";
import { Engine } from "./engine.js";
import { exampleTask } from "./example.js";
import { Library } from "./library.js";
import { droppedModel, hubModel, isHubId, shippedModel } from "./models.js";
import { openProject, saveProject } from "./project.js";
import { Run } from "./run.js";
import { Saving } from "./saving.js";
import { clearEverything, keep, restore } from "./store.js";
import { TestZone } from "./testzone.js";
import { TryIt } from "./tryit.js";

const query = new URLSearchParams(location.search);
const settings = {
  device: query.get("device") ?? "auto",
  model: query.get("model") ?? "base",
  steps: Number(query.get("steps") ?? 40),
  seed: Number(query.get("seed") ?? 0),
  folds: Number(query.get("folds") ?? 3),
};
const RESTARTS = 3;

const engine = new Engine();
const classes = new Classes(engine, () => changed());
const tryIt = new TryIt(engine, classes);
const composition = new CompositionView(engine, () => tryIt.refresh());
const run = new Run(engine, classes, composition, settings, () => finished());
const library = new Library(engine, () => libraryChanged());
const saving = new Saving(engine, library);
const testZone = new TestZone(classes, () => run.reports);
let model = null;
let restarts = 0;
let loading = false;

function changed() {
  run.refresh();
  run.stale();
  testZone.refresh();
  run.quick();
  remember();
}

function libraryChanged() {
  run.setModules(library.list.length);
  changed();
}

async function finished() {
  testZone.draw();
  saving.refresh([...run.reports.keys()]);
  remember();
  await tryIt.refresh();
}

let pending = 0;
function remember() {
  if (loading || run.state === "off") return;
  clearTimeout(pending);
  pending = setTimeout(() => {
    const modules = library.own.map(({ name, config, weights }) => ({ name, config, weights }));
    keep({ classes: classes.files, modules, methods: run.chosen, reports: [...run.reports.values()], config: run.config });
  }, 500);
}

/** Which device can be asked for: WebGPU needs an adapter with timestamps, which the GPU backend starts with. */
async function usableDevice(wanted) {
  if (wanted === "cpu") return { device: "cpu", why: "asked for in the address" };
  if (!navigator.gpu) return { device: "cpu", why: "this browser has no WebGPU" };
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return { device: "cpu", why: "WebGPU found no adapter" };
  if (!adapter.features.has("timestamp-query")) return { device: "cpu", why: "the GPU has no timestamp queries" };
  // A GPU in software is slower than the CPU device; it is taken only when asked for.
  const software = adapter.info?.isFallbackAdapter || /swiftshader|llvmpipe|software|basic render/i.test(`${adapter.info?.description} ${adapter.info?.architecture}`);
  if (software && wanted !== "gpu") return { device: "cpu", why: "the only WebGPU adapter is software" };
  return { device: wanted, why: "" };
}

async function openDevice() {
  say("preparing the device");
  const { device, why } = await usableDevice(settings.device);
  try {
    return { report: await engine.open(device, model), why };
  } catch (error) {
    if (device === "cpu" || ["restarted", "config", "mismatch", "safetensors", "unsupported", "missing-tensor", "tensor-shape"].includes(error.code)) throw error;
    engine.start();
    return { report: await engine.open("cpu", model), why: error.message };
  }
}

/** Opens a model on the device and puts modules and pictures back. */
async function useModel(next, modules) {
  const before = model;
  run.setState("off");
  document.body.dataset.ready = "false";
  model = next;
  try {
    const { report, why } = await openDevice();
    const cpu = report.device === "cpu";
    $("device").textContent = cpu ? `CPU in this tab${why ? ` (${why})` : ""}` : `${report.device_name}${report.software ? " (software)" : ""}`;
    $("model").textContent = `${report.model} · ${(report.parameters / 1e6).toFixed(1)} M parameters · ${report.input_size.join(" × ")} px`;
  } catch (error) {
    model = before;
    if (before) run.setState("idle");
    throw error;
  }
  await library.replay(modules);
  run.setModules(library.list.length);
  await classes.replay();
  await tryIt.replay();
  run.setState("idle");
  document.body.dataset.ready = "true";
  say("ready");
  changed();
}

async function chooseModel(load) {
  $("models").close();
  fail(null);
  try {
    const { model: next = null, modules = [], ...plain } = await load();
    const own = library.own;
    await useModel(next ?? plain, [...modules, ...own]);
  } catch (error) {
    fail(error);
    say(model ? "ready" : "cannot start");
  }
}

const loadNamed = (name) => (isHubId(name) ? hubModel(name) : shippedModel(name));

engine.onFatal = async (error) => {
  fail({ message: `${error.message}. The worker starts again; your pictures are kept.` });
  run.setState("off");
  restarts += 1;
  if (restarts > RESTARTS) return say("the device keeps failing; reload the page with ?device=cpu");
  if (restarts > 1) settings.device = "cpu";
  engine.start();
  if (!model) return;
  try {
    await useModel(model, library.list);
  } catch (failure) {
    if (failure.code !== "restarted") fail(failure);
  }
};

async function loadExample() {
  $("example").disabled = true;
  const example = await exampleTask();
  await classes.load(example.map(({ name, train, test }) => ({ name, pictures: train, test })));
  $("example").disabled = false;
  say("example loaded: press Start");
}

/** Pictures, modules, models and projects, however they came. */
async function takeIn(files) {
  const found = sort(files);
  for (const [name, { pictures, test }] of found.classes) {
    const own = classes.find(name);
    if (pictures.length) await classes.addFiles(own, pictures);
    if (test.length) await classes.addFiles(own, test, "test");
  }
  if (found.modules.length) await library.addFiles(found.modules);
  if (found.model.length) await chooseModel(() => droppedModel(found.model));
  for (const file of found.projects) await open(file);
  if (found.loose.length) await classes.addFiles(classes.list.at(-1) ?? classes.add("class 1"), found.loose);
}

/** A project file, or else a zip of modules. */
async function open(file) {
  try {
    const { project, classes: own, modules } = await openProject(file);
    Object.assign(settings, { steps: project.config.train?.num_steps ?? settings.steps, seed: project.config.train?.seed ?? settings.seed, folds: project.config.folds ?? settings.folds });
    loading = true;
    await library.replay(modules);
    run.setModules(library.list.length, project.methods);
    await classes.load(own);
    loading = false;
    restoreReports(project.results, project.config);
    say(project.model === model.name ? "project opened" : `project opened; it was made with ${project.model}`);
  } catch (error) {
    loading = false;
    if (/no project\.json/.test(error.message)) await library.addFiles([file]);
    else fail(error);
  }
}

function restoreReports(reports, config) {
  run.config = config;
  for (const report of reports) run.finish(report);
  testZone.refresh();
}

async function save() {
  const results = [...run.reports.values()];
  const modules = library.list.map(({ name, config, weights }) => ({ name, config, weights }));
  const config = run.config ?? { train: { num_steps: settings.steps, seed: settings.seed }, folds: settings.folds };
  download(await saveProject({ model: model.name, config, classes: classes.list, modules, results }), "loraloom-project.zip");
  say("project saved");
}

async function start() {
  engine.start();
  const { model: next = null, modules = [], ...plain } = await loadNamed(settings.model);
  const kept = query.has("example") ? undefined : await restore();
  await useModel(next ?? plain, [...modules, ...(kept?.modules ?? [])]);
  if (query.has("example")) return loadExample();
  if (!kept?.classes?.length) return undefined;
  loading = true;
  await classes.load(kept.classes);
  if (kept.methods?.length) run.setModules(library.list.length, kept.methods);
  loading = false;
  restoreReports(kept.reports ?? [], kept.config);
  return say("your pictures from last time are back");
}

$("example").addEventListener("click", () => loadExample().catch(fail));
$("dismiss").addEventListener("click", () => fail(null));
$("model").addEventListener("click", () => $("models").showModal());
$("model-shipped").addEventListener("click", () => chooseModel(() => shippedModel("base")));
$("hub-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = $("hub-id").value.trim();
  if (isHubId(id)) chooseModel(() => hubModel(id));
  else $("hub-id").setAttribute("aria-invalid", "true");
});
$("model-files").addEventListener("change", (event) => chooseModel(() => droppedModel([...event.target.files])));
$("folder-files").addEventListener("change", async (event) => {
  await takeIn([...event.target.files]).catch(fail);
  event.target.value = "";
});
$("save-project").addEventListener("click", () => save().catch(fail));
$("open-project").addEventListener("change", async (event) => {
  for (const file of event.target.files) await open(file);
  event.target.value = "";
});
$("clear").addEventListener("click", async () => {
  clearTimeout(pending);
  loading = true;
  await clearEverything();
  location.reload();
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
  droppedFiles(entries).then(takeIn).catch(fail);
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  if (files.length) takeIn(files).catch(fail);
});

if ("serviceWorker" in navigator && location.protocol !== "file:") {
  // Without one the page works as well, only not offline.
  navigator.serviceWorker.register("sw.js").catch(() => {});
}
classes.draw();
run.setModules(0);
start().catch((error) => {
  if (error.code === "restarted") return;
  fail(error);
  say("cannot start");
});
