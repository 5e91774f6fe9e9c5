// What every method says of what the camera sees, while it sees it.
import { NOBODY_YET, inOrder, judge, line, tell } from "./answers.js";
import { $ } from "./dom.js";
import { painted } from "./pictures.js";
import { LOST } from "./protocol.js";

/** The pause between two looks, in milliseconds: the cores are not for this alone. */
const PAUSE = 100;
/** How long a worker that was lost is given to come back, in milliseconds. */
const RECOVER = 500;
/** A worker that is lost by looking, time and again, is not asked any more. */
const PATIENCE = 2;

const wait = (time) => new Promise((resolve) => setTimeout(resolve, time));

export class LiveView {
  #engine;
  #threshold;
  /** The watch that goes on; another one, or none, ends it. */
  #watch = null;
  #lines = new Map();
  #lost = 0;

  constructor(engine, threshold) {
    this.#engine = engine;
    this.#threshold = threshold;
  }

  /** Looks until the end; `frame` gives what the camera sees as a file. */
  async begin(frame) {
    const own = (this.#watch = {});
    this.#lost = 0;
    this.#clear();
    while (this.#watch === own) {
      if (!document.hidden) await this.#look(own, frame);
      await wait(PAUSE);
    }
  }

  end() {
    this.#watch = null;
  }

  #clear() {
    this.#lines.clear();
    $("camera-answers").replaceChildren();
    $("camera-seen").replaceChildren();
    this.#say("");
  }

  /** Why nobody answers; the same words are not told anew with every look. */
  #say(text) {
    if ($("camera-silent").textContent !== text) $("camera-silent").textContent = text;
  }

  async #look(own, frame) {
    try {
      const file = await frame();
      if (!file) return;
      const seen = await this.#engine.look(file);
      this.#lost = 0;
      if (this.#watch === own) this.#draw(seen);
    } catch (error) {
      this.#lost += 1;
      if (LOST.includes(error.code) && this.#lost < PATIENCE) return wait(RECOVER);
      if (this.#watch !== own) return;
      this.#say(error.message ?? String(error));
      this.end();
    }
  }

  #draw({ width, height, rgba, answers }) {
    $("camera-seen").replaceChildren(painted(new ImageData(rgba, width, height)));
    this.#say(answers.length ? "" : NOBODY_YET);
    const known = this.#lines;
    this.#lines = new Map(inOrder(answers).map(({ method, prediction: { top: [best] } }) => {
      const own = known.get(method);
      if (own) tell(own, best);
      return [method, own ?? line(method, best)];
    }));
    const items = [...this.#lines.values()].map(({ item }) => item);
    const { children } = $("camera-answers");
    if (items.length !== children.length || items.some((item, index) => item !== children[index])) $("camera-answers").replaceChildren(...items);
    const threshold = this.#threshold();
    $("camera-answers").style.setProperty("--threshold", String(threshold));
    for (const own of this.#lines.values()) judge(own, threshold);
  }
}
