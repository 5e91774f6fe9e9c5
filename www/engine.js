// The page's end of the worker: promises for requests, a listener for events, and a fresh worker after a failure.
import { EVENT, REQUEST } from "./protocol.js";

export class Engine {
  #worker = null;
  #waiting = new Map();
  #next = 1;
  #opening = null;
  onRun = () => {};
  onFatal = () => {};

  start() {
    this.#worker?.terminate();
    for (const { reject } of this.#waiting.values()) reject({ code: "restarted", message: "the worker was restarted" });
    this.#waiting.clear();
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

  #receive(data, fatal) {
    if (data.event === EVENT.run) return this.onRun(data.value);
    if (data.event === EVENT.fatal) return fatal(data.error);
    const waiting = this.#waiting.get(data.id);
    this.#waiting.delete(data.id);
    if (data.ok) waiting?.resolve(data.result);
    else waiting?.reject(data.error);
  }

  #ask(type, fields = {}) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, type, ...fields });
    });
  }

  open(device, { name, config, preprocessor, weights }) {
    const asked = this.#ask(REQUEST.open, { device, model: { name, config, preprocessor, weights } });
    const opened = new Promise((resolve, reject) => {
      this.#opening = reject;
      asked.then(resolve, reject);
    });
    return opened.finally(() => (this.#opening = null));
  }
  addModule({ name, config, weights }) {
    return this.#ask(REQUEST.addModule, { name, config, weights });
  }
  removeModule(name) {
    return this.#ask(REQUEST.removeModule, { name });
  }
  addPicture(name, file) {
    return this.#ask(REQUEST.addPicture, { name, file });
  }
  removePicture(picture) {
    return this.#ask(REQUEST.removePicture, { picture });
  }
  adapt(request) {
    return this.#ask(REQUEST.adapt, { request });
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
  forget() {
    return this.#ask(REQUEST.forget);
  }
  saveAdapter(method, rank) {
    return this.#ask(REQUEST.saveAdapter, { method, rank });
  }
}
