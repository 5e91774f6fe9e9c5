// The left column: classes with their pictures.
import { $, element, fail, say } from "./dom.js";
import { hasCamera, openCamera } from "./webcam.js";

const LIMIT = 500;

export class Classes {
  #engine;
  #changed;
  #undo = null;
  #number = 0;
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
    $("add-class").addEventListener("click", () => this.#rename(this.add(`class ${this.list.length + 1}`)));
    $("undo").addEventListener("click", () => this.#restore());
  }

  get count() {
    return this.list.reduce((sum, own) => sum + own.pictures.length, 0);
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

  /** Adds files one by one; a bad one is named and the rest goes on. */
  async addFiles(own, files, part = "pictures") {
    const bad = [];
    this.reading += 1;
    for (const [index, file] of [...files].entries()) {
      if (this.count >= LIMIT) {
        bad.push(`${file.name}: there are ${LIMIT} pictures already`);
        break;
      }
      say(`reading ${file.name} (${index + 1} of ${files.length})`);
      try {
        own[part].push(await this.take(file));
      } catch (error) {
        bad.push(error.message ?? String(error));
      }
      if (index % 8 === 7) this.draw();
    }
    this.reading -= 1;
    this.draw();
    this.#changed();
    say(`${own[part].length} pictures of ${own.name}`);
    fail(bad.length ? { message: bad.join(" · ") } : null);
  }

  /** One file as the model sees it. */
  async take(file) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const { id, width, height, rgba } = await this.#engine.addPicture(file.name, bytes);
    const canvas = element("canvas", { width, height });
    canvas.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
    return { id, name: file.name, file, canvas };
  }

  /** After a restart of the worker or for another model: the same files, new numbers and crops. */
  async replay() {
    for (const own of this.list) {
      for (const part of ["pictures", "test"]) {
        for (const [index, picture] of own[part].entries()) own[part][index] = await this.take(picture.file);
      }
    }
    this.draw();
  }

  /** Everything anew, from files: [{name, pictures: [File], test: [File]}]. */
  async load(classes) {
    this.list = [];
    this.#undo = null;
    this.reading += 1;
    for (const { name, pictures, test } of classes) {
      const own = this.add(name);
      await this.addFiles(own, pictures);
      await this.addFiles(own, test, "test");
    }
    this.reading -= 1;
    this.#changed();
  }

  /** What can be stored: names and files. */
  get files() {
    const files = (pictures) => pictures.map((picture) => picture.file);
    return this.list.map((own) => ({ name: own.name, pictures: files(own.pictures), test: files(own.test) }));
  }

  clearTest() {
    this.#keep("test pictures removed");
    for (const own of this.list) own.test = [];
    this.draw();
    this.#changed();
  }

  remove(own) {
    this.#keep(`${own.name} removed`);
    this.list = this.list.filter((other) => other !== own);
    this.draw();
    this.#changed();
  }

  removePicture(own, picture) {
    this.#keep(`${picture.name} removed`);
    own.pictures = own.pictures.filter((other) => other !== picture);
    this.draw();
    this.#changed();
  }

  #keep(text) {
    this.#undo = this.list.map((own) => ({ ...own, pictures: [...own.pictures], test: [...own.test] }));
    $("undo").hidden = false;
    say(text);
  }

  #restore() {
    if (!this.#undo) return;
    this.list = this.#undo;
    this.#undo = null;
    $("undo").hidden = true;
    this.draw();
    this.#changed();
    say("undone");
  }

  #rename(own) {
    const field = document.querySelector(`[data-key="${own.key}"] input[type=text]`);
    field?.focus();
    field?.select();
  }

  draw() {
    $("classes").replaceChildren(...this.list.map((own) => this.#card(own)));
    $("empty").hidden = this.list.length > 0;
  }

  #card(own) {
    const files = element("input", {
      type: "file", multiple: true, accept: "image/*", "data-testid": "class-files", id: `files-${own.key}`,
      "aria-label": `Add pictures to ${own.name}`, class: "visually-hidden",
      onchange: (event) => this.addFiles(own, [...event.target.files]),
    });
    const name = element("input", {
      type: "text", value: own.name, "aria-label": "Class name", "data-testid": "class-name", maxlength: "60",
      onchange: (event) => {
        own.name = event.target.value.trim() || own.name;
        this.#changed();
      },
    });
    name.value = own.name;
    const pictures = own.pictures.map((picture) => {
      const button = element("button", {
        type: "button", class: "thumb", title: `${picture.name}: remove`, "aria-label": `Remove ${picture.name}`,
        onclick: () => this.removePicture(own, picture),
      });
      button.append(picture.canvas);
      return button;
    });
    const card = element(
      "article",
      { class: "card class-card", "data-testid": "class-card", "data-key": String(own.key) },
      element("header", {}, name,
        element("span", { class: "count" }, `${own.pictures.length}`),
        element("button", { type: "button", class: "quiet", "aria-label": `Remove class ${own.name}`, onclick: () => this.remove(own) }, "×")),
      element("div", { class: "thumbs" }, ...pictures,
        element("label", { class: "thumb add", for: `files-${own.key}`, title: "Add pictures" }, "+"), files,
        hasCamera()
          ? element("button", { type: "button", class: "thumb add", title: "Use the camera", "aria-label": `Take pictures of ${own.name}`,
            onclick: () => openCamera(own.name, (file) => this.addFiles(own, [file])) }, "◉")
          : null),
    );
    this.#acceptDrops(card, own);
    return card;
  }

  /** Pictures dropped on a card are of its class; folders and zips go on to the page. */
  #acceptDrops(card, own) {
    card.addEventListener("dragover", (event) => {
      event.preventDefault();
      card.classList.add("over");
    });
    card.addEventListener("dragleave", () => card.classList.remove("over"));
    card.addEventListener("drop", (event) => {
      event.preventDefault();
      card.classList.remove("over");
      const items = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
      if (items.some((entry) => entry?.isDirectory)) return;
      event.stopPropagation();
      this.addFiles(own, [...event.dataTransfer.files]);
    });
  }
}
