// Which model is open, on which device: one after another, the last choice wins, and a worker that fails starts again.
import { usableDevice } from "./device.js";
import { $, fail, say } from "./dom.js";
import { cancelDownloads } from "./models.js";

const RESTARTS = 3;
/** Errors that are the device's; a model that is refused would be refused by another device, too. */
const OF_THE_DEVICE = ["device", "fatal"];
/** What a person can do where no model is open and none is on its way. */
const CHOOSE = "choose another model at the top of the page";

/** Nothing is fetched any more that could be ended; the keyboard goes to where models are chosen. */
function hideCancel() {
  if (document.activeElement === $("cancel-load")) $("model").focus({ preventScroll: true });
  $("cancel-load").hidden = true;
}

/** A model's source without the size that is its own, which need not be said. */
const sized = (source, { imgSize, inputSize }) => JSON.stringify({ ...source, imgSize: inputSize.every((side) => side === source?.imgSize) ? imgSize : source?.imgSize });

export class Opening {
  #engine;
  #settings;
  #library;
  #classes;
  #tryIt;
  #run;
  #opened;
  #restarts = 0;
  #choices = 0;
  /** Whether no model is open, nor on its way. */
  #isStuck = false;
  /** Models are opened one after another. */
  #turns = Promise.resolve();
  /** {name, config, preprocessor, weights, imgSize?, inputSize: [height, width], source}, or null before the first one is open; `imgSize`
   *  is there where it is not the model's own. */
  model = null;
  /** `cpu` or `gpu`. */
  device = "cpu";

  /** `opened` is called when a model with its modules and pictures is there. */
  constructor({ engine, settings, library, classes, tryIt, run }, opened) {
    [this.#engine, this.#settings, this.#library, this.#classes, this.#tryIt, this.#run, this.#opened] = [engine, settings, library, classes, tryIt, run, opened];
    engine.onFatal = (error) => this.#restart(error);
    $("cancel-load").addEventListener("click", () => cancelDownloads());
  }

  /**
   * Loads a model and opens it, unless something else is chosen meanwhile; says whether it is open.
   * `load` gives {model, modules}; `accepted` is called once the model is open, before its modules and pictures are in.
   */
  async choose(load, accepted = () => {}) {
    const choice = ++this.#choices;
    cancelDownloads();
    fail(null);
    if (this.#isStuck) this.#run.setState("off");
    try {
      $("cancel-load").hidden = !this.model;
      const { model, modules } = await load();
      if (choice !== this.#choices) return false;
      hideCancel();
      if (this.#isOpen(model, modules)) {
        say(this.#words);
        return true;
      }
      await this.#run.settle();
      await this.#inTurn(async () => {
        // What failed before failed with another model.
        this.#restarts = 0;
        if (choice === this.#choices) await this.#use(model, [...modules, ...this.#library.own], accepted);
      });
      // Not in the turn: what comes back waits for a worker that fails meanwhile, and that one opens in the next turn.
      await this.#opened();
      return choice === this.#choices;
    } catch (error) {
      if (error.code === "restarted" || choice !== this.#choices) return false;
      hideCancel();
      fail(error);
      this.#isStuck ||= !this.model;
      if (this.#isStuck) this.#run.setState("off", CHOOSE);
      // A restart that goes on tells how it is.
      if (this.#run.state !== "off" || !this.model) say(this.model ? this.#words : "cannot start");
      return false;
    }
  }

  /** How the run is that a model is chosen beside. */
  get #words() {
    return { running: "adapting", paused: "paused", stopping: "stopping" }[this.#run.state] ?? "ready";
  }

  /** Whether a model is the one in use, with its modules: it stays, with all that was learned. */
  #isOpen({ source }, modules) {
    if (!this.model || this.#run.state === "off" || source.kind === "files" || !modules.every(({ name }) => this.#library.knows(name))) return false;
    return this.isFrom(source);
  }

  /** Whether the model in use is from a source, at its size. */
  isFrom(source) {
    return sized(source, this.model) === sized(this.model.source, this.model);
  }

  #inTurn(job) {
    const own = this.#turns.then(job);
    this.#turns = own.catch(() => {});
    return own;
  }

  async #onDevice(model) {
    const settings = this.#settings;
    const usable = await usableDevice(settings.device, settings.why);
    say(usable.device === "gpu" ? "preparing the GPU: compiling shaders" : "preparing the CPU device");
    try {
      return { ...usable, report: await this.#engine.open(usable.device, model) };
    } catch (error) {
      if (usable.device === "cpu" || !OF_THE_DEVICE.includes(error.code)) throw error;
      this.#engine.start();
      return { device: "cpu", why: error.message, report: await this.#engine.open("cpu", model) };
    }
  }

  /** Opens a model on the device and puts modules and pictures back. What a model is refused for leaves everything as it is. */
  async #use(model, modules, accepted = () => {}) {
    this.#run.setState("off");
    document.body.dataset.ready = "false";
    let imgSize, inputSize;
    try {
      const { device, name, software, why, report } = await this.#onDevice(model);
      this.device = device;
      $("device").textContent = device === "cpu" ? `CPU in this tab${why ? ` (${why})` : ""}` : `${name}, WebGPU${software ? " (software)" : ""}`;
      $("model").textContent = `${report.model} · ${(report.parameters / 1e6).toFixed(1)} M parameters · ${report.input_size.join(" × ")} px`;
      ({ img_size: imgSize, input_size: inputSize } = report);
    } catch (error) {
      // A device that failed takes the model in use with it.
      if (this.model && (OF_THE_DEVICE.includes(error.code) || !this.#engine.isOpen)) this.#restart(error);
      else if (this.model) {
        this.#run.setState("idle");
        this.#run.quick();
      }
      throw error;
    }
    this.model = { ...model, imgSize, inputSize };
    this.#isStuck = false;
    accepted();
    await this.#library.replay(modules);
    this.#run.setModules(this.#library.list);
    await this.#classes.replay();
    await this.#tryIt.replay();
    this.#run.setState("idle");
    document.body.dataset.ready = "true";
    say("ready");
  }

  /** A run went to its end: what failed before it is over. */
  worked() {
    this.#restarts = 0;
  }

  /** A new worker with the model in use. */
  #restart(error) {
    this.#run.setState("off");
    this.#restarts += 1;
    const givesUp = this.#restarts > RESTARTS;
    fail({ message: `${error.message}. ${givesUp ? "It failed again and again; choose another model to go on." : "The worker starts again; your pictures are kept, and so is what was learned, but for full fine-tuning. Start trains the rest again."}` });
    if (givesUp) {
      // A worker without a model: the next one that is chosen opens in it.
      this.#engine.start();
      this.#run.lostWorker();
      this.#isStuck = true;
      this.#run.setState("off", CHOOSE);
      return say(this.device === "gpu" ? "the GPU keeps failing; reload the page with ?device=cpu" : "the computation keeps failing; reload the page, with fewer pictures or a smaller model");
    }
    if (this.#restarts > 1 && this.device === "gpu") Object.assign(this.#settings, { device: "cpu", why: "the GPU failed twice" });
    this.#engine.start();
    this.#run.lostWorker();
    if (!this.model) return;
    this.#inTurn(() => this.#use(this.model, this.#library.all)).then(() => this.#opened()).catch((failure) => {
      if (failure.code !== "restarted") fail(failure);
    });
  }
}
