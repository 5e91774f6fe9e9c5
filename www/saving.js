// What can be kept: a saved task, as a PEFT adapter or a whole model, and the task as a module of the library.
import { download, zip } from "./archive.js";
import { $, element, fail, percent } from "./dom.js";
import { method } from "./methods.js";

const JOIN_RANK = 8;
const MERGED = "merged";
const WHOLE = "full";
const OF_MODELS = "In Python, transformers loads the unpacked folder like any model.";
const OF_ADAPTERS = "In Python, PEFT loads the unpacked folder with transformers 5.9 or newer (DINOv2: 5.18). For an older one: loraloom compose --adapters FOLDER --names old --out OLD.";

export class Saving {
  #engine;
  #library;
  /** The method that a person asked for; without one the page proposes. */
  #picked = "";
  #form = $("export-form").value;
  #joining = false;
  #isOwnModel;

  /** `isOwnModel` says whether the model came in as files, which nobody can find by its name. */
  constructor(engine, library, isOwnModel) {
    this.#isOwnModel = isOwnModel;
    this.#engine = engine;
    this.#library = library;
    $("export-method").addEventListener("change", () => {
      this.#picked = $("export-method").value;
      this.#fit();
    });
    $("export-form").addEventListener("change", () => (this.#form = $("export-form").value));
    $("export-adapter").addEventListener("click", () => this.#export().catch(fail));
    $("join-library").addEventListener("click", () => this.#join().catch(fail));
  }

  /** Methods that have a result now; without a word from a person the suggested one. */
  refresh(names, suggested) {
    const select = $("export-method");
    select.replaceChildren(...names.map((name) => element("option", { value: name }, method(name).label)));
    select.value = names.includes(this.#picked) ? this.#picked : names.includes(suggested) ? suggested : (names.at(-1) ?? "");
    $("saving").hidden = !names.length;
    this.#fit();
  }

  /** Full fine-tuning leaves no update that an adapter could hold. */
  #fit() {
    const whole = $("export-method").value === WHOLE;
    $("export-form").disabled = $("join-library").disabled = whole;
    $("export-form").value = whole ? MERGED : this.#form;
  }

  async #export() {
    const [name, form] = [$("export-method").value, $("export-form").value];
    const { files, error } = await this.#engine.saveTask(name, { merged: form === MERGED, rank: Number(form) || undefined });
    const stem = `loraloom-${name.replace("+", "-")}${form === MERGED ? "-model" : ""}`;
    download(await zip(Object.fromEntries(Object.entries(files).map(([file, content]) => [`${stem}/${file}`, content]))), `${stem}.zip`);
    const lost = Number(form) ? ` At rank ${form} ${percent(error, 1)} of the update's norm is lost.` : "";
    const base = form !== MERGED && this.#isOwnModel() ? " --model FOLDER-OF-THE-MODEL" : "";
    $("export-note").textContent = `Saved: “loraloom predict --task ${stem}.zip${base} photo.jpg” answers, and so does this page once it is opened here.${lost} ${form === MERGED ? OF_MODELS : OF_ADAPTERS}`;
  }

  async #join() {
    // Two clicks are no two modules.
    if (this.#joining) return;
    this.#joining = true;
    try {
      const name = $("export-method").value;
      const { files, error } = await this.#engine.saveTask(name, { rank: JOIN_RANK });
      const [config, weights] = [files["adapter_config.json"], files["adapter_model.safetensors"]];
      const label = await this.#library.add({ name: `my ${method(name).label.toLowerCase()}`, config, weights });
      $("export-note").textContent = `“${label}” is in the library at rank ${JOIN_RANK} (${percent(error, 1)} lost); the next run can compose it.`;
    } finally {
      this.#joining = false;
    }
  }
}
