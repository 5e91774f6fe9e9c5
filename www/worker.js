// The only module that imports the wasm package. One engine, one job at a time; what a person asks of pictures meanwhile
// is answered between the steps of the job.
import { Crew } from "./crew.js";
import { orThrow } from "./folds.js";
import init, { Engine, panicMessage } from "./pkg/loraloom_web.js";
import { EVENT, REQUEST } from "./protocol.js";

let engine = null;
let jobs = Promise.resolve();
const crew = new Crew();
const meanwhile = new Set();
let ready = null;

/** The wasm package; where it did not arrive, the next one who wants it asks again. */
function started() {
  ready ??= init().catch((error) => {
    ready = null;
    if (error instanceof WebAssembly.RuntimeError) throw error;
    throw { code: "io", message: `a part of the page did not arrive (${error?.message ?? error}); check the connection, then reload the page or choose the model again` };
  });
  return ready;
}
started().catch(() => {});

async function bytes(blob, name) {
  try {
    return new Uint8Array(await blob.arrayBuffer());
  } catch {
    // A file can be moved or changed on disk after it was chosen.
    throw { code: "io", message: `${name} cannot be read any more; choose it again` };
  }
}

const tell = (value) => postMessage({ event: EVENT.run, value });

/** A helper's methods wait for their folds, which others run as well. */
const waiting = new Map();
const foldsOf = (method) => new Promise((resolve) => {
  waiting.set(method, resolve);
  postMessage({ event: EVENT.folds, method });
}).then(orThrow);

/** What is asked meanwhile holds the session: nothing else can change it. */
async function quiet() {
  while (meanwhile.size) await Promise.allSettled([...meanwhile]);
}

/** A number that no picture of the page has: they are counted from one. */
const LOOKED_AT = 0;

async function look(file) {
  const crop = engine.addPicture(LOOKED_AT, file.name, await bytes(file, file.name));
  try {
    return { ...crop, answers: await engine.predict(LOOKED_AT, true) };
  } finally {
    engine.removePicture(LOOKED_AT);
  }
}

const actions = {
  [REQUEST.open]: async ({ device, model }) => {
    await started();
    const weights = await bytes(model.weights, `${model.name}/model.safetensors`);
    const opened = await Engine.open(device, model.name, model.config, model.preprocessor, weights, model.imgSize);
    // An answer on its way still holds the one before.
    await quiet();
    engine?.free();
    engine = opened;
    crew.opened(model);
    return engine.info();
  },
  [REQUEST.addModule]: async ({ name, config, weights }) => {
    const data = await bytes(weights, name);
    await quiet();
    const warnings = engine.addModule(name, config, data);
    crew.added({ name, config, weights });
    return warnings;
  },
  [REQUEST.removeModule]: ({ name }) => {
    engine.removeModule(name);
    crew.removed(name);
  },
  [REQUEST.addPicture]: async ({ picture, name, file }) => engine.addPicture(picture, name, await bytes(file, name)),
  [REQUEST.removePicture]: ({ picture }) => engine.removePicture(picture),
  [REQUEST.addCrop]: ({ picture, crop }) => engine.addCrop(picture, crop),
  [REQUEST.adapt]: async ({ request, alone }) => {
    const { memory } = await started();
    return alone ? engine.adapt(request, tell, foldsOf) : crew.adapt(engine, request, tell, memory.buffer.byteLength);
  },
  [REQUEST.fold]: ({ method, index, request }) => engine.fold(method, index, request, tell),
  [REQUEST.folded]: ({ method, found }) => waiting.get(method)(found),
  [REQUEST.predict]: ({ picture }) => engine.predict(picture, false),
  [REQUEST.look]: ({ file }) => look(file),
  [REQUEST.handOver]: ({ method }) => engine.handOver(method),
  [REQUEST.reweigh]: ({ method, factors }) => engine.reweigh(method, new Float32Array(factors)),
  [REQUEST.test]: ({ method, test }) => engine.test(method, test),
  [REQUEST.rename]: ({ method, classes }) => engine.rename(method, classes),
  [REQUEST.forget]: ({ methods }) => engine.forget(methods),
  [REQUEST.saveTask]: async ({ method, merged, rank }) => {
    const { files, error } = await engine.saveTask(method, merged, rank);
    const content = ({ name, bytes }) => [name, name.endsWith(".json") ? new TextDecoder().decode(bytes) : new Blob([bytes])];
    return { files: Object.fromEntries(files.map(content)), error };
  },
  [REQUEST.takeBack]: async ({ task, config, weights }) => engine.takeBack(task, config, weights && (await bytes(weights, "what was learned"))),
};

/** What does not wait for the job that runs; a picture that is removed does: a fold may still look at it. */
const QUICK = new Set([REQUEST.addPicture, REQUEST.predict, REQUEST.look, REQUEST.fold, REQUEST.folded, REQUEST.handOver, REQUEST.reweigh, REQUEST.rename, REQUEST.forget, REQUEST.saveTask]);

const transferable = (result) => (result?.rgba ? [result.rgba.buffer] : []);

/** The trap of an allocation that found no memory says "unreachable", and only a panic leaves a message. */
function whyFatal(error) {
  const trapped = error instanceof WebAssembly.RuntimeError;
  const text = (trapped && panicMessage()) || String(error?.message ?? error);
  const full = (trapped && /^unreachable/i.test(text)) || /out of memory|allocation failed|capacity overflow/i.test(text);
  return full ? "memory is full: try fewer methods at once, fewer pictures or a smaller model" : text;
}

function plain(error) {
  if (error?.code) return { code: error.code, message: error.message };
  return { code: "fatal", message: whyFatal(error) };
}

function fatal(error) {
  postMessage({ event: EVENT.fatal, error });
}

async function run(message) {
  try {
    if (!engine && message.type !== REQUEST.open) throw { code: "mismatch", message: "no model is open yet" };
    const result = await actions[message.type](message);
    postMessage({ id: message.id, ok: true, result }, transferable(result));
  } catch (error) {
    const reason = plain(error);
    postMessage({ id: message.id, ok: false, error: reason });
    // A panic leaves the wasm instance in an unknown state: the page starts a new worker.
    if (reason.code === "fatal" || reason.code === "device") fatal(reason);
  }
}

addEventListener("message", ({ data }) => {
  if (data.type === REQUEST.flow) {
    engine?.setFlow(data.flow);
    crew.flow(data.flow);
    postMessage({ id: data.id, ok: true });
    return;
  }
  if (engine && QUICK.has(data.type)) {
    const own = run(data).finally(() => meanwhile.delete(own));
    meanwhile.add(own);
    return;
  }
  jobs = jobs.then(async () => {
    await quiet();
    await run(data);
  });
});
// A panic inside a future settles no promise; it surfaces here.
addEventListener("error", (event) => fatal({ code: "fatal", message: event.error ? whyFatal(event.error) : event.message || "the worker stopped" }));
addEventListener("unhandledrejection", ({ reason }) => fatal(plain(reason)));
