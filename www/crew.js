// Without a GPU, methods that train share the processor's cores: helpers are workers like the one that has them, with a copy
// of its model, modules and pictures. They train methods, and run folds of any method once that is done; what they learned
// they hand over, and at the end of the run they are gone.
import { Engine } from "./engine.js";
import { Folds, orThrow } from "./folds.js";
import { method } from "./methods.js";

const MOST = 3;
/** Bytes that all helpers may come to. */
const ROOM = 2 ** 30;
/** What a worker takes before there is a model, and how many times the file of a model's weights with it: as read, and in
 *  single precision. */
const BARE = 24 * 2 ** 20;
const OPENED = 3;
/** How many times the memory of a fresh model training takes: 138 instead of 46 MB with the embedded one. */
const TRAINING = 3;

/** How work is shared out with so many helpers at most: {here, helpers}, methods for this worker and for each helper; folds go
 *  to whoever is free. */
export function shareOut(methods, folds, most) {
  const trained = methods.filter((name) => method(name).steps);
  const count = Math.max(0, Math.min(trained.length * (1 + folds) - 1, most));
  // Where there are enough helpers, this worker keeps what does not train; a single method begins sooner here.
  const apart = trained.length > 1 && trained.length <= count;
  const hands = apart ? count : count + 1;
  const shares = Array.from({ length: hands }, (_, hand) => trained.filter((_, index) => index % hands === hand));
  const helpers = apart ? shares : shares.slice(1);
  return { here: methods.filter((name) => !helpers.flat().includes(name)), helpers };
}

/** How many helpers find room, each with weights of so many bytes and so many pictures. Memory is never given back, so that
 *  what this worker has `taken` can be that of a large photo, or of the model before. */
export function roomFor(taken, weights, pictures, [height, width]) {
  const copy = BARE + OPENED * weights + 3 * height * width * pictures;
  return Math.min(MOST, Math.floor(ROOM / (TRAINING * Math.min(taken, copy))));
}

export class Crew {
  #model = null;
  #modules = [];
  #helpers = new Set();
  #flow = "go";

  opened(model) {
    this.#model = model;
    this.#modules = [];
  }
  added(module) {
    this.#modules.push(module);
  }
  removed(name) {
    this.#modules.splice(this.#modules.findIndex((own) => own.name === name), 1);
  }

  flow(flow) {
    this.#flow = flow;
    // One that ends meanwhile need not hear it.
    for (const helper of this.#helpers) if (helper.isOpen) helper.flow(flow).catch(() => {});
  }

  /** Runs methods, here and in helpers; results end up here. `engine` is the wasm package's, and has taken so many bytes. */
  async adapt(engine, request, tell, taken) {
    const info = engine.info();
    const cores = info.device === "cpu" ? (navigator.hardwareConcurrency ?? 1) : 1;
    const weights = [this.#model, ...this.#modules].reduce((sum, own) => sum + own.weights.size, 0);
    const pictures = [...request.train, ...request.test].reduce((sum, own) => sum + own.pictures.length, 0);
    const most = Math.min(cores - 1, roomFor(taken, weights, pictures, info.input_size));
    const { here, helpers } = shareOut(request.methods, request.config.folds, most);
    if (!helpers.length) return engine.adapt(request, tell);
    const run = new SharedRun(request, tell, () => this.#flow === "stop");
    const hand = handOf(engine);
    try {
      await Promise.all([run.work(hand, here), ...helpers.map((methods) => this.#help(run, hand, methods))]);
    } finally {
      this.#helpers.forEach((helper) => helper.end());
      this.#helpers.clear();
    }
  }

  async #help(run, hand, methods) {
    const helper = new Engine();
    this.#helpers.add(helper);
    // What it was asked fails with it.
    helper.onFatal = () => helper.end();
    try {
      await run.work(await this.#begin(helper, run, hand), methods);
    } catch {
      // A helper that cannot be had, or fails, say for want of memory, is done without, unless the run failed first.
      if (this.#helpers.has(helper)) await run.work(hand, methods.filter((name) => !run.ended.has(name)));
    } finally {
      this.#helpers.delete(helper);
      helper.end();
    }
  }

  /** A helper with a copy of everything that a run needs. */
  async #begin(helper, { request }, { engine }) {
    helper.start();
    await helper.open("cpu", this.#model);
    // All at once: between two answers lies a step of the methods that run here.
    const pictures = [...request.train, ...request.test].flatMap((own) => own.pictures);
    const crops = pictures.map((picture) => helper.addCrop(picture, engine.crop(picture)));
    await Promise.all([...this.#modules.map((module) => helper.addModule(module)), ...crops]);
    await helper.flow(this.#flow);
    return handOfHelper(helper, engine);
  }
}

/** A run that several hands share: which methods still train, which have ended, and the folds. */
class SharedRun {
  ended = new Set();
  #tell;
  #stopped;
  #trained = new Set();
  #folds;

  constructor(request, tell, stopped) {
    this.request = request;
    this.#tell = tell;
    this.#stopped = stopped;
    this.#folds = new Folds(request.methods.filter((name) => method(name).steps), request.config.folds);
  }

  /** One hand's part: its methods, and folds as soon as those that train have done so. */
  async work(hand, methods) {
    const training = new Set(methods.filter((name) => method(name).steps));
    let free;
    const trained = new Promise((resolve) => (free = resolve));
    const over = (name) => {
      training.delete(name);
      if (!training.size) free();
    };
    over();
    const folds = (name) => {
      this.#trained.add(name);
      over(name);
      return this.#folds.of(name);
    };
    const tell = (event) => {
      if (["failed", "stopped"].includes(event.type)) over(event.method);
      this.tell(event);
    };
    const own = hand.adapt({ ...this.request, methods }, tell, folds);
    own.then(free, free);
    const others = trained.then(() => this.#folds.work((fold) => (this.#stopped() ? null : this.#fold(hand, fold))));
    // Both to their end: a fold that failed here is back among the others then.
    const failed = (await Promise.allSettled([own, others])).find(({ status }) => status === "rejected");
    if (failed) throw failed.reason;
  }

  async #fold(hand, { method: name, index }) {
    const found = await hand.fold(name, index, this.request, (event) => this.tell(event));
    return found ?? (this.#stopped() ? null : undefined);
  }

  tell(event) {
    if (["failed", "stopped"].includes(event.type)) this.ended.add(event.method);
    if (event.type === "done") this.ended.add(event.report.method);
    if (event.progress?.phase === "fold" && method(event.progress.method).steps) {
      const { method: name } = event.progress;
      // A method's own training is what there is to see until it is done.
      if (!this.#trained.has(name) || this.ended.has(name)) return;
      event.progress.fold = this.#folds.done(name);
    }
    this.#tell(event);
  }
}

/** This worker, for a run. */
const handOf = (engine) => ({
  engine,
  adapt: (request, tell, folds) => engine.adapt(request, tell, (name) => folds(name).then(orThrow)),
  fold: (name, index, request, tell) => engine.fold(name, index, request, tell),
});

/** A helper, for a run: what it learns it hands over to this worker's engine. */
const handOfHelper = (helper, engine) => ({
  fold: (name, index, request) => helper.fold(name, index, request),
  async adapt(request, tell, folds) {
    const handed = [];
    const takeOver = async (event) => {
      engine.takeOver(await helper.handOver(event.report.method), request);
      tell(event);
    };
    await new Promise((resolve, reject) => {
      helper.onFolds = (name) => folds(name).then((found) => helper.folded(name, found)).catch(reject);
      helper.onRun = (event) => {
        if (event.type === "done") handed.push(takeOver(event).catch(reject));
        else tell(event);
      };
      helper.adapt(request, true).then(() => Promise.all(handed)).then(resolve, reject);
    });
  },
});
