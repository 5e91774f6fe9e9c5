// The right column: what every method says of a new picture.
import { $, element, fail, percent, say } from "./dom.js";
import { method } from "./methods.js";

const SHOWN = 60;

export class TryIt {
  #engine;
  #classes;
  #shown = [];

  constructor(engine, classes) {
    this.#engine = engine;
    this.#classes = classes;
    $("try-files").addEventListener("change", async (event) => {
      await this.add([...event.target.files]);
      event.target.value = "";
    });
    $("threshold").addEventListener("input", () => this.#draw());
    const zone = $("try-zone");
    zone.addEventListener("dragover", (event) => event.preventDefault());
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      this.add([...event.dataTransfer.files]);
    });
  }

  async add(files) {
    for (const file of files) {
      try {
        this.#shown.unshift({ picture: await this.#classes.take(file), answers: [] });
      } catch (error) {
        fail(error);
      }
    }
    for (const { picture } of this.#shown.splice(SHOWN)) this.#engine.removePicture(picture.id).catch(() => {});
    await this.refresh(true);
  }

  /** After a restart or for another model. */
  async replay() {
    for (const own of this.#shown) {
      own.picture = await this.#classes.take(own.picture.file);
      own.answers = [];
    }
    this.#draw();
  }

  /** Asks again, after methods have run. */
  async refresh(announce = false) {
    for (const own of this.#shown) {
      try {
        own.answers = await this.#engine.predict(own.picture.id);
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
    const threshold = Number($("threshold").value);
    $("threshold-value").textContent = percent(threshold);
    $("predictions").replaceChildren(...this.#shown.map((own) => this.#card(own, threshold)));
  }

  #card({ picture, answers }, threshold) {
    const rows = answers.map(({ method: name, prediction }) => {
      const best = prediction.top[0];
      const sure = best.probability >= threshold;
      return element("li", { "data-testid": "prediction", "data-method": name, "data-label": best.label, "data-probability": String(best.probability) },
        element("span", { class: "dot", style: { background: method(name).color } }),
        element("span", { class: "bar-name" }, method(name).label),
        element("span", { class: "bar" }, element("span", { class: "fill", style: { width: `${100 * best.probability}%` } })),
        element("span", { class: sure ? "answer" : "answer unsure" }, sure ? `${best.label} ${percent(best.probability)}` : `not sure (${best.label}?)`));
    });
    const text = answers.length ? [] : [element("p", { class: "muted" }, "Add pictures to two classes, and the methods answer here.")];
    return element("article", { class: "card prediction-card" }, picture.canvas,
      element("div", {}, element("h3", {}, picture.name), ...text, element("ul", { class: "bars answers" }, ...rows)));
  }
}
