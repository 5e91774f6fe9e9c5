// The library of LoRA modules: what is in it, adding PEFT folders and zips, taking modules out.
import { unzip } from "./archive.js";
import { $, element, fail, say } from "./dom.js";

export class Library {
  #engine;
  #changed;
  /** [{name, config, weights, card?, shipped?}] */
  list = [];

  constructor(engine, changed) {
    this.#engine = engine;
    this.#changed = changed;
    $("add-module").addEventListener("change", async (event) => {
      await this.addFiles([...event.target.files]);
      event.target.value = "";
    });
  }

  /** Those that a person brought; the shipped ones come with the model. */
  get own() {
    return this.list.filter((module) => !module.shipped);
  }

  /** After another model or a restart: every module again; those that do not fit are named and left out. */
  async replay(modules) {
    this.list = [];
    const refused = [];
    for (const module of modules) {
      try {
        await this.#engine.addModule(module);
        this.list.push(module);
      } catch (error) {
        if (error.code === "restarted" || error.code === "fatal") throw error;
        refused.push(error.message);
      }
    }
    this.draw();
    if (refused.length) fail({ message: `left out: ${refused.join(" · ")}` });
  }

  async add(module) {
    if (this.list.some((known) => known.name === module.name)) {
      throw { code: "mismatch", message: `${module.name} is in the library already; remove it or rename yours` };
    }
    const warnings = await this.#engine.addModule(module);
    this.list.push(module);
    this.draw();
    this.#changed();
    say(`${module.name} is in the library`);
    if (warnings?.length) fail({ message: warnings.join(" · ") });
  }

  /** PEFT files as they come: two files, a folder of them, or zips. */
  async addFiles(files) {
    const found = new Map();
    const put = (path, name, bytes) => {
      const folder = path.split("/").slice(0, -1).at(-1) ?? "";
      const own = found.get(folder) ?? {};
      own[name] = bytes;
      found.set(folder, own);
    };
    try {
      for (const file of files) {
        if (/\.zip$/i.test(file.name)) {
          const stem = file.name.replace(/\.zip$/i, "");
          for (const [path, bytes] of Object.entries(await unzip(file))) put(path.includes("/") ? path : `${stem}/${path}`, path.split("/").at(-1), bytes);
        } else {
          put(file.webkitRelativePath || file.path || file.name, file.name, new Uint8Array(await file.arrayBuffer()));
        }
      }
      let added = 0;
      for (const [folder, own] of found) {
        if (!own["adapter_config.json"] && !own["adapter_model.safetensors"]) continue;
        if (!own["adapter_config.json"] || !own["adapter_model.safetensors"]) {
          throw { code: "mismatch", message: `${folder || "module"}: adapter_config.json and adapter_model.safetensors are both needed` };
        }
        const name = this.#free(folder || "module");
        await this.add({ name, config: new TextDecoder().decode(own["adapter_config.json"]), weights: own["adapter_model.safetensors"] });
        added += 1;
      }
      if (!added) throw { code: "mismatch", message: "no PEFT module found: adapter_config.json with adapter_model.safetensors, or a zip of them" };
    } catch (error) {
      fail(error);
    }
  }

  #free(name) {
    let candidate = name;
    for (let number = 2; this.list.some((known) => known.name === candidate); number += 1) candidate = `${name} ${number}`;
    return candidate;
  }

  async remove(module) {
    try {
      await this.#engine.removeModule(module.name);
      this.list = this.list.filter((known) => known !== module);
      this.draw();
      this.#changed();
      say(`${module.name} removed from the library`);
    } catch (error) {
      fail(error);
    }
  }

  draw() {
    $("library-count").textContent = String(this.list.length);
    $("library").replaceChildren(...this.list.map((module) =>
      element("li", {}, element("span", {}, module.name, module.card ? element("small", {}, module.card) : ""),
        element("button", { type: "button", class: "quiet", "aria-label": `Remove module ${module.name}`, onclick: () => this.remove(module) }, "×"))));
  }
}
