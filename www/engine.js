// The page's end of the worker, and a worker's end of a helper: promises for requests, a listener for events, and a fresh
// worker after a failure.
import { EVENT, LOST, REQUEST } from "./protocol.js";

/** A promise that others wait for, and whether it was kept. */
function gate() {
  let open;
  const passed = new Promise((resolve) => (open = resolve));
  const own = { isOpen: false, passed };
  own.open = () => {
    own.isOpen = true;
    open();
  };
  return own;
}

export class Engine {
  #worker = null;
  #waiting = new Map();
  #next = 1;
  #opening = null;
  /** Numbers of pictures; never used twice, whatever worker or model is there. */
  #pictures = 0;
  /** Resolves when a model is open: what comes earlier waits, also over a restart. */
  #gate = gate();
  /** Counts the models that were opened: what a worker keeps belongs to one of them. */
  generation = 0;
  /** Whether the model that is open computes on a GPU. */
  onGpu = false;
  onRun = () => {};
  onFolds = () => {};
  onFatal = () => {};

  start() {
    if (this.#gate.isOpen) this.#gate = gate();
    this.#worker?.terminate();
    this.#giveUp("restarted");
    const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker = worker;
    let failed = false;
    // One failure can surface in several places; only the first one of a worker counts.
    const fatal = (error) => {
      if (failed || worker !== this.#worker) return;
      failed = true;
      // Whoever opens a model falls back to another device, or tells.
      if (this.#opening) this.#opening({ ...error, code: "fatal" });
      else this.onFatal(error);
    };
    worker.addEventListener("message", ({ data }) => this.#receive(data, fatal));
    worker.addEventListener("error", (event) => fatal({ code: "fatal", message: event.message || "the worker stopped" }));
  }

  /** Ends the worker; what it was asked fails, and so does what it will be. */
  end() {
    this.#worker?.terminate();
    this.#worker = null;
    this.#giveUp("ended");
  }

  #giveUp(how) {
    for (const { reject } of this.#waiting.values()) reject({ code: "restarted", message: `the worker was ${how}` });
    this.#waiting.clear();
  }

  #receive(data, fatal) {
    if (data.event === EVENT.run) return this.onRun(data.value);
    if (data.event === EVENT.folds) return this.onFolds(data.method);
    if (data.event === EVENT.fatal) return fatal(data.error);
    const waiting = this.#waiting.get(data.id);
    this.#waiting.delete(data.id);
    if (data.ok) waiting?.resolve(data.result);
    else waiting?.reject(data.error);
  }

  get isOpen() {
    return this.#gate.isOpen;
  }

  #ask(type, fields = {}) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, type, ...fields });
    });
  }

  async open(device, model) {
    const wasOpen = this.#gate.isOpen;
    if (wasOpen) this.#gate = gate();
    const own = this.#gate;
    try {
      const report = await this.#open(device, model);
      this.generation += 1;
      this.onGpu = report.device === "gpu";
      own.open();
      return report;
    } catch (error) {
      // A model that is refused leaves the one before it in use.
      if (wasOpen && !LOST.includes(error.code)) own.open();
      throw error;
    }
  }

  #open(device, { name, config, preprocessor, weights, imgSize }) {
    const asked = this.#ask(REQUEST.open, { device, model: { name, config, preprocessor, weights, imgSize } });
    const opened = new Promise((resolve, reject) => {
      this.#opening = reject;
      asked.then(resolve, reject);
    });
    return opened.finally(() => (this.#opening = null));
  }
  async addModule({ name, config, weights }) {
    await this.#gate.passed;
    return this.#ask(REQUEST.addModule, { name, config, weights });
  }
  removeModule(name) {
    return this.#ask(REQUEST.removeModule, { name });
  }
  async addPicture(name, file) {
    await this.#gate.passed;
    const picture = ++this.#pictures;
    return { id: picture, ...(await this.#ask(REQUEST.addPicture, { picture, name, file })) };
  }
  async look(file) {
    await this.#gate.passed;
    return this.#ask(REQUEST.look, { file });
  }
  addCrop(picture, crop) {
    return this.#ask(REQUEST.addCrop, { picture, crop });
  }
  removePicture(picture) {
    return this.#ask(REQUEST.removePicture, { picture });
  }
  adapt(request, alone = false) {
    return this.#ask(REQUEST.adapt, { request, alone });
  }
  flow(flow) {
    return this.#ask(REQUEST.flow, { flow });
  }
  predict(picture) {
    return this.#ask(REQUEST.predict, { picture });
  }
  reweigh(method, factors) {
    return this.#ask(REQUEST.reweigh, { method, factors });
  }
  fold(method, index, request) {
    return this.#ask(REQUEST.fold, { method, index, request });
  }
  folded(method, found) {
    return this.#ask(REQUEST.folded, { method, found });
  }
  handOver(method) {
    return this.#ask(REQUEST.handOver, { method });
  }
  test(method, test) {
    return this.#ask(REQUEST.test, { method, test });
  }
  rename(method, classes) {
    return this.#ask(REQUEST.rename, { method, classes });
  }
  forget(methods) {
    return this.#ask(REQUEST.forget, { methods });
  }
  saveTask(method, { merged = false, rank } = {}) {
    return this.#ask(REQUEST.saveTask, { method, merged, rank });
  }
  takeBack({ task, config, weights }) {
    return this.#ask(REQUEST.takeBack, { task, config, weights });
  }
}
