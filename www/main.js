// Wires the page: engine, columns, model, what comes in, what is kept, settings from the address.
import { Classes } from "./classes.js";
import { CompositionView } from "./composition.js";
import { missing } from "./device.js";
import { method } from "./methods.js";
import { $, fail, listed, say } from "./dom.js";
import { droppedFiles, openedFiles, pathOf, sort, unpacked } from "./drops.js";
import { Engine } from "./engine.js";
import { exampleTask, swatches } from "./example.js";
import { download, unzip } from "./archive.js";
import { Learned } from "./learned.js";
import { Library } from "./library.js";
import { droppedModel, hubModel, namedModel, shippedModel } from "./models.js";
import { Offline } from "./offline.js";
import { Opening } from "./opening.js";
import { projectAmong, saveProject } from "./project.js";
import { Reopening, notYet } from "./reopening.js";
import { Run } from "./run.js";
import { Saving } from "./saving.js";
import { bindSettings, settings } from "./settings.js";
import { clearEverything } from "./store.js";
import { taskAmong } from "./task.js";
import { TestZone } from "./testzone.js";
import { TryIt } from "./tryit.js";
import { Visit } from "./visit.js";

const EMBEDDED = "base";

const engine = new Engine();
const classes = new Classes(engine, { changed: () => changed(), came: () => visit.grow() });
const tryIt = new TryIt(engine, classes);
const composition = new CompositionView(engine, () => tryIt.refresh());
const run = new Run(engine, classes, composition, settings, { done: () => finished(), learned: () => keepLearned(), libraryChanges: () => library.changes > 0 });
const library = new Library(engine, { changing: () => run.refresh(), changed: () => libraryChanged() });
const saving = new Saving(engine, library, () => opening.model.source.kind === "files");
const testZone = new TestZone(classes, run);
const opening = new Opening({ engine, settings, library, classes, tryIt, run }, () => opened());
const visit = new Visit({ settings, library, classes, tryIt, run, opening });
const learned = new Learned(engine, run);
const reopening = new Reopening({ engine, settings, opening, run, visit, library, classes, tryIt, testZone, chooseModel: (load) => chooseModel(load), bringBack: () => bringBack() });
const offline = new Offline({ busy: () => run.busy, trained: () => learned.unkept, keep: () => visit.settle() });

function changed() {
  run.refresh();
  testZone.refresh();
  tryIt.fit();
  run.quick();
  visit.remember();
  bringBack();
  rename();
}

/** Answers, and what is kept, say what classes are called now. */
async function rename() {
  if (!(await run.rename())) return;
  await keepLearned();
  await tryIt.refresh();
}

function libraryChanged() {
  run.setModules(library.list);
  changed();
}

async function opened() {
  saving.refresh(run.found.live, run.found.suggestion?.method);
  changed();
  if (await visit.comeBack()) testZone.refresh();
  await bringBack();
}

async function keepLearned() {
  if (await learned.keep()) visit.remember();
}

/** What was learned answers again where the worker does not have it any more. */
async function bringBack() {
  if (!(await learned.giveBack())) return;
  await run.rename();
  // Test pictures may have changed while nobody could measure them.
  if (run.found.untested.length) run.quick();
  if (!run.busy) saving.refresh(run.found.live, run.found.suggestion?.method);
  await tryIt.refresh();
}

async function finished() {
  testZone.draw();
  if (run.state === "idle") {
    opening.worked();
    saving.refresh(run.found.live, run.found.suggestion?.method);
  }
  visit.remember();
  await run.rename();
  await tryIt.refresh();
  await keepLearned();
  await offline.goOn();
}

/** Another model, chosen by a person: weights of the one before say nothing about it. */
const chooseModel = (load) => {
  $("models").close();
  const withKept = async () => {
    const { model, modules } = await load();
    return { model, modules: [...modules, ...visit.modules] };
  };
  return opening.choose(withKept, () => {
    library.removed.clear();
    run.clear();
  });
};

async function loadExample() {
  $("example").disabled = true;
  try {
    say("drawing the example");
    await visit.back;
    await run.settle();
    run.clear();
    await tryIt.refresh();
    await classes.load((await exampleTask()).map(({ name, train, test }) => ({ name, pictures: train, test })));
    say("example loaded: press Start");
    // The button that was pressed is gone.
    if (document.activeElement === document.body) $("adapt").focus({ preventScroll: true });
  } finally {
    $("example").disabled = false;
  }
}

/** What came in, however it came; a folder can be a project or a saved task that is not packed any more. */
async function takeIn(files, onto) {
  const entries = files.map((file) => [pathOf(file), file]);
  const project = projectAmong(entries);
  const task = project ? undefined : taskAmong(entries);
  const own = new Set((project ?? task)?.values());
  const rest = files.filter((file) => !own.has(file));
  const folderOf = (found, file) => pathOf(found.get(file)).split("/").at(-2) ?? file;
  if (task) return takeTask(folderOf(task, "task.json"), task, sort(rest), onto);
  if (rest.length) await take(sort(rest), onto);
  if (project) await reopening.project(folderOf(project, "project.json"), project);
}

/** A saved task, on the model that came with it if need be; its classes take in pictures that did. */
async function takeTask(name, task, { model, ...rest }, onto) {
  const isOpen = await reopening.task(name, task, model);
  // What came beside a task that is not opened is no part of it.
  await take({ ...rest, model: [] }, isOpen ? onto : undefined, false);
}

/** Pictures, modules, models and zips; loose pictures are of the class that they were dropped on. One saved task can be open: of several,
 *  or where one is, the adapters are modules. */
async function take(found, onto, alone = found.projects.length === 1 && !found.modules.length) {
  if (found.classes.size) await classes.addTogether(found.classes);
  if (found.model.length) await chooseModel(() => droppedModel(found.model));
  if (found.modules.length) await join(found.modules);
  for (const file of found.projects) await open(file, onto, alone);
  if (found.loose.length) await classes.addFiles(onto ?? classes.current ?? classes.add("class 1"), found.loose);
  if (found.other.length) fail({ message: `not used: ${listed(found.other.map((file) => file.name))}; pictures, PEFT modules, models, projects and saved tasks can be dropped here` });
}

async function join(modules) {
  if (run.busy) fail({ message: "modules join the library when no method runs: stop first" });
  else await library.addFiles(modules);
}

/** A zip that is no project: everything in it as if it had been dropped, but for zips in the zip. */
async function openZip(name, files, onto) {
  const { projects, other, ...found } = sort(unpacked(name, files, !onto));
  const { classes: { size }, loose, modules, model } = found;
  if (!size && !loose.length && !modules.length && !model.length) throw { message: `${name}: no pictures, no project and no PEFT module in it` };
  await take({ ...found, projects: [], other: [...projects, ...other] }, onto);
}

/** A project or a saved task, or else another zip. */
async function open(file, onto, alone = true) {
  try {
    const files = await unzip(file);
    const entries = Object.entries(files);
    const project = projectAmong(entries);
    if (project) return await reopening.project(file.name, project);
    const task = alone ? taskAmong(entries) : undefined;
    if (!task) return await openZip(file.name, files, onto);
    const own = [...task.values()];
    const { projects, other, ...rest } = sort(unpacked(file.name, Object.fromEntries(entries.filter(([, blob]) => !own.includes(blob)))));
    await takeTask(file.name, task, { ...rest, projects: [], other: [...projects, ...other] }, onto);
  } catch (error) {
    fail(error);
  }
}

async function save() {
  if (!opening.model || visit.waits) throw notYet();
  if (classes.reading) throw { message: "the project is not saved: wait until all pictures are read" };
  // What is out of date would not replay to the same numbers.
  const whole = [...run.found].filter(([name]) => run.found.complete(name));
  const results = whole.map(([, { report }]) => report);
  const modules = library.list.map(({ name, config, weights }) => ({ name, config, weights }));
  download(await saveProject({ model: opening.model.name, imgSize: opening.model.imgSize, config: run.config, methods: run.chosen, classes: classes.list, modules, results }), "loraloom-project.zip");
  const left = [...run.found.values()].filter(({ report }) => !results.includes(report));
  if (!left.length) say("project saved");
  else if (left.every(({ report }) => report.opened)) say("project saved without the saved task that is open: Save under “Keep what was learned” keeps it");
  else say("project saved without the results that are out of date or were stopped early");
}

/** The model of the address, or else the last one, or else the embedded one. */
async function firstModel(kept) {
  if (settings.model || settings.imgSize) return namedModel(settings.model ?? EMBEDDED, settings.imgSize);
  const { source, ...files } = kept?.model ?? {};
  try {
    if (source?.kind === "files" && files.weights) return { model: { ...files, source }, modules: [] };
    if (source?.kind === "files") fail({ message: `this browser no longer has the files of ${files.name}: drop them again to go on with it` });
    if (source?.kind === "hub") return await hubModel(source.id, source.imgSize);
    if (source?.kind === "shipped") return await shippedModel(source.name, source.imgSize);
  } catch (error) {
    if (error.code === "cancelled") throw error;
    fail(error);
  }
  return namedModel(EMBEDDED);
}

async function start() {
  const reason = missing();
  if (reason) {
    run.setState("off", "open this page in another browser");
    throw { code: "missing-feature", message: reason };
  }
  swatches($("swatches"));
  engine.start();
  const kept = await visit.begin();
  const first = async () => {
    if (visit.lost) fail({ message: visit.lost });
    const { model, modules } = await firstModel(kept);
    return { model, modules: [...modules, ...visit.modules] };
  };
  await opening.choose(first);
  // Pictures of an earlier visit are worth more than an example.
  if (settings.example && opening.model && !classes.list.length) await loadExample();
}

$("example").addEventListener("click", () => loadExample().catch(fail));
$("dismiss").addEventListener("click", () => {
  fail(null);
  $("adapt").focus({ preventScroll: true });
});
$("model").addEventListener("click", () => {
  $("models-lose").hidden = !run.busy && !run.found.live.some((name) => method(name).steps);
  $("models").showModal();
});
$("model-shipped").addEventListener("click", () => chooseModel(() => namedModel(EMBEDDED)));
$("hub-form").addEventListener("submit", (event) => {
  event.preventDefault();
  // The form itself refuses what is no id, and says so.
  chooseModel(() => hubModel($("hub-id").value.trim(), Number($("hub-size").value) || undefined));
});
$("model-files").addEventListener("change", (event) => {
  const files = [...event.target.files];
  event.target.value = "";
  chooseModel(() => droppedModel(files));
});
for (const [id, take] of [["folder-files", (files) => takeIn(openedFiles(files))], ["open-project", async (files) => { for (const file of files) await open(file); }]]) {
  $(id).addEventListener("change", (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    take(files).catch(fail);
  });
}
$("save-project").addEventListener("click", () => save().catch(fail));
$("clear").addEventListener("click", () => $("sure").showModal());
let clearing = false;
$("clear-now").addEventListener("click", async () => {
  clearing = true;
  visit.hold();
  await clearEverything().catch(() => {});
  location.reload();
});
// A run cannot be kept, nor a picture that is not read yet.
addEventListener("beforeunload", (event) => (run.busy || classes.reading) && !clearing && event.preventDefault());
// Whoever leaves at once keeps the last change, too. What is written only while the page is taken down Chromium loses now and
// then, committed or not.
addEventListener("beforeunload", () => visit.leave());
addEventListener("pagehide", () => visit.leave());
document.addEventListener("visibilitychange", () => document.hidden && visit.leave());
$("threshold").addEventListener("change", () => visit.remember());
$("adapt").addEventListener("change", () => visit.remember());
bindSettings(() => changed());
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  // Entries must be taken from the event before anything is awaited.
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const onto = classes.at(event.target);
  const inLibrary = event.target.closest?.("#modules");
  const arrived = (files) => (inLibrary ? join(files) : takeIn(files, onto));
  if (!entries.length) fail({ message: "only files can be dropped: save the picture first, then drop its file" });
  droppedFiles(entries, !inLibrary).then(arrived).catch(fail);
});
addEventListener("paste", (event) => {
  // Spreadsheets and word processors put a picture of the text beside it: in a field the text is meant.
  if (event.clipboardData?.types.includes("text/plain") && event.target.matches?.("input[type=text], input[type=number]")) return;
  const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  if (files.length) takeIn(files).catch(fail);
});

// Errors and headings stay clear of the bar, which has more rows on a phone.
new ResizeObserver(([{ target }]) => document.documentElement.style.setProperty("--bar", `${target.offsetHeight}px`)).observe(document.querySelector(".bar-top"));
classes.draw();
run.setModules([]);
// From here on the page tells of failures itself (guard.js).
document.body.dataset.begun = "true";
start()
  .catch((error) => {
    fail(error);
    say("cannot start");
  })
  // Without a service worker the page works as well, only not offline.
  .finally(() => offline.begin().catch(() => {}));
