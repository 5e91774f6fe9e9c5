// The library of LoRA modules: what is in it, adding PEFT folders and zips, taking modules out.
import { unzip } from "./archive.js";
import { $, element, fail, say } from "./dom.js";

const FILES = ["adapter_config.json", "adapter_model.safetensors"];

export class Library {
  #engine;
  #changed;
  /** [{name, config, weights: Blob, card?, shipped?}] */
  list = [];
  /** Modules of a person that do not fit the model in use; another model may take them. */
  aside = [];
  /** What is being added again; a worker that stops meanwhile must not make the list shorter. */
  #wanted = null;
  /** Names of shipped modules that a person took out. */
  removed = new Set();

  constructor(engine, changed) {
    this.#engine = engine;
    this.#changed = changed;
    $("add-module").addEventListener("change", async (event) => {
      const files = [...event.target.files];
      event.target.value = "";
      await this.addFiles(files);
    });
  }

  /** Every module, those included that wait for a model that they fit. */
  get all() {
    return this.#wanted ?? [...this.list, ...this.aside];
  }

  /** Those that a person brought; the shipped ones come with the model. */
  get own() {
    return this.all.filter((module) => !module.shipped);
  }

  /** After another model or a restart: every module again; those that do not fit are named and left out. */
  async replay(modules) {
    this.#wanted = modules;
    this.list = [];
    this.aside = [];
    const refused = [];
    for (const [index, module] of modules.entries()) {
      if (module.shipped && this.removed.has(module.name)) continue;
      say(`adding ${module.name} to the library`, index / modules.length);
      try {
        await this.#engine.addModule(module);
        this.list.push(module);
      } catch (error) {
        if (["restarted", "fatal", "device"].includes(error.code)) throw error;
        if (!module.shipped) this.aside.push(module);
        refused.push(error.message);
      }
    }
    this.#wanted = null;
    this.draw();
    if (refused.length) fail({ message: `left out of the library with this model: ${refused.join(" · ")}` });
  }

  /** Other modules in place of those that are there; shipped ones among them stay shipped. */
  async exchange(modules) {
    const before = this.list;
    const aside = this.aside;
    for (const { name } of before) await this.#engine.removeModule(name);
    const same = (own) => before.find((known) => known.shipped && known.name === own.name && known.config === own.config && known.weights.size === own.weights.size);
    const wanted = modules.map((own) => same(own) ?? own);
    this.removed = new Set(before.filter((known) => known.shipped && !wanted.includes(known)).map(({ name }) => name));
    await this.replay(wanted);
    this.aside.push(...aside);
  }

  async add(module) {
    const warnings = await this.#engine.addModule(module);
    this.list.push(module);
    this.draw();
    this.#changed();
    say(`${module.name} is in the library`);
    if (warnings?.length) fail({ message: warnings.join(" · ") });
  }

  /** PEFT files as they come: two files, a folder of them, or zips. One bad module is named and the rest goes on. */
  async addFiles(files) {
    const bad = [];
    const found = await this.#sort(files, bad);
    for (const [folder, own] of found) {
      try {
        const missing = FILES.find((name) => !own[name]);
        if (missing) throw { message: `${folder || "module"}: ${missing} is missing; a module is ${FILES.join(" and ")}` };
        await this.add({ name: this.free(folder || "module"), config: await own[FILES[0]].text(), weights: own[FILES[1]] });
      } catch (error) {
        bad.push(error.message ?? String(error));
      }
    }
    if (!found.size && !bad.length) bad.push(`no PEFT module found: ${FILES.join(" with ")}, or a zip of them`);
    if (bad.length) fail({ message: bad.join(" · ") });
  }

  /** PEFT files by folder. */
  async #sort(files, bad) {
    const found = new Map();
    const put = (path, blob) => {
      const [name, folder = ""] = path.split("/").reverse();
      if (FILES.includes(name)) found.set(folder, { ...found.get(folder), [name]: blob });
    };
    for (const file of files) {
      if (!/\.zip$/i.test(file.name)) {
        put(file.path || file.webkitRelativePath || file.name, file);
        continue;
      }
      const stem = file.name.replace(/\.zip$/i, "");
      try {
        const entries = Object.entries(await unzip(file)).filter(([path]) => FILES.includes(path.split("/").at(-1)));
        if (!entries.length) bad.push(`${file.name}: no PEFT module in it`);
        for (const [path, blob] of entries) put(path.includes("/") ? path : `${stem}/${path}`, blob);
      } catch (error) {
        bad.push(error.message);
      }
    }
    return found;
  }

  /** A name that no module has yet. */
  free(name) {
    let candidate = name;
    for (let number = 2; this.list.some((known) => known.name === candidate); number += 1) candidate = `${name} ${number}`;
    return candidate;
  }

  async remove(module) {
    try {
      await this.#engine.removeModule(module.name);
      this.list = this.list.filter((known) => known !== module);
      if (module.shipped) this.removed.add(module.name);
      this.draw();
      ($("library").querySelector("button") ?? $("add-module")).focus();
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
