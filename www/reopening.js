// Projects and saved tasks that are opened: the model that they were made with, and what takes the place of what there was.
import { $, fail, say } from "./dom.js";
import { droppedModel, hubModel, isHubId, shippedAs, shippedModel } from "./models.js";
import { openProject } from "./project.js";
import { LOST } from "./protocol.js";
import { fromConfig, isOffered, toConfig } from "./settings.js";
import { measured, openTask } from "./task.js";
import { isSame } from "./visit.js";

export const notYet = () => ({ code: "mismatch", message: "the model is not there yet; wait until the page says “ready”" });

/** What a person is told who would rather not download a model. */
const OF_PROJECTS = { without: "Without it the project opens with the model in use, and results can differ.", no: "Use the model that is here" };
const OF_TASKS = { without: "Without it the saved task cannot answer.", no: "Do not open it" };

export class Reopening {
  #parts;

  /** `parts`: {engine, settings, opening, run, visit, library, classes, tryIt, testZone, chooseModel, bringBack}. */
  constructor(parts) {
    this.#parts = parts;
  }

  /** A project, from its files. */
  async project(name, files) {
    const { settings, opening, run, library, classes, testZone } = this.#parts;
    const { project, classes: own, modules } = await openProject(name, files);
    await this.#ready();
    await run.settle();
    // Another model takes the results with it, and Undo brings them back.
    const results = this.#before();
    const isOpen = () => this.#isOpen(project.model, project.img_size);
    await this.#modelOf(project.model, project.img_size, OF_PROJECTS);
    const chosen = fromConfig(project.config);
    const before = { chosen: settings.chosen, methods: run.chosen };
    const loaded = await this.#instead(async (undone) => {
      settings.set(chosen);
      await library.exchange(modules);
      run.setModules(library.list, project.methods);
      return classes.load(own, () => {
        settings.takeBack(before.chosen);
        run.setModules(library.list, before.methods);
        return undone();
      });
    }, results);
    // Undone, or something else has come instead.
    if (!loaded) return;
    const names = own.map((each) => each.name);
    // Under another model or other settings the results are shown, as out of date.
    const config = toConfig(chosen);
    const same = () => isOpen() && isSame(classes.files, own) && isOffered(project.config);
    run.restore(project.results.map((report) => ({ report, names, fresh: same(), config })));
    testZone.refresh();
    const size = project.img_size ? ` at ${project.img_size} px` : "";
    say(isOpen() ? "project opened" : `project opened; it was made with ${project.model}${size}, and results can differ`);
  }

  /** A saved task, from its files: its classes come without pictures, and it answers; says whether it does. `beside` are files of a model
   *  that came with it. */
  async task(name, files, beside = []) {
    const { run, classes, testZone, bringBack } = this.#parts;
    const { task, adapter, model } = await openTask(name, files);
    await this.#ready();
    // What a person trains does not end for what may be refused.
    if (run.busy) throw { code: "mismatch", message: `${name}: a saved task opens when no method runs: stop first` };
    let taken = false;
    try {
      taken = await this.#takes(task, adapter, [...model, ...beside]);
    } finally {
      // First answers made room for nothing.
      if (!taken) run.quick();
    }
    if (!taken) return false;
    const loaded = await this.#instead((undone) => classes.load(task.classes.map((own) => ({ name: own, pictures: [], test: [] })), undone));
    if (!loaded) return false;
    run.restore([{ report: measured(task), names: task.classes, fresh: true, config: run.config, adapter }]);
    await bringBack();
    testZone.refresh();
    say(`${name} is open: try it with new pictures`);
    $("h-try").scrollIntoView({ block: "start" });
    $("try-files").focus({ preventScroll: true });
    return true;
  }

  /** Brings the model of a task, unless the one in use is it, and gives the task to the worker. False if it was not to be, or the model's
   *  failure is told already. */
  async #takes(task, adapter, model) {
    const { engine, run, chooseModel } = this.#parts;
    if (adapter.whole && !(await chooseModel(() => droppedModel(model)))) return false;
    await run.settle();
    // It takes the place of what the worker has of its method: nothing else may be made of that from now on.
    const before = run.found.get(task.method);
    const wasLive = before?.live;
    run.found.lose([task.method]);
    try {
      await engine.takeBack(adapter);
      return true;
    } catch (error) {
      if (before && !LOST.includes(error.code)) before.live = wasLive;
      if (error.code !== "other-model") throw error;
      const opened = model.length ? await chooseModel(() => droppedModel(model)) : await this.#modelOf(task.model, task.img_size, OF_TASKS);
      if (opened === undefined) throw error;
      if (!opened) return false;
    }
    await engine.takeBack(adapter);
    return true;
  }

  /** The pictures of the last visit come in first: they are what Undo brings back. */
  async #ready() {
    const { opening, visit } = this.#parts;
    if (!opening.model || visit.waits) throw notYet();
    await visit.back;
  }

  /** Something takes the place of classes and results; says whether `load`, which gets what brings back the results with the classes (`undone`, or
   *  those of now), brought it to the end. */
  async #instead(load, undone) {
    const { run, visit, tryIt } = this.#parts;
    await run.settle();
    undone ??= this.#before();
    visit.hold();
    let loaded = false;
    try {
      run.clear();
      await tryIt.refresh();
      loaded = await load(undone);
    } finally {
      visit.release();
    }
    visit.remember();
    return loaded;
  }

  /** What brings the results of now back, once their classes are; of other modules or another model than now they show as out of date. */
  #before() {
    const { run, opening, visit, testZone, bringBack } = this.#parts;
    const { found: { kept, library }, found } = run;
    const { source } = opening.model;
    return async () => {
      // What runs by now is of other classes, and a person's to stop.
      if (run.busy) return;
      await run.settle();
      const same = found.library === library && opening.model.source === source;
      run.clear();
      run.restore(kept.map((own) => ({ ...own, fresh: own.fresh && same, tested: own.tested && same })));
      run.quick();
      await bringBack();
      testZone.refresh();
      visit.remember();
    };
  }

  /** Whether a model is open, at an input size, which is its own where none is given. */
  #isOpen(model, side) {
    const { name, imgSize, inputSize } = this.#parts.opening.model;
    return model === name && (side ? inputSize.every((own) => own === side) : !imgSize);
  }

  /** The model that something was made with; says whether it opened, and undefined if it is open or nobody but its owner has it. One of the Hub is
   *  fetched when a person agrees: nothing else goes out of the page. */
  async #modelOf(model, side, words) {
    const { chooseModel } = this.#parts;
    if (this.#isOpen(model, side)) return undefined;
    const imgSize = side ?? undefined;
    if (!isHubId(model)) {
      const folder = await shippedAs(model);
      return folder && chooseModel(() => shippedModel(folder, imgSize));
    }
    return (await agreed(model, words)) && chooseModel(() => hubModel(model, imgSize));
  }
}

function agreed(id, { without, no }) {
  $("fetch-id").textContent = id;
  $("fetch-without").textContent = without;
  $("fetch-no").textContent = no;
  const dialog = $("fetch-model");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
