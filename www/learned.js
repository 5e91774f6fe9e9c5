// What was learned, as adapters beside its numbers: it answers again on the next visit, and in a worker that starts again.
import { method } from "./methods.js";
import { LOST } from "./protocol.js";

/** First answers come by themselves, and full fine-tuning leaves a whole model, which is for a person to save. */
const isKept = (name) => !method(name).quick && name !== "full";

/** `task.json` of a whole model, which nobody saves anew, with what is known by now. */
function described({ adapter, owns, report }) {
  const task = JSON.parse(adapter.task);
  const { test_accuracy, test_interval } = report;
  const measured = task.measured && { measured: { ...task.measured, test_accuracy, test_interval } };
  return JSON.stringify({ ...task, classes: owns.map((own) => own.name), ...measured });
}

export class Learned {
  #engine;
  #run;
  #turns = Promise.resolve();

  constructor(engine, run) {
    this.#engine = engine;
    this.#run = run;
  }

  /** Whether something was trained that would be gone with the page. */
  get unkept() {
    return this.#run.found.live.some((name) => method(name).steps && !(this.#run.found.get(name).adapter && this.#run.found.learned(name)));
  }

  /** Takes the adapters of new results; says whether there were any. */
  keep() {
    return this.#inTurn(() => this.#keep());
  }

  async #keep() {
    let taken = false;
    for (const [name, own] of [...this.#run.found]) {
      if (!own.live || (own.adapter && !own.unsaved) || !(isKept(name) || own.report.opened)) continue;
      own.unsaved = false;
      if (own.adapter?.whole) {
        own.adapter = { ...own.adapter, task: described(own) };
        taken = true;
        continue;
      }
      try {
        const { files } = await this.#engine.saveTask(name);
        own.adapter = { task: files["task.json"], config: files["adapter_config.json"], weights: files["adapter_model.safetensors"] };
        taken = true;
      } catch (error) {
        // It is gone already, or has no adapter: its numbers are kept all the same.
        own.unsaved = LOST.includes(error.code);
      }
    }
    return taken;
  }

  /** Gives adapters of results that are of what the page shows back to a worker that has them not; says whether there were any. */
  giveBack() {
    return this.#inTurn(() => this.#giveBack());
  }

  async #giveBack() {
    let given = false;
    for (const [name, own] of [...this.#run.found]) {
      if (!this.#isWanted(name, own)) continue;
      try {
        await this.#engine.takeBack(own.adapter);
      } catch (error) {
        // The next worker may take it; what another model has learned nobody does: Start trains it again.
        if (!LOST.includes(error.code)) own.adapter = undefined;
        continue;
      }
      if (this.#isWanted(name, own)) own.live = given = true;
      // A run has begun meanwhile, or what it was of is gone: nobody else would tell the worker.
      else if (!this.#run.found.get(name)?.live) await this.#engine.forget([name]).catch(() => {});
    }
    if (given) this.#run.refresh();
    return given;
  }

  #isWanted(name, own) {
    const { adapter, live } = own;
    const isThere = Boolean(adapter?.task && (adapter.whole || (adapter.config && adapter.weights)));
    return isThere && !live && !this.#run.busy && this.#run.state !== "off" && this.#run.found.get(name) === own && this.#run.found.learned(name);
  }

  #inTurn(job) {
    const own = this.#turns.then(job);
    this.#turns = own.catch(() => {});
    return own;
  }
}
