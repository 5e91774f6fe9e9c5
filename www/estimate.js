// How much longer a run takes, from how much of it is done.
import { method } from "./methods.js";

/** Seconds, and the share of a run, after which it can be said. */
const SURE_AFTER = 3;
const SURE_SHARE = 0.08;

export class Estimate {
  /** What of a method's own training is done, and how many of its folds, by name. */
  #done = new Map();
  #began;
  /** The share that was done when the end was looked at. */
  #heard;
  #pausedAt;
  /** When all is done, as it looked when something was heard last. */
  #end;

  /** What a fold takes of a whole training. */
  #fold;

  /** A run of some methods on so many pictures, `batchSize` of them in a step at most (on a GPU always so many, some of them blank); each is
   *  trained again without each of so many folds of them. */
  constructor(methods, { images, folds, batchSize, onGpu }) {
    this.#fold = (of) => (onGpu ? 1 : Math.min(batchSize, images - images / of) / Math.min(batchSize, images));
    for (const name of methods) if (method(name).steps) this.#done.set(name, { steps: 0, folds: 0, of: folds });
  }

  /** Takes an event of the run in, at so many seconds. */
  hear({ type, progress, method: ended, report }, now) {
    const own = this.#done.get(progress?.method ?? report?.method ?? ended);
    if (!own) return;
    if (progress?.num_steps) own.steps = progress.step / progress.num_steps;
    else if (progress?.phase === "fold") Object.assign(own, { steps: 1, folds: progress.fold, of: progress.num_folds });
    else if (type === "done") Object.assign(own, { steps: 1, folds: own.of });
    // What it would have taken is not what the others take.
    else if (["failed", "stopped"].includes(type)) this.#done.delete(ended);
    const share = this.#share;
    // What was there before the first step, a helper that begins say, is not there again.
    this.#began ??= { at: now, share };
    // A fold counts once it is done: until then time passes for what was known.
    if (share === this.#heard) return;
    this.#heard = share;
    const [done, passed] = [share - this.#began.share, now - this.#began.at];
    if (passed >= SURE_AFTER && share >= SURE_SHARE && done > 0) this.#end = now + (passed * (1 - share)) / done;
  }

  /** Nothing is done until it goes on. */
  pause(now) {
    this.#pausedAt ??= now;
  }
  goOn(now) {
    const waited = now - (this.#pausedAt ?? now);
    this.#pausedAt = undefined;
    if (this.#began) this.#began.at += waited;
    if (this.#end !== undefined) this.#end += waited;
  }

  /** In words; nothing where it cannot be said. */
  left(now) {
    // What does not train, or measures, goes on for nobody knows how long.
    if (this.#end === undefined || this.#heard === 1) return "";
    const seconds = this.#end - (this.#pausedAt ?? now);
    if (seconds < 7.5) return "nearly done";
    if (seconds < 90) return `about ${5 * Math.round(seconds / 5)} s left`;
    return `about ${Math.round(seconds / 60)} min left`;
  }

  /** Of all steps, those of the folds included. */
  get #share() {
    const work = [...this.#done.values()].map(({ steps, folds, of }) => {
      const each = of > 1 ? this.#fold(of) : 0;
      return { done: steps + folds * each, all: 1 + of * each };
    });
    const sum = (part) => work.reduce((total, own) => total + own[part], 0);
    return work.length ? sum("done") / sum("all") : 0;
  }
}
