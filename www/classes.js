// The left column: classes with their pictures.
import { $, acceptDrops, element, drawing, fail, say } from "./dom.js";
import { hasCamera, openCamera } from "./webcam.js";

const LIMIT = 500;
/** So many pictures of a class show at first. */
const SHOWN = 48;
const SHOW_UNDO = 15_000;
/** Errors of a worker that is gone, not of what it was asked. */
const LOST = ["restarted", "fatal", "device"];
/** While pictures are read the page tells how far it is, so often. */
const SHOW_EVERY = 150;

export class Classes {
  #engine;
  #changed;
  #undo = null;
  #number = 0;
  #cards = new Map();
  #hiding = 0;
  /** Jobs that still add pictures. */
  reading = 0;
  /** [{key, name, pictures: [{id, name, file, canvas}], test: [...]}] */
  list = [];
  /** Counts changes, so that others can tell whether something moved under them. */
  version = 0;

  constructor(engine, changed) {
    this.#engine = engine;
    this.#changed = () => {
      this.version += 1;
      changed();
    };
    $("add-class").addEventListener("click", () => this.#rename(this.add(this.#free())));
    $("undo").addEventListener("click", () => this.#restore());
    addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key !== "z" || !this.#undo || event.target.matches?.("input[type=text], input[type=number]")) return;
      event.preventDefault();
      this.#restore();
    });
  }

  count(part = "pictures") {
    return this.list.reduce((sum, own) => sum + own[part].length, 0);
  }

  #free() {
    let number = this.list.length + 1;
    while (this.list.some((own) => own.name === `class ${number}`)) number += 1;
    return `class ${number}`;
  }

  add(name) {
    const own = { key: ++this.#number, name, pictures: [], test: [] };
    this.list.push(own);
    this.draw();
    this.#changed();
    return own;
  }

  find(name) {
    return this.list.find((own) => own.name.toLowerCase() === name.toLowerCase()) ?? this.add(name);
  }

  /** The class that has the keyboard, or the last one: where pasted pictures go. */
  get current() {
    const key = document.activeElement?.closest?.("[data-key]")?.dataset.key;
    return this.list.find((own) => String(own.key) === key) ?? this.list.at(-1);
  }

  /** Adds files one by one; a bad one is named and the rest goes on. */
  async addFiles(own, files, part = "pictures") {
    const bad = [];
    let shown = 0;
    this.reading += 1;
    for (const [index, file] of [...files].entries()) {
      // The class may be taken away while its pictures are read.
      if (!this.list.includes(own)) break;
      if (this.count(part) >= LIMIT) {
        bad.push(`${files.length - index} left out: at most ${LIMIT} pictures fit`);
        break;
      }
      if (performance.now() - shown > SHOW_EVERY) {
        shown = performance.now();
        say(`reading ${file.name} (${index + 1} of ${files.length})`, index / files.length);
        this.#fill(own);
      }
      try {
        const picture = await this.#takeTwice(file);
        if (this.list.includes(own)) own[part].push(picture);
        else this.#forget([picture]);
      } catch (error) {
        bad.push(LOST.includes(error.code) ? `${file.name}: the worker stopped twice while it was read` : (error.message ?? String(error)));
      }
    }
    this.reading -= 1;
    this.draw();
    this.#changed();
    say(`${own[part].length} ${part === "test" ? "test pictures" : "pictures"} of ${own.name}`);
    if (bad.length) fail({ message: bad.join(" · ") });
  }

  /** A worker that stops takes what it was reading with it; the next one gets it again. */
  async #takeTwice(file) {
    try {
      return await this.take(file);
    } catch (error) {
      if (!LOST.includes(error.code)) throw error;
      return this.take(file);
    }
  }

  /** One file as the model sees it. */
  async take(file) {
    const { id, width, height, rgba } = await this.#engine.addPicture(file.name, file);
    const canvas = element("canvas", { width, height });
    // Small pictures that are painted once: the GPU would only add its own start-up.
    canvas.getContext("2d", { willReadFrequently: true }).putImageData(new ImageData(rgba, width, height), 0, 0);
    return { id, name: file.name, file, canvas, generation: this.#engine.generation };
  }

  /** After a restart of the worker or for another model: the same files, new numbers and crops, in the same places. */
  async replay() {
    const bad = [];
    const gone = [];
    const all = [...this.list, ...(this.#undo?.entries ?? [])].flatMap(({ pictures, test }) => [...pictures, ...test]);
    for (const picture of new Set(all)) if (!(await this.again(picture, bad))) gone.push(picture);
    if (gone.length) {
      for (const own of [...this.list, ...(this.#undo?.entries ?? [])]) {
        for (const part of ["pictures", "test"]) own[part] = own[part].filter((picture) => !gone.includes(picture));
      }
    }
    this.draw();
    if (bad.length) fail({ message: bad.join(" · ") });
  }

  /** Makes a picture one of the model in use; false, with a reason in `bad`, if its file cannot be read any more. */
  async again(picture, bad) {
    if (picture.generation === this.#engine.generation) return true;
    try {
      const fresh = await this.take(picture.file);
      picture.canvas.replaceWith(fresh.canvas);
      Object.assign(picture, fresh);
      return true;
    } catch (error) {
      if (LOST.includes(error.code)) throw error;
      bad.push(error.message ?? String(error));
      return false;
    }
  }

  /** Everything anew, from files: [{name, pictures: [File], test: [File]}]. */
  async load(classes) {
    if (this.list.length) this.#remove("the classes before were replaced", () => (this.list = []), true);
    this.reading += 1;
    for (const { name, pictures, test } of classes) {
      const own = this.add(name);
      await this.addFiles(own, pictures);
      if (test.length) await this.addFiles(own, test, "test");
    }
    this.reading -= 1;
    this.#changed();
  }

  #forget(pictures) {
    for (const picture of pictures) this.#engine.removePicture(picture.id).catch(() => {});
  }

  /** What can be stored: names and files. */
  get files() {
    const files = (pictures) => pictures.map((picture) => picture.file);
    return this.list.map((own) => ({ name: own.name, pictures: files(own.pictures), test: files(own.test) }));
  }

  /** Takes something away, so that it can come back: next to what came since, or `instead` of it. */
  #remove(text, change, instead = false) {
    this.#release();
    this.#undo = { instead, entries: this.list.map((own) => ({ own, pictures: [...own.pictures], test: [...own.test] })) };
    $("toast-text").textContent = text;
    $("toast").hidden = false;
    clearTimeout(this.#hiding);
    this.#hiding = setTimeout(() => this.#release(), SHOW_UNDO);
    say(text);
    change();
    this.draw();
    this.#changed();
  }

  clearTest() {
    this.#remove("test pictures removed", () => this.list.forEach((own) => (own.test = [])));
  }

  remove(own) {
    const at = this.list.indexOf(own);
    this.#remove(`${own.name} removed`, () => (this.list = this.list.filter((other) => other !== own)));
    // The keyboard goes to what took its place.
    this.#focus(this.list[Math.min(at, this.list.length - 1)]);
  }

  #focus(own) {
    (own ? this.#cards.get(own.key).name : $("add-class")).focus();
  }

  removePicture(own, picture) {
    const at = own.pictures.indexOf(picture);
    if (at < 0) return;
    this.#remove(`${picture.name} removed`, () => own.pictures.splice(at, 1));
    // The keyboard stays where it was.
    const thumbs = this.#cards.get(own.key).thumbs.children;
    (thumbs[Math.min(at, thumbs.length - 1)] ?? this.#cards.get(own.key).files).focus();
  }

  /** What was removed will not come back: the worker can forget it. */
  #release() {
    const kept = new Set(this.list.flatMap((own) => [...own.pictures, ...own.test]));
    const gone = (this.#undo?.entries ?? []).flatMap(({ pictures, test }) => [...pictures, ...test]).filter((picture) => !kept.has(picture));
    this.#forget(gone);
    this.#forgetUndo();
  }

  #forgetUndo() {
    this.#undo = null;
    $("toast").hidden = true;
  }

  #restore() {
    if (!this.#undo) return;
    const { entries, instead } = this.#undo;
    const now = this.list;
    // What came in since a removal stays.
    const back = (before, since) => [...before, ...since.filter((picture) => !before.includes(picture))];
    const undone = entries.map(({ own, pictures, test }) => Object.assign(own, { pictures: back(pictures, own.pictures), test: back(test, own.test) }));
    const others = now.filter((own) => !undone.includes(own));
    this.list = instead ? undone : [...undone, ...others];
    if (instead) this.#forget(others.flatMap((own) => [...own.pictures, ...own.test]));
    this.#forgetUndo();
    this.draw();
    this.#focus(this.list[0]);
    this.#changed();
    say("undone");
  }

  #rename(own) {
    const { name } = this.#cards.get(own.key);
    name.focus();
    name.select();
  }

  /** Cards are kept, so that a field or a button keeps the keyboard while pictures come in. */
  draw() {
    for (const key of this.#cards.keys()) if (!this.list.some((own) => own.key === key)) this.#cards.delete(key);
    for (const own of this.list) if (!this.#cards.has(own.key)) this.#cards.set(own.key, this.#card(own));
    const cards = this.list.map((own) => this.#cards.get(own.key).card);
    if (cards.length !== $("classes").children.length || cards.some((card, index) => card !== $("classes").children[index])) $("classes").replaceChildren(...cards);
    this.list.forEach((own) => this.#fill(own));
    $("empty").hidden = this.list.length > 0;
    // The example takes the place of everything: it is for a page without classes.
    $("example").hidden = this.list.length > 0;
    const pictures = this.count();
    $("class-count").textContent = pictures ? `${pictures} ${pictures === 1 ? "picture" : "pictures"}` : "";
  }

  #fill(own) {
    const { card, count, thumbs, remove, more } = this.#cards.get(own.key);
    const visible = own.expanded ? own.pictures : own.pictures.slice(0, SHOWN);
    more.hidden = visible.length === own.pictures.length;
    more.textContent = `Show all ${own.pictures.length}`;
    remove.setAttribute("aria-label", `Remove class ${own.name}`);
    const words = `${own.pictures.length}${own.test.length ? ` + ${own.test.length} test` : ""}`;
    if (count.textContent !== words) count.textContent = words;
    card.classList.toggle("bare", !own.pictures.length);
    const shown = [...thumbs.children].map((thumb) => thumb.picture);
    // Mostly there are only more of them: what shows already is not touched.
    if (shown.every((picture, index) => picture === visible[index])) {
      thumbs.append(...visible.slice(shown.length).map((picture) => this.#thumb(own, picture)));
      return;
    }
    const known = new Map([...thumbs.children].map((thumb) => [thumb.picture, thumb]));
    thumbs.replaceChildren(...visible.map((picture) => known.get(picture) ?? this.#thumb(own, picture)));
  }

  #thumb(own, picture) {
    const button = element("button", { type: "button", class: "thumb", title: `${picture.name}: remove`, "aria-label": `Remove ${picture.name}`,
      onclick: () => this.removePicture(own, picture) }, picture.canvas);
    button.picture = picture;
    return button;
  }

  #card(own) {
    const id = `files-${own.key}`;
    const files = element("input", { type: "file", multiple: true, accept: "image/*", "data-testid": "class-files", id, "aria-label": `Add pictures to ${own.name}`, class: "visually-hidden",
      onchange: (event) => {
        const chosen = [...event.target.files];
        event.target.value = "";
        this.addFiles(own, chosen);
      } });
    const name = element("input", { type: "text", "aria-label": "Class name", "data-testid": "class-name", maxlength: "60", autocomplete: "off",
      onchange: () => {
        own.name = name.value.trim() || own.name;
        name.value = own.name;
        this.draw();
        this.#changed();
      } });
    name.value = own.name;
    const count = element("span", { class: "count" });
    const remove = element("button", { type: "button", class: "quiet", onclick: () => this.remove(own) }, "×");
    const thumbs = element("div", { class: "thumbs" });
    const more = element("button", { type: "button", class: "quiet", hidden: true,
      onclick: () => {
        own.expanded = true;
        this.#fill(own);
      } });
    const card = element("article", { class: "card class-card", "data-testid": "class-card", "data-key": String(own.key) },
      element("header", {}, name, count, remove),
      thumbs, more,
      element("div", { class: "class-add" }, element("label", { class: "button", for: id }, "Drop or choose pictures"), files, this.#camera(own)));
    // Pictures dropped on a card are of its class; folders and zips go on to the page.
    acceptDrops(card, (event, entries, dropped) => {
      if (entries.some((entry) => entry.isDirectory) || dropped.some((file) => /\.(zip|json|safetensors)$/i.test(file.name))) return;
      event.stopPropagation();
      this.addFiles(own, dropped);
    });
    return { card, name, count, thumbs, files, remove, more };
  }

  #camera(own) {
    if (!hasCamera()) return null;
    const icon = drawing("svg", { viewBox: "0 0 20 20", fill: "none", stroke: "currentColor", "stroke-width": "1.6", "aria-hidden": "true" },
      drawing("path", { d: "M3 6.500h3l1.300-2h5.400l1.300 2h3v9.500H3z", "stroke-linejoin": "round" }), drawing("circle", { cx: "10", cy: "11", r: "2.700" }));
    return element("button", { type: "button", title: "Use the camera", "aria-label": `Take pictures of ${own.name}`, "data-testid": "class-camera",
      onclick: () => openCamera(own.name, (file) => this.addFiles(own, [file])) }, icon);
  }
}
