// Folds of held-out estimates, for whoever has a hand free.
import { LOST } from "./protocol.js";

/** Errors of the hand, not of the method: they have no code, or one of these. */
const OF_THE_HAND = [undefined, ...LOST];

/** What folds gave, for the engine: what went wrong in one of them is the method's error. */
export function orThrow(found) {
  if (found?.failed) throw found.failed;
  return found;
}

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

  /** What all folds of a method gave; null once one of them was stopped, {failed: error} once the method failed in one. */
  of(method) {
    return this.#methods.get(method).all;
  }

  /** How many of a method's folds are done. */
  done(method) {
    return this.#methods.get(method).found.length;
  }

  /** Runs folds until none is left; one whose hand fails is left for others. `run` gives what a fold gave, undefined for one that
   *  there is not, or null if it was stopped. */
  async work(run) {
    for (let fold = this.#open.shift(); fold; fold = this.#open.shift()) {
      try {
        this.#put(fold.method, await run(fold));
      } catch (error) {
        if (OF_THE_HAND.includes(error?.code)) {
          this.#open.unshift(fold);
          throw error;
        }
        this.#fail(fold.method, error);
      }
    }
  }

  /** Ends a method's folds. */
  #fail(method, failed) {
    this.#open = this.#open.filter((fold) => fold.method !== method);
    this.#methods.get(method).resolve({ failed });
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
