// The library of LoRA modules: what is in it, adding PEFT folders and zips, taking modules out and putting them back.
import { unzip } from "./archive.js";
import { $, element, fail, listed, say } from "./dom.js";
import { LOST } from "./protocol.js";

const FILES = ["adapter_config.json", "adapter_model.safetensors"];

export class Library {
  #engine;
  #changing;
  #changed;
  /** [{name, config, weights: Blob, card?, shipped?}] */
  list = [];
  /** Modules of a person that do not fit the model in use; another model may take them. */
  aside = [];
  /** What is being added again; a worker that stops meanwhile must not make the list shorter. */
  #wanted = null;
  /** Modules that were taken out and can be put back. */
  #out = [];
  /** Modules in their order, those included that were taken out: a module goes back to its place. */
  #order = [];
  #outside = element("ul", { id: "library-removed", class: "modules off", "data-testid": "library-removed", "aria-label": "Modules that were taken out",
    hidden: true });
  /** Names of shipped modules that a person took out. */
  removed = new Set();
  /** Changes that are asked for and not made yet. */
  changes = 0;
  #turns = Promise.resolve();

  /** `changing` is called when a change is asked for, `changed` when it is made or failed. */
  constructor(engine, { changing, changed }) {
    this.#engine = engine;
    this.#changing = changing;
    this.#changed = changed;
    $("library").after(this.#outside);
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
  async replay(wanted) {
    const modules = distinct(wanted, (module) => this.#isRemoved(module));
    this.#wanted = modules;
    this.list = [];
    this.aside = [];
    this.#remember(modules);
    const refused = [];
    for (const [index, module] of modules.entries()) {
      if (this.#isRemoved(module)) continue;
      say(`adding ${module.name} to the library`, index / modules.length);
      try {
        await this.#engine.addModule(module);
        this.list.push(module);
      } catch (error) {
        // The next worker gets every module again.
        if (LOST.includes(error.code)) throw error;
        if (!module.shipped) this.aside.push(module);
        refused.push(error.message);
      }
    }
    this.#wanted = null;
    this.draw();
    if (refused.length) fail({ message: `left out of the library with this model: ${listed(refused)}` });
  }

  #isRemoved(module) {
    return module.shipped && this.removed.has(module.name);
  }

  /** What is out and what comes where, once these modules take the place of others. */
  #remember(modules) {
    const names = modules.filter((module) => !this.#isRemoved(module)).map(({ name }) => name);
    // A name that is in use again says nothing of what once had it; shipped modules come and go with their model.
    const still = this.#out.filter((module) => !modules.includes(module) && (!module.shipped || this.#isRemoved(module)));
    this.#out = [...still, ...modules.filter((module) => this.#isRemoved(module))].filter(({ name }) => !names.includes(name));
    // After a restart the modules are the same, and so are their places.
    const places = modules.map((module) => this.#order.indexOf(module));
    if (places.some((place, index) => place < 0 || place < places[index - 1])) this.#order = [...new Set([...modules, ...this.#out])];
  }

  /** One change after another: what is free and what is where holds until it is done. */
  #change(job) {
    this.changes += 1;
    this.#changing();
    const own = this.#turns.then(job).finally(() => {
      this.changes -= 1;
      this.#changed();
    });
    this.#turns = own.catch(() => {});
    return own;
  }

  /** Other modules in place of those that are there; shipped ones among them stay shipped. */
  exchange(modules) {
    return this.#change(() => this.#exchange(modules));
  }

  async #exchange(modules) {
    const before = this.list;
    const aside = this.aside;
    const shipped = [...before, ...this.#out].filter((known) => known.shipped);
    for (const { name } of before) await this.#engine.removeModule(name);
    const same = (own) => shipped.find((known) => known.name === own.name && known.config === own.config && known.weights.size === own.weights.size);
    const wanted = modules.map((own) => same(own) ?? own);
    const without = shipped.filter((known) => !wanted.includes(known));
    this.removed = new Set(without.map(({ name }) => name));
    // A person's own can be put back.
    this.#out.push(...before.filter((known) => !known.shipped && !wanted.includes(known)));
    await this.replay([...wanted, ...without]);
    this.aside.push(...aside);
  }

  /** Gives the name that the module has got: its own, or one that is free. */
  add(module) {
    return this.#change(() => this.#add({ ...module, name: this.#free(module.name) }));
  }

  async #add(module) {
    const warnings = await this.#engine.addModule(module);
    this.list.push(module);
    this.#order.push(module);
    this.#out = this.#out.filter((known) => known.name !== module.name);
    this.draw();
    say(`${module.name} is in the library`);
    if (warnings?.length) fail({ message: listed(warnings) });
    return module.name;
  }

  /** PEFT files as they come: two files, a folder of them, or zips. One bad module is named and the rest goes on. */
  async addFiles(files) {
    const bad = [];
    const found = await this.#sort(files, bad);
    for (const [path, own] of found) {
      const folder = shortName(path, [...found.keys()]);
      try {
        const missing = FILES.find((name) => !own[name]);
        if (missing) throw { message: `${folder || "module"}: ${missing} is missing; a module is ${FILES.join(" and ")}` };
        await this.add({ name: folder || "module", config: await own[FILES[0]].text(), weights: own[FILES[1]] });
      } catch (error) {
        bad.push(error.message ?? String(error));
      }
    }
    if (!found.size && !bad.length) bad.push(`no PEFT module found: ${FILES.join(" with ")}, or a zip of them`);
    if (bad.length) fail({ message: listed(bad) });
  }

  /** PEFT files by folder. */
  async #sort(files, bad) {
    const found = new Map();
    const put = (path, blob) => {
      const folders = path.split("/");
      const name = folders.pop();
      const folder = folders.join("/");
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
        for (const [path, blob] of entries) put(`${stem}/${path}`, blob);
      } catch (error) {
        bad.push(error.message);
      }
    }
    return found;
  }

  /** Whether a module of this name is there, or was taken out by a person. */
  knows(name) {
    return this.removed.has(name) || this.all.some((known) => known.name === name);
  }

  /** A name that no module has yet; those that ship keep theirs while they are out. */
  #free(name) {
    return free(name, new Set([...this.list, ...this.#out.filter((known) => known.shipped)].map((known) => known.name)));
  }

  remove(module) {
    return this.#change(() => this.#remove(module)).catch(fail);
  }

  async #remove(module) {
    if (!this.list.includes(module)) return;
    await this.#engine.removeModule(module.name);
    const at = this.list.indexOf(module);
    this.#takeOut(module);
    // The keyboard goes to what took its place, or to what brings it back.
    const rows = $("library").children;
    (rows[Math.min(at, rows.length - 1)] ?? this.#outside.lastChild).querySelector("button").focus();
    say(`${module.name} removed from the library`);
  }

  #takeOut(module) {
    this.list = this.list.filter((known) => known !== module);
    this.#out.push(module);
    if (module.shipped) this.removed.add(module.name);
    this.draw();
  }

  /** A module that was taken out, in its old place again. */
  putBack(module) {
    // The worker takes modules only when nothing runs.
    if ($("library").inert) return fail({ message: "modules join the library when no method runs: stop first" });
    return this.#change(() => this.#putBack(module)).catch(fail);
  }

  async #putBack(module) {
    if (!this.#out.includes(module)) return;
    const place = (own) => this.#order.indexOf(own);
    const after = this.list.findIndex((own) => place(own) > place(module));
    const at = after < 0 ? this.list.length : after;
    const behind = this.list.slice(at);
    this.list.splice(at, 0, module);
    this.#out = this.#out.filter((known) => known !== module);
    if (module.shipped) this.removed.delete(module.name);
    this.draw();
    $("library").children[at].querySelector("button").focus();
    await this.#insert(module, behind);
  }

  /** The worker adds at the end, so that what comes behind is added anew, too; all of it is asked for at once, so that no run
   *  comes in between. */
  async #insert(module, behind) {
    say(`adding ${module.name} to the library`);
    const added = [module, ...behind];
    const jobs = [...behind.map(({ name }) => this.#engine.removeModule(name)), ...added.map((own) => this.#engine.addModule(own))];
    const errors = (await Promise.allSettled(jobs)).slice(behind.length).map(({ reason }) => reason);
    // The next worker gets the list as it is now.
    if (errors.some((error) => LOST.includes(error?.code))) return;
    added.filter((_, index) => errors[index]).forEach((own) => this.#takeOut(own));
    if (!errors[0]) say(`${module.name} is in the library again`);
    const bad = errors.filter(Boolean).map(({ message }) => message);
    if (bad.length) fail({ message: listed(bad) });
  }

  draw() {
    $("library-count").textContent = String(this.list.length);
    $("library").replaceChildren(...this.list.map((module) => element("li", {}, named(module),
      element("button", { type: "button", class: "quiet", "aria-label": `Remove module ${module.name}`, onclick: () => this.remove(module) }, "×"))));
    this.#outside.hidden = !this.#out.length;
    this.#outside.replaceChildren(...this.#out.map((module) => element("li", { class: "off" }, named(module),
      element("button", { type: "button", class: "quiet", "aria-label": `Put back module ${module.name}`, onclick: () => this.putBack(module) }, "Put back"))));
  }
}

/** Modules of which no two have one name: those that ship keep theirs, and a person's own get a number. */
function distinct(modules, isOut) {
  const taken = new Set(modules.filter((module) => module.shipped && !isOut(module)).map(({ name }) => name));
  return modules.map((module) => {
    if (module.shipped) return module;
    const name = free(module.name, taken);
    taken.add(name);
    return name === module.name ? module : { ...module, name };
  });
}

/** A name that is not taken: this one, or this one with a number. */
function free(name, taken) {
  let candidate = name;
  for (let number = 2; taken.has(candidate); number += 1) candidate = `${name} ${number}`;
  return candidate;
}

/** The last part of a folder's path, with the one above it where others end in the same, as runs of a trainer do. */
function shortName(path, all) {
  const last = (own, count) => own.split("/").slice(-count).join(" ");
  return all.some((other) => other !== path && last(other, 1) === last(path, 1)) ? last(path, 2) : last(path, 1);
}

const named = ({ name, card }) => element("span", {}, name, card ? element("small", {}, card) : "");
