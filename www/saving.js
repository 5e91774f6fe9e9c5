// What can be kept: the adapter as PEFT files, the task as a module of the library.
import { download, zip } from "./archive.js";
import { $, element, fail, percent } from "./dom.js";
import { method } from "./methods.js";

const JOIN_RANK = 8;

export class Saving {
  #engine;
  #library;
  /** The method that a person asked for; without one the page proposes. */
  #picked = "";
  #joining = false;

  constructor(engine, library) {
    this.#engine = engine;
    this.#library = library;
    $("export-method").addEventListener("change", () => (this.#picked = $("export-method").value));
    $("export-adapter").addEventListener("click", () => this.#export().catch(fail));
    $("join-library").addEventListener("click", () => this.#join().catch(fail));
  }

  /** Methods that have a result now and an adapter to save; without a word from a person the suggested one. */
  refresh(names, suggested) {
    const saved = names.filter((name) => name !== "full");
    const select = $("export-method");
    select.replaceChildren(...saved.map((name) => element("option", { value: name }, method(name).label)));
    select.value = saved.includes(this.#picked) ? this.#picked : saved.includes(suggested) ? suggested : (saved.at(-1) ?? "");
    $("saving").hidden = !saved.length;
  }

  async #export() {
    const name = $("export-method").value;
    const form = $("export-form").value;
    const { config, weights, error } = await this.#engine.saveAdapter(name, form === "cat" ? undefined : Number(form));
    const stem = `loraloom-${name.replace("+", "-")}`;
    download(await zip({ [`${stem}/adapter_config.json`]: config, [`${stem}/adapter_model.safetensors`]: weights }), `${stem}.zip`);
    $("export-note").textContent = form === "cat"
      ? "Saved exactly; Python PEFT loads the folder in the zip with transformers 5.9 or newer (DINOv2: 5.18). For an older one: loraloom compose --adapters FOLDER --names old --out OLD."
      : `Saved at rank ${form}: ${percent(error, 1)} of the update's norm is lost.`;
  }

  async #join() {
    // Two clicks are no two modules.
    if (this.#joining) return;
    this.#joining = true;
    try {
      const name = $("export-method").value;
      const { config, weights, error } = await this.#engine.saveAdapter(name, JOIN_RANK);
      const label = await this.#library.add({ name: `my ${method(name).label.toLowerCase()}`, config, weights });
      $("export-note").textContent = `“${label}” is in the library at rank ${JOIN_RANK} (${percent(error, 1)} lost); the next run can compose it.`;
    } finally {
      this.#joining = false;
    }
  }
}
