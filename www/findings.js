// What came out, and what of it is still of what the page shows.
import { method } from "./methods.js";
import { suggested } from "./suggestion.js";

/** How many pictures classes have, and how many of them are not their class's only one. */
export function counts(owns) {
  const sizes = owns.map((own) => own.pictures.length);
  const sum = (all) => all.reduce((one, other) => one + other, 0);
  return { images: sum(sizes), heldOut: sum(sizes.filter((size) => size > 1)) };
}

/** What a report says of test pictures, where there are none. */
export const UNTESTED = Object.freeze({ test_accuracy: null, test_interval: null, confusion: null, answers: null });

export const ofTests = (report) => Object.fromEntries(Object.keys(UNTESTED).map((field) => [field, report[field] ?? null]));

/** The last results: method -> {report, owns, names, counts, tested, tests, data, library, config, live, adapter, unsaved}; `owns` are the
 *  classes, `names` what the worker calls them, `counts` how many pictures they had, `tested` the test pictures; `tests`, `data` and `library`
 *  say which test pictures, pictures and modules it was; `live` that the worker still has what was learned, `adapter` is what it can be given
 *  again (learned.js), `unsaved` where it says other things by now; `there` is what a saved task that was opened said of tests elsewhere. */
export class Findings extends Map {
  #classes;
  #settings;
  #numbers = new WeakMap();
  #count = 0;
  /** The modules that there are, as one word, made of a number for each that was ever there. */
  library = "";

  constructor(classes, settings) {
    super();
    this.#classes = classes;
    this.#settings = settings;
  }

  /** The modules that there are from now on. */
  set modules(modules) {
    for (const own of modules) if (!this.#numbers.has(own)) this.#numbers.set(own, ++this.#count);
    this.library = modules.map((own) => this.#numbers.get(own)).join();
  }

  /** What is learned from, as one word; a saved task that was opened has its classes alone. */
  data(report) {
    return this.#classes.signature(report?.opened ? null : "pictures");
  }

  /** What is tested on. */
  get testing() {
    return { tested: this.#classes.list.flatMap((own) => own.test), tests: this.#classes.signature("test") };
  }

  /** What results are of that come now. */
  get now() {
    const { list } = this.#classes;
    const names = list.map((own) => own.name);
    return { owns: [...list], names, counts: counts(list), data: this.data(), ...this.testing, library: this.library, config: this.#settings.config };
  }

  /** What the page shows otherwise than a run began with, in words. */
  moved({ data, tests, config }) {
    const { now } = this;
    const isOld = { pictures: data !== now.data || tests !== now.tests, settings: JSON.stringify(config) !== JSON.stringify(now.config) };
    return Object.keys(isOld).filter((part) => isOld[part]);
  }

  /** What the page shows now that first answers follow from, as one word. */
  get shown() {
    const { data, tests, library, config } = this.now;
    return JSON.stringify([data, tests, library, config]);
  }

  /** Whether a result was learned from what the page shows now. */
  learned(name) {
    const own = this.get(name);
    if (!own || own.data !== this.data(own.report)) return false;
    if (own.report.opened) return true;
    if (JSON.stringify(own.config) !== JSON.stringify(this.#settings.config)) return false;
    return !method(name).modules || own.library === this.library;
  }

  /** Whether it was measured on what the page shows now, too. */
  fresh(name) {
    return this.learned(name) && this.get(name).tests === this.#classes.signature("test");
  }

  /** Whether a result is what the settings give from the beginning to the end. */
  complete(name) {
    const { report, config } = this.get(name);
    return this.fresh(name) && !report.opened && !report.stopped && (!method(name).steps || report.steps >= config.train.num_steps);
  }

  /** Methods whose results the worker still has. */
  get live() {
    return [...this.keys()].filter((name) => this.get(name).live);
  }

  /** Those that other test pictures can measure without learning anew. */
  get untested() {
    return this.live.filter((name) => this.learned(name) && !this.fresh(name));
  }

  /** Reports of what the page shows now. */
  get current() {
    return [...this.keys()].filter((name) => this.fresh(name)).map((name) => this.get(name).report);
  }

  /** Which of the results of what the page shows now to take; null without any. */
  get suggestion() {
    return suggested(this.current);
  }

  /** What can be kept of the results. */
  get kept() {
    const tests = this.#classes.signature("test");
    const one = ([name, { report, owns, config, adapter, tests: own }]) =>
      ({ report, config, names: owns.map((known) => known.name), fresh: this.learned(name), tested: own === tests, adapter });
    return [...this].map(one);
  }

  /** The worker has nothing of some methods any more: their numbers stay. What gets it again calls classes what the adapter does. */
  lose(methods) {
    for (const name of methods) if (this.has(name)) Object.assign(this.get(name), { live: false, names: [] });
  }
}
