// The right column: what every method says of a new picture.
import { $, acceptDrops, element, fail, percent, say } from "./dom.js";
import { METHODS, method } from "./methods.js";

const SHOWN = 60;

export class TryIt {
  #engine;
  #classes;
  #shown = [];

  constructor(engine, classes) {
    this.#engine = engine;
    this.#classes = classes;
    $("try-files").addEventListener("change", async (event) => {
      const files = [...event.target.files];
      event.target.value = "";
      await this.add(files);
    });
    $("threshold").addEventListener("input", () => this.#draw());
    acceptDrops($("try-zone"), (event, entries, files) => {
      if (entries.some((entry) => entry.isDirectory)) return;
      event.stopPropagation();
      this.add(files);
    });
  }

  get threshold() {
    return Number($("threshold").value);
  }

  set threshold(value) {
    $("threshold").value = String(value);
    this.#draw();
  }

  async add(files) {
    const bad = [];
    for (const file of files) {
      try {
        this.#shown.unshift({ picture: await this.#classes.take(file), answers: [] });
      } catch (error) {
        bad.push(error.message ?? String(error));
      }
    }
    if (bad.length) fail({ message: bad.join(" · ") });
    for (const { picture } of this.#shown.splice(SHOWN)) this.#engine.removePicture(picture.id).catch(() => {});
    this.#draw();
    await this.refresh(true);
  }

  /** After a restart or for another model. */
  async replay() {
    const bad = [];
    for (const own of [...this.#shown]) {
      if (await this.#classes.again(own.picture, bad)) own.answers = [];
      else this.#shown = this.#shown.filter((other) => other !== own);
    }
    this.#draw();
    if (bad.length) fail({ message: bad.join(" · ") });
  }

  /** Asks again, after methods have run. */
  async refresh(announce = false) {
    for (const own of [...this.#shown]) {
      try {
        own.answers = inOrder(await this.#engine.predict(own.picture.id));
      } catch (error) {
        if (error.code !== "restarted") fail(error);
        return;
      }
    }
    this.#draw();
    const answered = this.#shown.filter((own) => own.answers.length).length;
    if (announce && answered) say(`${answered} ${answered === 1 ? "picture" : "pictures"} answered`);
  }

  #draw() {
    $("threshold-value").textContent = percent(this.threshold);
    $("threshold").setAttribute("aria-valuetext", percent(this.threshold));
    $("predictions").replaceChildren(...this.#shown.map((own) => this.#card(own, this.threshold)));
  }

  #card({ picture, answers }, threshold) {
    const rows = answers.map(({ method: name, prediction }) => answer(name, prediction.top[0], threshold));
    const text = answers.length ? null : element("p", { class: "muted small" }, "The methods answer here once two classes have pictures.");
    return element("article", { class: "card prediction-card" }, picture.canvas,
      element("div", {}, element("h3", { title: picture.name }, picture.name), text, element("ul", { class: "bars answers" }, ...rows)));
  }
}

/** The order of the table; a mix of one's own comes last. */
function inOrder(answers) {
  const place = ({ method: name }) => (METHODS.findIndex((own) => own.name === name) + METHODS.length + 1) % (METHODS.length + 1);
  return answers.toSorted((a, b) => place(a) - place(b));
}

function answer(name, best, threshold) {
  const sure = best.probability >= threshold;
  const words = [element("span", { class: sure ? "answer" : "answer unsure", title: sure ? best.label : `not sure; most likely ${best.label}` }, sure ? best.label : "not sure"), percent(best.probability)];
  return element("li", { "data-testid": "prediction", "data-method": name, "data-label": best.label, "data-probability": String(best.probability), style: { "--own": method(name).color } },
    element("span", { class: "dot", style: { background: method(name).color } }),
    element("span", { class: "bar-name" }, method(name).label),
    element("span", { class: "answer-line" }, ...words),
    element("span", { class: "bar" }, element("span", { class: "fill", style: { width: `${100 * best.probability}%` } }), element("span", { class: "at", style: { left: `${100 * threshold}%` } })));
}
