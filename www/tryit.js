// The right column: what every method says of a new picture.
import { NOBODY_YET, inOrder, judge, line } from "./answers.js";
import { $, acceptDrops, element, fail, listed, percent, say } from "./dom.js";
import { droppedFiles, sort } from "./drops.js";
import { LiveView } from "./live.js";
import { hasCamera, openCamera } from "./webcam.js";

const SHOWN = 60;
/** Places of the slider between nothing and certainty. */
const PLACES = 20;

/** What is sure enough where nobody says: halfway between the guess of one among so many classes and certainty. */
export const halfway = (classes) => Math.round((PLACES * (1 + 1 / Math.max(2, classes))) / 2) / PLACES;

export class TryIt {
  #engine;
  #classes;
  /** [{picture, answers, card, told, lines}]: `card` shows the answers that `told` stands for, one of `lines` each. */
  #shown = [];
  #frame = 0;
  /** The threshold that a person asked for. */
  #asked;

  constructor(engine, classes) {
    this.#engine = engine;
    this.#classes = classes;
    $("try-files").addEventListener("change", async (event) => {
      const files = [...event.target.files];
      event.target.value = "";
      await this.add(files);
    });
    const live = new LiveView(engine, () => this.threshold);
    $("try-camera").hidden = !hasCamera();
    $("try-camera").addEventListener("click", () => openCamera("what the methods say", (file) => this.add([file]), live));
    // A slider tells more positions than the screen shows.
    $("threshold").addEventListener("input", () => {
      this.#asked = this.threshold;
      this.#frame ||= requestAnimationFrame(() => this.#judge());
    });
    acceptDrops($("try-zone"), (event, entries, files) => {
      // What is no file is the page's to refuse.
      if (!entries.length && !files.length) return;
      event.stopPropagation();
      if (entries.some((entry) => entry.isDirectory)) droppedFiles(entries).then((found) => this.#addFolders(found)).catch(fail);
      else this.add(files);
    });
  }

  get threshold() {
    return Number($("threshold").value);
  }

  /** The threshold that a person asked for; undefined if nobody did. */
  get asked() {
    return this.#asked;
  }

  set asked(value) {
    this.#asked = value;
    this.fit();
  }

  /** Other classes: where nobody has asked for a threshold, theirs. */
  fit() {
    const threshold = this.#asked ?? halfway(this.#classes.list.length);
    if (threshold === this.threshold) return;
    $("threshold").value = String(threshold);
    this.#judge();
  }

  /** Dropped here, folders are no classes: their pictures are to try. */
  async #addFolders(files) {
    const { classes, loose } = sort(files);
    const pictures = [...loose, ...[...classes.values()].flatMap((own) => [...own.pictures, ...own.test])];
    if (pictures.length) await this.add(pictures);
    else fail({ message: "no pictures in the folder to try; drop modules, models and projects anywhere else on the page" });
  }

  /** Gives the reasons of those that are not in. */
  async add(files) {
    const bad = [];
    const added = [];
    for (const file of files.slice(0, SHOWN)) {
      try {
        added.unshift({ picture: await this.#classes.take(file), answers: [], lines: [] });
        this.#shown.unshift(added[0]);
      } catch (error) {
        bad.push(error.message ?? String(error));
      }
    }
    if (files.length > SHOWN) bad.push(`${files.length - SHOWN} left out: at most ${SHOWN} pictures are tried at once`);
    if (bad.length) fail({ message: listed(bad) });
    for (const { picture } of this.#shown.splice(SHOWN)) this.#engine.removePicture(picture.id).catch(() => {});
    this.#draw();
    await this.refresh(true, added);
    return bad;
  }

  #remove(own) {
    const at = this.#shown.indexOf(own);
    this.#shown.splice(at, 1);
    if (own.picture.generation === this.#engine.generation) this.#engine.removePicture(own.picture.id).catch(() => {});
    this.#draw();
    // The keyboard goes to what took its place.
    const cards = $("predictions").children;
    (cards[Math.min(at, cards.length - 1)]?.querySelector("button") ?? $("try-files")).focus();
    say(`${own.picture.name} taken away`);
  }

  /** After a restart or for another model. */
  async replay() {
    const bad = [];
    for (const own of [...this.#shown]) {
      if (await this.#classes.again(own.picture, bad)) own.answers = [];
      else this.#shown = this.#shown.filter((other) => other !== own);
    }
    this.#draw();
    if (bad.length) fail({ message: listed(bad) });
  }

  /** Asks again, after methods have run; only of some pictures, if the others were asked about. */
  async refresh(announce = false, only = [...this.#shown]) {
    for (const own of only) {
      // Between two models nobody answers; what is of another one, or was taken out meanwhile, is not there to ask about.
      if (!this.#engine.isOpen) return;
      if (own.picture.generation !== this.#engine.generation || !this.#shown.includes(own)) continue;
      try {
        own.answers = inOrder(await this.#engine.predict(own.picture.id));
      } catch (error) {
        if (error.code !== "restarted") fail(error);
        return;
      }
      // One after another: with many pictures the last one takes its time.
      this.#draw();
    }
    const answered = this.#shown.filter((own) => own.answers.length).length;
    if (announce && answered) say(`${answered} ${answered === 1 ? "picture" : "pictures"} answered`);
  }

  /** A picture keeps its card, and a card its lines, for as long as the answers are the same. */
  #draw() {
    for (const own of this.#shown) {
      own.card ??= card(own.picture, () => this.#remove(own));
      const told = JSON.stringify(own.answers);
      if (told === own.told) continue;
      own.told = told;
      own.lines = own.answers.map(({ method: name, prediction }) => line(name, prediction.top[0]));
      own.card.querySelector("p").hidden = own.lines.length > 0;
      own.card.querySelector("ul").replaceChildren(...own.lines.map(({ item }) => item));
    }
    const cards = this.#shown.map((own) => own.card);
    const { children } = $("predictions");
    if (cards.length !== children.length || cards.some((own, index) => own !== children[index])) $("predictions").replaceChildren(...cards);
    this.#judge();
  }

  /** Which answers are sure enough. What moves with the slider is the style sheet's. */
  #judge() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const { threshold } = this;
    $("threshold-value").textContent = percent(threshold);
    $("threshold").setAttribute("aria-valuetext", percent(threshold));
    $("predictions").style.setProperty("--threshold", String(threshold));
    for (const { lines } of this.#shown) lines.forEach((own) => judge(own, threshold));
  }
}

function card(picture, remove) {
  const away = element("button", { type: "button", class: "quiet", "aria-label": `Take ${picture.name} away`, onclick: remove }, "×");
  const text = element("p", { class: "muted small" }, NOBODY_YET);
  return element("article", { class: "card prediction-card" }, picture.canvas,
    element("div", {}, element("header", {}, element("h3", { title: picture.name }, picture.name), away), text, element("ul", { class: "bars answers" })));
}
