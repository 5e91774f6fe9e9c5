// The page's end of the worker: promises for requests, a listener for events, and a restart that replays the pictures.
import { EVENT, REQUEST } from "./protocol.js";

export class Engine {
  #worker = null;
  #waiting = new Map();
  #next = 1;
  onRun = () => {};
  onFatal = () => {};

  start() {
    this.#worker?.terminate();
    for (const { reject } of this.#waiting.values()) reject({ code: "restarted", message: "the worker was restarted" });
    this.#waiting.clear();
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.addEventListener("message", ({ data }) => this.#receive(data));
    this.#worker.addEventListener("error", (event) => this.onFatal({ code: "fatal", message: event.message || "the worker stopped" }));
  }

  #receive(data) {
    if (data.event === EVENT.run) return this.onRun(data.value);
    if (data.event === EVENT.fatal) return this.onFatal(data.error);
    const waiting = this.#waiting.get(data.id);
    this.#waiting.delete(data.id);
    if (data.ok) waiting?.resolve(data.result);
    else waiting?.reject(data.error);
  }

  #ask(type, fields = {}, transfer = []) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, type, ...fields }, transfer);
    });
  }

  open(device, model) {
    return this.#ask(REQUEST.open, { device, model });
  }
  addModule(module) {
    return this.#ask(REQUEST.addModule, module);
  }
  addPicture(name, bytes) {
    return this.#ask(REQUEST.addPicture, { name, bytes });
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
  saveAdapter(method) {
    return this.#ask(REQUEST.saveAdapter, { method });
  }
}
