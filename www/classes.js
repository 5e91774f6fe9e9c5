// The left column: classes with their pictures.
import { classCard, label } from "./card.js";
import { warnOfCopies } from "./copies.js";
import { $, fail, listed, sameReasons, say } from "./dom.js";
import { shared } from "./drops.js";
import { read, thumb } from "./pictures.js";
import { LOST } from "./protocol.js";
import { keptCopy } from "./store.js";
import { Undo } from "./undo.js";

const LIMIT = 500;
/** So many pictures of a class show at first. */
const SHOWN = 48;
/** While pictures are read the page tells how far it is, so often. */
const SHOW_EVERY = 150;

export class Classes {
  #engine;
  #changed;
  #came;
  #undo = new Undo({ back: () => this.#restore(), over: () => this.#release() });
  #number = 0;
  #cards = new Map();
  /** Counts what takes the place of all classes. */
  #loads = 0;
  /** Jobs that still add pictures. */
  reading = 0;
  /** [{key, name, pictures: [{id, name, file, canvas}], test: [...], unread}]; `unread` is what [`addFiles`] gets once a class is back that was
   *  taken away while it was read. */
  list = [];
  /** Says what there is of a part, or without one which classes there are: the same again after what was changed is changed back. What a class
   *  is called is nothing that is learned. */
  signature(part) {
    return JSON.stringify(this.list.map((own) => [own.key, own[part]?.map((picture) => picture.key)]));
  }

  /** `changed` is called after a change, and before and after files are read; `came` after each picture of many. */
  constructor(engine, { changed, came }) {
    [this.#engine, this.#changed, this.#came] = [engine, changed, came];
    $("add-class").addEventListener("click", () => this.#rename(this.add(this.#free())));
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
    const own = { key: ++this.#number, name, pictures: [], test: [], unread: [] };
    this.list.push(own);
    this.draw();
    this.#changed();
    return own;
  }

  /** The class of a name; capitals make no other class, unless names that came in `together` differ in nothing else. */
  known(name, together = [name]) {
    const isLike = (other) => other.toLowerCase() === name.toLowerCase();
    const like = together.filter(isLike).length > 1 ? undefined : this.list.find((own) => isLike(own.name));
    return this.list.find((own) => own.name === name) ?? like;
  }

  /** The class that has the keyboard, or the last one: where pasted pictures go. */
  get current() {
    return this.at(document.activeElement) ?? this.list.at(-1);
  }

  /** The class whose card an element is in. */
  at(place) {
    const key = place?.closest?.("[data-key]")?.dataset.key;
    return this.list.find((own) => String(own.key) === key);
  }

  /** Classes that come in at once, Map(name -> {pictures, test}); where not all pictures fit, as many of each class come in. */
  async addTogether(classes) {
    const names = [...classes.keys()];
    const owns = names.map((name) => this.known(name, names) ?? this.add(name));
    this.reading += 1;
    try {
      for (const part of ["pictures", "test"]) {
        const lists = [...classes.values()].map((files) => files[part]);
        const shares = shared(lists.map(({ length }) => length), LIMIT - this.count(part));
        for (const [index, own] of owns.entries()) if (lists[index].length) await this.addFiles(own, lists[index], part, shares[index]);
      }
    } finally {
      this.reading -= 1;
      this.#changed();
    }
  }

  /** Adds files one by one, at most so many; a bad one is named and the rest goes on. Gives the reasons of those not in. */
  async addFiles(own, files, part = "pictures", most = LIMIT) {
    const wrong = [];
    const left = [];
    let shown = 0;
    const added = [];
    this.reading += 1;
    this.#changed();
    for (const [index, file] of files.entries()) {
      const isIn = this.list.includes(own);
      if (isIn && (this.count(part) >= LIMIT || added.length >= most)) {
        left.push(`${files.length - index} left out: at most ${LIMIT} pictures fit`);
        break;
      }
      if (isIn && performance.now() - shown > SHOW_EVERY) {
        shown = performance.now();
        say(`reading ${file.name} (${index + 1} of ${files.length})`, index / files.length);
        this.#fill(own);
      }
      try {
        const picture = await this.#readInto(own, part, file);
        if (!picture) {
          own.unread.push([files.slice(index), part, most - added.length]);
          break;
        }
        added.push(picture);
        this.#came();
      } catch (error) {
        wrong.push([file.name, LOST.includes(error.code) ? "the worker stopped twice while it was read" : (error.message ?? String(error))]);
      }
    }
    this.reading -= 1;
    this.draw();
    this.#changed();
    const count = own[part].length;
    const missing = wrong.length ? `; ${wrong.length} could not be read` : "";
    if (this.list.includes(own)) say(`${count} ${part === "test" ? "test " : ""}${count === 1 ? "picture" : "pictures"} of ${own.name}${missing}`);
    const bad = [...sameReasons(wrong), ...left];
    if (bad.length) fail({ message: listed(bad) });
    // Nothing waits for it: of many large pictures it takes a while.
    warnOfCopies(added, this.list);
    return bad;
  }

  /** Reads a file into a class; nothing if the class is taken away meanwhile. */
  async #readInto(own, part, file) {
    if (!this.list.includes(own)) return undefined;
    const picture = await this.#takeTwice(file);
    if (!this.list.includes(own)) {
      this.#forget([picture]);
      return undefined;
    }
    own[part].push(picture);
    picture.key = ++this.#number;
    return picture;
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
  take(file) {
    return read(this.#engine, file);
  }

  /** After a restart of the worker or for another model: the same files, new numbers and crops, in the same places. */
  async replay() {
    const bad = [];
    const gone = [];
    const all = [...this.list, ...(this.#undo.what?.entries ?? [])].flatMap(({ pictures, test }) => [...pictures, ...test]);
    for (const picture of new Set(all)) {
      if (!(await this.again(picture, bad))) gone.push(picture);
      // Meanwhile it may have been removed for good.
      else if (!this.#wanted.has(picture)) this.#forget([picture]);
    }
    if (gone.length) {
      for (const own of [...this.list, ...(this.#undo.what?.entries ?? [])]) {
        for (const part of ["pictures", "test"]) own[part] = own[part].filter((picture) => !gone.includes(picture));
      }
    }
    this.draw();
    if (bad.length) fail({ message: listed(bad) });
  }

  /** Every picture of a class, and those that can come back. */
  get #wanted() {
    return new Set([...this.list, ...(this.#undo.what?.entries ?? [])].flatMap(({ pictures, test }) => [...pictures, ...test]));
  }

  /** Makes a picture one of the model in use; false, with a reason in `bad`, if its file cannot be read any more. */
  async again(picture, bad) {
    if (picture.generation === this.#engine.generation) return true;
    try {
      const fresh = await this.#takeKept(picture);
      picture.canvas.replaceWith(fresh.canvas);
      Object.assign(picture, fresh);
      return true;
    } catch (error) {
      if (LOST.includes(error.code)) throw error;
      bad.push(error.message ?? String(error));
      return false;
    }
  }

  /** A file that was moved on disk since is read from what this browser keeps. */
  async #takeKept({ name, file }) {
    try {
      return await this.take(file);
    } catch (error) {
      const copy = error.code === "io" ? await keptCopy(file) : undefined;
      if (!copy) throw error;
      return this.take(new File([copy], name));
    }
  }

  /** Everything anew, from files: [{name, pictures: [File], test: [File]}]; says whether it was done to the end. `undone` is called when those before
   *  are back. */
  async load(classes, undone) {
    if (this.list.length) this.#remove("the classes before were replaced", () => (this.list = []), { undone });
    const load = ++this.#loads;
    this.reading += 1;
    for (const { name, pictures, test } of classes) {
      // Undone, or replaced by something else, meanwhile.
      if (load !== this.#loads) break;
      const own = this.add(name);
      await this.addFiles(own, pictures);
      if (test.length) await this.addFiles(own, test, "test");
    }
    this.reading -= 1;
    this.#changed();
    return load === this.#loads;
  }

  #forget(pictures) {
    for (const picture of pictures) if (picture.generation === this.#engine.generation) this.#engine.removePicture(picture.id).catch(() => {});
  }

  /** What can be stored: names and files. */
  get files() {
    const files = (pictures) => pictures.map((picture) => picture.file);
    return this.list.map((own) => ({ name: own.name, pictures: files(own.pictures), test: files(own.test) }));
  }

  /** Takes something away, so that it can come back: next to what came since, or `instead` of it, which is told of it by `undone`. */
  #remove(text, change, instead) {
    this.#release();
    this.#undo.offer(text, { instead, entries: this.list.map((own) => ({ own, pictures: [...own.pictures], test: [...own.test] })) });
    change();
    this.draw();
    this.#changed();
  }

  clearTest() {
    this.#remove("test pictures removed", () => this.list.forEach((own) => (own.test = [])));
    $("test-files").focus();
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

  /** One test picture; the keyboard is whoever shows them's to keep. */
  removeTest(picture) {
    const own = this.list.find((known) => known.test.includes(picture));
    if (own) this.#remove(`${picture.name} removed`, () => (own.test = own.test.filter((other) => other !== picture)));
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
    const gone = (this.#undo.what?.entries ?? []).flatMap(({ pictures, test }) => [...pictures, ...test]).filter((picture) => !kept.has(picture));
    this.#forget(gone);
    this.#undo.end();
  }

  #restore() {
    if (!this.#undo.what) return;
    const { entries, instead } = this.#undo.what;
    if (instead) this.#loads += 1;
    const now = this.list;
    // What came in since a removal stays.
    const back = (before, since) => [...before, ...since.filter((picture) => !before.includes(picture))];
    const undone = entries.map(({ own, pictures, test }) => Object.assign(own, { pictures: back(pictures, own.pictures), test: back(test, own.test) }));
    const others = now.filter((own) => !undone.includes(own));
    this.list = instead ? undone : [...undone, ...others];
    if (instead) this.#forget(others.flatMap((own) => [...own.pictures, ...own.test]));
    const lost = this.#undo.end();
    this.draw();
    // The button that was pressed is gone; whoever used the keys stays where they were.
    if (lost || !document.body.contains(document.activeElement) || document.activeElement === document.body) $("add-class").focus({ preventScroll: true });
    this.#changed();
    say("undone");
    for (const own of undone) this.#readOn(own);
    instead?.undone?.();
  }

  /** What was still to be read when a class was taken away. */
  async #readOn(own) {
    for (const rest of own.unread.splice(0)) await this.addFiles(own, ...rest);
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
    const parts = this.#cards.get(own.key);
    const { card, thumbs, more } = parts;
    label(parts, own);
    const visible = own.expanded ? own.pictures : own.pictures.slice(0, SHOWN);
    more.hidden = visible.length === own.pictures.length;
    more.textContent = `Show all ${own.pictures.length}`;
    card.classList.toggle("bare", !own.pictures.length);
    const button = (picture) => thumb(picture, () => this.removePicture(own, picture));
    const shown = [...thumbs.children].map((child) => child.picture);
    // Mostly there are only more of them: what shows already is not touched.
    if (shown.every((picture, index) => picture === visible[index])) {
      thumbs.append(...visible.slice(shown.length).map((picture) => button(picture)));
      return;
    }
    const known = new Map([...thumbs.children].map((child) => [child.picture, child]));
    thumbs.replaceChildren(...visible.map((picture) => known.get(picture) ?? button(picture)));
  }

  #card(own) {
    const parts = classCard(own, {
      add: (files) => this.addFiles(own, files),
      rename: (name) => {
        own.name = name || own.name;
        parts.name.value = own.name;
        this.draw();
        this.#changed();
      },
      remove: () => this.remove(own),
      expand: () => {
        own.expanded = true;
        this.#fill(own);
        parts.thumbs.children[SHOWN]?.focus();
      },
    });
    parts.name.value = own.name;
    return parts;
  }
}
