// What was learned, as adapters beside its numbers: it answers again on the next visit, and in a worker that starts again.
import { method } from "./methods.js";

/** First answers come by themselves, and full fine-tuning leaves a whole model, which is for a person to save. */
const isKept = (name) => !method(name).quick && name !== "full";

export class Learned {
  #engine;
  #run;

  constructor(engine, run) {
    this.#engine = engine;
    this.#run = run;
  }

  /** Whether something was trained that is gone with the page. */
  get unkept() {
    return this.#run.live.some((name) => method(name).steps && !this.#run.found.get(name).adapter);
  }

  /** Takes the adapters of new results. */
  async keep() {
    for (const [name, own] of [...this.#run.found]) {
      if (!own.live || own.adapter || !isKept(name)) continue;
      try {
        const { files } = await this.#engine.saveTask(name);
        own.adapter = { config: files["adapter_config.json"], weights: files["adapter_model.safetensors"] };
      } catch {
        // It is gone already, or has no adapter: its numbers are kept all the same.
      }
    }
  }

  /** Gives adapters of results that are of what the page shows back to a worker that has them not; says whether there were any. */
  async giveBack() {
    let given = false;
    for (const [name, own] of [...this.#run.found]) {
      const { live, adapter, owns } = own;
      if (this.#run.busy || live || !adapter?.config || !adapter.weights || !this.#run.fresh(name)) continue;
      try {
        await this.#engine.takeBack(name, owns.map((each) => each.name), adapter);
      } catch {
        continue; // Start trains it again.
      }
      // A run may have begun meanwhile, or its pictures may be gone.
      if (this.#run.found.get(name) !== own) continue;
      own.live = true;
      given = true;
    }
    if (given) this.#run.refresh();
    return given;
  }
}
