// Wires the page: engine, columns, model, what comes in, what is kept, settings from the address.
import { Classes } from "./classes.js";
import { CompositionView } from "./composition.js";
import { missing, usableDevice } from "./device.js";
import { $, fail, say } from "./dom.js";
import { droppedFiles, sort } from "./drops.js";
import { Engine } from "./engine.js";
import { exampleTask, swatches } from "./example.js";
import { download } from "./archive.js";
import { Library } from "./library.js";
import { droppedModel, hubModel, isHubId, namedModel, shippedAs, shippedModel } from "./models.js";
import { openProject, saveProject } from "./project.js";
import { Run } from "./run.js";
import { Saving } from "./saving.js";
import { bindSettings, settings } from "./settings.js";
import { clearEverything, keep, restore } from "./store.js";
import { TestZone } from "./testzone.js";
import { TryIt } from "./tryit.js";

const RESTARTS = 3;
/** Milliseconds between a change and keeping it. */
const KEEP_AFTER = 500;
const EMBEDDED = "base";
/** Errors that are the device's; a model that is refused would be refused by another device, too. */
const OF_THE_DEVICE = ["device", "fatal"];

const engine = new Engine();
const classes = new Classes(engine, () => changed());
const tryIt = new TryIt(engine, classes);
const composition = new CompositionView(engine, () => tryIt.refresh());
const run = new Run(engine, classes, composition, settings, () => finished());
const library = new Library(engine, () => libraryChanged());
const saving = new Saving(engine, library);
const testZone = new TestZone(classes, run);
let model = null;
let restarts = 0;
let loading = false;
let pending = 0;
/** Another tab has switched to a new version of the page. */
let outdated = false;
/** What the last visit left, until a model is open to take it. */
let lastVisit = null;

function changed() {
  run.refresh();
  testZone.refresh();
  run.quick();
  remember();
}

function libraryChanged() {
  // Results with other modules are out of date as much as results with other pictures.
  classes.version += 1;
  run.setModules(library.list.length);
  changed();
}

async function finished() {
  testZone.draw();
  if (run.state === "idle") saving.refresh(run.live);
  remember();
  await tryIt.refresh();
  reloadIfOutdated();
}

/** Keeps everything a moment after the last change. */
function remember() {
  if (loading || run.state === "off") return;
  clearTimeout(pending);
  pending = setTimeout(rememberNow, KEEP_AFTER);
}

function rememberNow() {
  clearTimeout(pending);
  pending = 0;
  if (loading || run.state === "off") return;
  const modules = library.own.map(({ name, config, weights }) => ({ name, config, weights }));
  const { source, ...files } = model;
  keep({ classes: classes.files, modules, removed: [...library.removed], methods: run.chosen, results: run.kept, settings: { ...settings.chosen, threshold: tryIt.threshold },
    model: { source, ...(source.kind === "files" ? files : {}) } });
}

async function openDevice() {
  const usable = await usableDevice(settings.device, settings.why);
  say(usable.device === "gpu" ? "preparing the GPU: compiling shaders" : "preparing the CPU device");
  try {
    return { ...usable, report: await engine.open(usable.device, model) };
  } catch (error) {
    if (usable.device === "cpu" || !OF_THE_DEVICE.includes(error.code)) throw error;
    engine.start();
    return { device: "cpu", why: error.message, report: await engine.open("cpu", model) };
  }
}

/** Opens a model on the device and puts modules and pictures back. */
async function useModel(next, modules, accepted = () => {}) {
  const before = model;
  run.setState("off");
  document.body.dataset.ready = "false";
  model = next;
  try {
    const { device, name, software, why, report } = await openDevice();
    $("device").textContent = device === "cpu" ? `CPU in this tab${why ? ` (${why})` : ""}` : `${name}, WebGPU${software ? " (software)" : ""}`;
    $("model").textContent = `${report.model} · ${(report.parameters / 1e6).toFixed(1)} M parameters · ${report.input_size.join(" × ")} px`;
  } catch (error) {
    model = before;
    // A device that failed takes the model in use with it.
    if (before && (OF_THE_DEVICE.includes(error.code) || !engine.isOpen)) engine.onFatal(error);
    else if (before) run.setState("idle");
    throw error;
  }
  accepted();
  await library.replay(modules);
  run.setModules(library.list.length);
  await classes.replay();
  await tryIt.replay();
  run.setState("idle");
  document.body.dataset.ready = "true";
  say("ready");
  changed();
  if (lastVisit) await comeBack();
}

/** Pictures, choices and results of the last visit. */
async function comeBack() {
  const { classes: kept = [], methods = [], results = [], model: used } = lastVisit;
  lastVisit = null;
  if (methods.length) run.setModules(library.list.length, methods);
  // Pictures may have come in while the model was loaded.
  const untouched = !classes.list.length && JSON.stringify(used?.source) === JSON.stringify(model.source);
  for (const { name, pictures, test } of kept) {
    const own = classes.list.find((known) => known.name === name) ?? classes.add(name);
    await classes.addFiles(own, pictures);
    if (test.length) await classes.addFiles(own, test, "test");
  }
  if (kept.length) {
    run.restore(results.map((own) => ({ ...own, fresh: own.fresh && untouched })));
    testZone.refresh();
    say("your pictures from last time are back");
  }
  loading = false;
}

async function chooseModel(load) {
  $("models").close();
  fail(null);
  try {
    const { model: next, modules } = await load();
    await run.settle();
    // What a model is refused for leaves everything as it is.
    await useModel(next, [...modules, ...library.own, ...(lastVisit?.modules ?? [])], () => {
      library.removed.clear();
      // Weights of another model say nothing about this one.
      classes.version += 1;
      run.clear();
    });
  } catch (error) {
    if (error.code === "restarted") return;
    fail(error);
    say(model ? "ready" : "cannot start");
  }
}

engine.onFatal = async (error) => {
  fail({ message: `${error.message}. The worker starts again; your pictures are kept, and Start trains again what was trained.` });
  run.setState("off");
  restarts += 1;
  if (restarts > RESTARTS) return say("the device keeps failing; reload the page with ?device=cpu");
  if (restarts > 1) Object.assign(settings, { device: "cpu", why: "the GPU failed" });
  engine.start();
  run.lostWorker();
  if (!model) return;
  try {
    await useModel(model, library.all);
  } catch (failure) {
    if (failure.code !== "restarted") fail(failure);
  }
};

async function loadExample() {
  $("example").disabled = true;
  try {
    say("drawing the example");
    await run.settle();
    run.clear();
    await classes.load((await exampleTask()).map(({ name, train, test }) => ({ name, pictures: train, test })));
    say("example loaded: press Start");
  } finally {
    $("example").disabled = false;
  }
}

/** Pictures, modules, models and projects, however they came. */
async function takeIn(files) {
  const found = sort(files);
  for (const [name, { pictures, test }] of found.classes) {
    const own = classes.find(name);
    if (pictures.length) await classes.addFiles(own, pictures);
    if (test.length) await classes.addFiles(own, test, "test");
  }
  if (found.model.length) await chooseModel(() => droppedModel(found.model));
  if (found.modules.length && ["running", "paused", "stopping"].includes(run.state)) fail({ message: "modules join the library when no method runs: stop first" });
  else if (found.modules.length) await library.addFiles(found.modules);
  for (const file of found.projects) await open(file);
  if (found.loose.length) await classes.addFiles(classes.current ?? classes.add("class 1"), found.loose);
  if (found.other.length) fail({ message: `not used: ${found.other.map((file) => file.name).join(", ")}; pictures, PEFT modules, models and projects can be dropped here` });
}

/** A project file, or else a zip of modules. */
async function open(file) {
  try {
    const { project, classes: own, modules } = await openProject(file);
    if (project.model !== model.name) {
      const folder = isHubId(project.model) ? null : await shippedAs(project.model);
      if (isHubId(project.model)) await chooseModel(() => hubModel(project.model));
      else if (folder) await chooseModel(() => shippedModel(folder));
    }
    const { train = {}, folds } = project.config;
    settings.set({ steps: train.num_steps, seed: train.seed, folds });
    await run.settle();
    loading = true;
    run.clear();
    await library.exchange(modules);
    run.setModules(library.list.length, project.methods);
    await classes.load(own);
    loading = false;
    const names = own.map(({ name }) => name);
    // Under another model or other settings the results are shown, as out of date.
    const config = { train: { num_steps: train.num_steps, seed: train.seed }, folds };
    run.restore(project.results.map((report) => ({ report, names, fresh: project.model === model.name, config })));
    testZone.refresh();
    say(project.model === model.name ? "project opened" : `project opened; it was made with ${project.model}, and results can differ`);
  } catch (error) {
    loading = false;
    if (error.code === "no-project") await library.addFiles([file]);
    else fail(error);
  }
}

async function save() {
  // What is out of date would not replay to the same numbers.
  const whole = [...run.found].filter(([name]) => run.complete(name));
  const results = whole.map(([, { report }]) => report);
  const modules = library.list.map(({ name, config, weights }) => ({ name, config, weights }));
  download(await saveProject({ model: model.name, config: run.config, methods: run.chosen, classes: classes.list, modules, results }), "loraloom-project.zip");
  say(whole.length < run.found.size ? "project saved without the results that are out of date or were stopped early" : "project saved");
}

/** The model of the address, or else the last one, or else the embedded one. */
async function firstModel(kept) {
  if (settings.model) return namedModel(settings.model);
  const { source, ...files } = kept?.model ?? {};
  try {
    if (source?.kind === "files" && files.weights) return { model: { ...files, source }, modules: [] };
    if (source?.kind === "hub") return await hubModel(source.id);
  } catch (error) {
    fail(error);
  }
  return namedModel(EMBEDDED);
}

async function start() {
  const reason = missing();
  if (reason) throw { code: "missing-feature", message: reason };
  swatches($("swatches"));
  // Nothing is kept before what was kept is back.
  loading = true;
  engine.start();
  const kept = await restore();
  settings.set(kept?.settings ?? {});
  if (kept?.settings?.threshold !== undefined) tryIt.threshold = kept.settings.threshold;
  library.removed = new Set(kept?.removed);
  lastVisit = kept ?? {};
  const { model: first, modules } = await firstModel(kept);
  await useModel(first, [...modules, ...(kept?.modules ?? [])]);
  // Pictures of an earlier visit are worth more than an example.
  if (settings.example && !classes.list.length) await loadExample();
}

/** Keeps the page for visits without a network, once it is there; a new version waits for a click. */
async function offline() {
  if (!("serviceWorker" in navigator) || location.protocol === "file:") return;
  const { serviceWorker } = navigator;
  const registration = await serviceWorker.register("sw.js");
  const offer = () => ($("update").hidden = !(registration.waiting && serviceWorker.controller));
  registration.addEventListener("updatefound", () => registration.installing?.addEventListener("statechange", offer));
  offer();
  // The tab that asked takes the new version at once; other tabs do when nothing runs in them.
  if (serviceWorker.controller) serviceWorker.addEventListener("controllerchange", () => {
    outdated = true;
    reloadIfOutdated();
  }, { once: true });
  $("update").addEventListener("click", () => {
    rememberNow();
    registration.waiting?.postMessage({ type: "SKIP_WAITING" });
  });
}

function reloadIfOutdated() {
  if (outdated && !["running", "paused", "stopping"].includes(run.state)) location.reload();
}

$("example").addEventListener("click", () => loadExample().catch(fail));
$("dismiss").addEventListener("click", () => {
  fail(null);
  $("adapt").focus();
});
$("model").addEventListener("click", () => $("models").showModal());
$("model-shipped").addEventListener("click", () => chooseModel(() => namedModel(EMBEDDED)));
$("hub-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = $("hub-id").value.trim();
  if (isHubId(id)) chooseModel(() => hubModel(id));
  else $("hub-id").setAttribute("aria-invalid", "true");
});
$("model-files").addEventListener("change", (event) => {
  const files = [...event.target.files];
  event.target.value = "";
  chooseModel(() => droppedModel(files));
});
for (const [id, take] of [["folder-files", takeIn], ["open-project", async (files) => { for (const file of files) await open(file); }]]) {
  $(id).addEventListener("change", (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    take(files).catch(fail);
  });
}
$("save-project").addEventListener("click", () => save().catch(fail));
$("clear").addEventListener("click", () => $("sure").showModal());
$("clear-now").addEventListener("click", async () => {
  clearTimeout(pending);
  loading = true;
  await clearEverything();
  location.reload();
});
// Whoever leaves at once keeps the last change, too.
addEventListener("pagehide", () => pending && rememberNow());
$("threshold").addEventListener("change", remember);
$("adapt").addEventListener("change", remember);
bindSettings(() => changed());
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  // Entries must be taken from the event before anything is awaited.
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
  droppedFiles(entries).then(takeIn).catch(fail);
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  if (files.length) takeIn(files).catch(fail);
});

classes.draw();
run.setModules(0);
start()
  .catch((error) => {
    if (error.code === "restarted") return;
    fail(error);
    say("cannot start");
  })
  // Without a service worker the page works as well, only not offline.
  .finally(() => offline().catch(() => {}));
