// What a visit leaves for the next one, and what the last one left.
import { say } from "./dom.js";
import { readReport } from "./project.js";
import { FORMER } from "./settings.js";
import { keep, keepAtOnce, restore } from "./store.js";

/** Milliseconds between a change and keeping it. */
const KEEP_AFTER = 500;
/** While many pictures come in, what is there is kept so often. */
const KEEP_EVERY = 5000;

/** Whether classes have these very files. */
export const isSame = (classes, kept) => classes.length === kept.length && classes.every((own, index) => own.name === kept[index].name
  && ["pictures", "test"].every((part) => own[part].length === kept[index][part].length && own[part].every((file, at) => file === kept[index][part][at])));

/** A kept result as the page reads it, in a list; none if it is of a page of another version. */
function readResult(own) {
  const report = readReport(own?.report);
  const { names, config } = own ?? {};
  return report && Array.isArray(names) && config?.train ? [{ ...own, report }] : [];
}

export class Visit {
  #settings;
  #library;
  #classes;
  #tryIt;
  #run;
  #opening;
  /** What the last visit left, until a model is open to take it. */
  #last = null;
  /** Nothing is kept before what was kept is back. */
  #held = true;
  #pending = 0;
  /** Changes that were made, and those of them that are kept. */
  #changes = 0;
  #kept = 0;
  /** What a person has to know of what did not come back, if anything. */
  lost = undefined;
  /** Resolves when what comes back is there. */
  back = Promise.resolve();

  constructor({ settings, library, classes, tryIt, run, opening }) {
    [this.#settings, this.#library, this.#classes, this.#tryIt, this.#run, this.#opening] = [settings, library, classes, tryIt, run, opening];
  }

  /** Reads what was kept, and takes the settings from it; pictures wait for [`comeBack`]. */
  async begin() {
    const { state: kept, lost } = await restore();
    this.lost = lost;
    this.#settings.set(kept?.settings ? { ...FORMER, ...kept.settings } : {});
    this.#tryIt.asked = kept?.settings?.unsureBelow;
    this.#library.removed = new Set(kept?.removed);
    this.#last = kept ?? {};
    return kept;
  }

  /** Modules of the last visit that no model has taken yet. */
  get modules() {
    // One whose weights cannot be read is none.
    return (this.#last?.modules ?? []).filter(({ weights }) => weights);
  }

  /** Whether what was kept still waits for a model. */
  get waits() {
    return this.#last !== null;
  }

  /** Pictures, choices and results of the last visit, once; says whether there were any. */
  async comeBack() {
    if (!this.#last) return false;
    const coming = this.#comeBack();
    this.back = coming.catch(() => {});
    return coming;
  }

  async #comeBack() {
    const last = this.#last;
    this.#last = null;
    try {
      return await this.#takeBack(last);
    } finally {
      // Whatever came back: what is there from now on is kept.
      this.release();
    }
  }

  async #takeBack({ classes: kept = [], methods = [], results = [], model: used }) {
    const classes = this.#classes;
    if (methods.length) this.#run.setModules(this.#library.list, methods);
    const { source } = this.#opening.model;
    const taken = new Set();
    for (const { name, pictures = [], test = [] } of kept) {
      // Two classes can have one name until somebody starts.
      const own = classes.list.find((known) => known.name === name && !taken.has(known)) ?? classes.add(name);
      taken.add(own);
      await classes.addFiles(own, pictures);
      if (test.length) await classes.addFiles(own, test, "test");
    }
    if (kept.length) {
      // Another model may have been chosen, and pictures may have come in, gone or been lost since.
      const sameModel = source === this.#opening.model.source && this.#opening.isFrom(used?.source);
      const untouched = sameModel && isSame(classes.files, kept);
      this.#run.restore(results.flatMap(readResult).map((own) => ({ ...own, fresh: own.fresh && untouched, tested: (own.tested ?? own.fresh) && untouched })));
      say("your pictures from last time are back");
    }
    return kept.length > 0;
  }

  /** Nothing is kept before [`release`]: what is there is neither the old nor the new. */
  hold() {
    this.#held = true;
    clearTimeout(this.#pending);
    this.#pending = 0;
  }

  release() {
    this.#held = false;
  }

  get #mayKeep() {
    return !this.#held && this.#run.state !== "off";
  }

  /** Keeps everything a moment after the last change. */
  remember() {
    if (!this.#mayKeep) return;
    this.#changes += 1;
    clearTimeout(this.#pending);
    this.#pending = setTimeout(() => this.rememberNow(), KEEP_AFTER);
  }

  /** One of many pictures came in: it is kept with others, or when the page is left. */
  grow() {
    if (!this.#mayKeep) return;
    this.#changes += 1;
    this.#pending ||= setTimeout(() => this.rememberNow(), KEEP_EVERY);
  }

  /** Keeps everything; says whether all is kept that there is. */
  async rememberNow() {
    clearTimeout(this.#pending);
    this.#pending = 0;
    if (!this.#mayKeep) return false;
    const changes = this.#changes;
    const done = await keep(this.#state);
    if (done) this.#kept = Math.max(this.#kept, changes);
    return done && changes === this.#changes;
  }

  /** Keeps everything; says whether nothing is lost if the page goes now. */
  async settle() {
    return (await this.rememberNow()) || this.#isEmpty;
  }

  get #isEmpty() {
    return !this.#classes.list.length && !this.#library.own.length && this.#opening.model?.source.kind !== "files";
  }

  /** The page may be gone the next moment. */
  leave() {
    // What is on its way may take longer than the page is there.
    if (this.#kept === this.#changes || !this.#mayKeep) return;
    clearTimeout(this.#pending);
    this.#pending = 0;
    this.#kept = this.#changes;
    keepAtOnce(this.#state);
  }

  get #state() {
    const modules = this.#library.own.map(({ name, config, weights }) => ({ name, config, weights }));
    const { source, ...files } = this.#opening.model;
    return {
      classes: this.#classes.files, modules, removed: [...this.#library.removed], methods: this.#run.chosen, results: this.#run.found.kept,
      settings: { ...this.#settings.chosen, unsureBelow: this.#tryIt.asked },
      // The name tells what is missed, should the files be gone.
      model: { source, ...(source.kind === "files" ? files : {}) },
    };
  }
}
