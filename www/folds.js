// Folds of held-out estimates, for whoever has a hand free.

export class Folds {
  #open;
  #methods = new Map();

  /** Every fold of these methods is to be run; there may be fewer than `count`. */
  constructor(methods, count) {
    this.#open = methods.flatMap((method) => Array.from({ length: count }, (_, index) => ({ method, index })));
    for (const method of methods) {
      const own = { found: [], left: count };
      own.all = new Promise((resolve) => (own.resolve = resolve));
      this.#methods.set(method, own);
      if (!count) own.resolve([]);
    }
  }

  /** What all folds of a method gave; null once one of them was stopped. */
  of(method) {
    return this.#methods.get(method).all;
  }

  /** How many of a method's folds are done. */
  done(method) {
    return this.#methods.get(method).found.length;
  }

  /** Runs folds until none is left; one that fails is left for others. `run` gives what a fold gave, undefined for one that
   *  there is not, or null if it was stopped. */
  async work(run) {
    for (let fold = this.#open.shift(); fold; fold = this.#open.shift()) {
      try {
        this.#put(fold.method, await run(fold));
      } catch (error) {
        this.#open.unshift(fold);
        throw error;
      }
    }
  }

  #put(method, found) {
    const own = this.#methods.get(method);
    own.left -= 1;
    if (found) own.found.push(found);
    // A promise keeps what it was resolved with first.
    if (found === null) own.resolve(null);
    else if (!own.left) own.resolve(own.found);
  }
}
