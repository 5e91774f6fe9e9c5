// Labelled test pictures, and the confusion matrix whose cells open them.
import { unzip } from "./archive.js";
import { $, acceptDrops, element, fail, listed, percent } from "./dom.js";
import { droppedFiles, sort, unpacked } from "./drops.js";
import { method } from "./methods.js";
import { thumb } from "./pictures.js";
import { projectAmong } from "./project.js";
import { taskAmong } from "./task.js";

/** So many letters stand beside one another; names whose longest words have more are turned. */
const BESIDE = 24;

const longest = (name) => Math.max(...name.split(/\s+/).map((word) => word.length));

const best = (probabilities) => probabilities.indexOf(Math.max(...probabilities));

/** Answers with their pictures, by true class and by the class that was said. Answers come in the order of the test pictures. */
function sorted(answers, tested, classes) {
  const cells = Array.from({ length: classes }, () => Array.from({ length: classes }, () => []));
  answers.forEach((answer, index) => cells[answer.class]?.[best(answer.probabilities)]?.push({ answer, picture: tested[index] }));
  return cells;
}

export class TestZone {
  #classes;
  #run;
  /** The method that a person asked for; without one the best shows. */
  #picked = "";
  /** What the matrix was built from. */
  #shown = {};

  constructor(classes, run) {
    this.#classes = classes;
    this.#run = run;
    $("test-files").addEventListener("change", async (event) => {
      const files = [...event.target.files];
      event.target.value = "";
      await this.#addLoose(files);
    });
    $("test-clear").addEventListener("click", () => classes.clearTest());
    $("confusion-method").addEventListener("change", () => {
      this.#picked = $("confusion-method").value;
      this.draw();
    });
    acceptDrops($("test-zone"), (event, entries, dropped) => {
      // What is no file is the page's to refuse, and what is no picture the page's to take. Zips stay: nothing here may be learned from.
      if (!entries.length || dropped.some((file) => /\.(json|safetensors)$/i.test(file.name))) return;
      event.stopPropagation();
      droppedFiles(entries).then((files) => this.add(files)).catch(fail);
    });
  }

  /** Dropped here, every folder is test pictures of the class of its name; loose pictures are of the chosen class. */
  async add(given) {
    const files = (await Promise.all(given.map((file) => this.#unpacked(file)))).flat();
    const { classes, loose, modules, projects, model, other } = sort(files);
    const names = [...classes.keys()];
    const known = names.filter((name) => this.#classes.known(name, names));
    const unknown = names.filter((name) => !known.includes(name));
    const tested = ({ pictures, test }) => ({ pictures: [], test: [...pictures, ...test] });
    if (known.length) await this.#classes.addTogether(new Map(known.map((name) => [name, tested(classes.get(name))])));
    if (loose.length) await this.#addLoose(loose);
    const bad = [];
    if (unknown.length) bad.push(`no class is called ${unknown.map((name) => `“${name}”`).join(" or ")}: test pictures are of classes that are there`);
    const rest = [...modules, ...projects, ...model, ...other].map((file) => file.name);
    if (rest.length) bad.push(`no test pictures: ${rest.join(", ")}; modules, models and projects can be dropped elsewhere on the page`);
    if (bad.length) fail({ message: listed(bad) });
  }

  /** What is in a zip of pictures, as if it had been dropped; every other file as it is. */
  async #unpacked(file) {
    if (!/\.zip$/i.test(file.name)) return [file];
    const files = await unzip(file);
    const entries = Object.entries(files);
    if (projectAmong(entries) || taskAmong(entries)) return [file];
    return unpacked(file.name, files, Boolean(this.#classes.known(file.name.replace(/\.zip$/i, ""))));
  }

  async #addLoose(files) {
    const own = this.#classes.list.find((known) => String(known.key) === $("test-class").value);
    if (own) await this.#classes.addFiles(own, files, "test");
    else fail({ message: "make a class first: every test picture is of one" });
  }

  /** All test pictures, each to be taken away. */
  #thumbs() {
    const { children } = $("test-thumbs");
    const known = new Map([...children].map((child) => [child.picture, child]));
    const remove = (picture) => {
      const at = [...children].findIndex((child) => child.picture === picture);
      this.#classes.removeTest(picture);
      (children[Math.min(at, children.length - 1)] ?? $("test-files")).focus();
    };
    const now = this.#classes.list.flatMap((own) => own.test).map((picture) => known.get(picture) ?? thumb(picture, () => remove(picture)));
    if (now.length === children.length && now.every((child, index) => child === children[index])) return;
    const focused = document.activeElement;
    $("test-thumbs").replaceChildren(...now);
    if (now.includes(focused)) focused.focus({ preventScroll: true });
  }

  refresh() {
    const chosen = $("test-class").value;
    $("test-class").replaceChildren(...this.#classes.list.map((own) => element("option", { value: String(own.key) }, own.name)));
    if (this.#classes.list.some((own) => String(own.key) === chosen)) $("test-class").value = chosen;
    const none = !this.#classes.list.length;
    $("test-class").disabled = $("test-files").disabled = none;
    $("test-class").parentElement.hidden = none;
    const count = this.#classes.count("test");
    const classes = this.#classes.list.filter((own) => own.test.length).length;
    $("test-count").textContent = count ? `${count} in ${classes} ${classes === 1 ? "class" : "classes"}` : "";
    $("test-clear").hidden = !count;
    this.#thumbs();
    this.draw();
  }

  draw() {
    const found = [...this.#run.found.values()].filter(({ report }) => report.answers?.length);
    $("confused").hidden = !found.length;
    if (!found.length) return;
    const chosen = this.#offer(found.map(({ report }) => report));
    this.#matrix(found.find(({ report }) => report.method === chosen));
  }

  /** Offers the methods and says which one shows. The list stays as it is, maybe open, while nothing in it changes. */
  #offer(reports) {
    const select = $("confusion-method");
    const words = reports.map((report) => [report.method, `${method(report.method).label} (${percent(report.test_accuracy)})`]);
    if (JSON.stringify(words) !== JSON.stringify([...select.options].map((option) => [option.value, option.textContent]))) {
      select.replaceChildren(...words.map(([value, label]) => element("option", { value }, label)));
    }
    const top = reports.reduce((a, b) => (b.test_accuracy > a.test_accuracy ? b : a)).method;
    select.value = reports.some((report) => report.method === this.#picked) ? this.#picked : top;
    return select.value;
  }

  /** The matrix of a result, built anew only when another result or other names show: a cell keeps the keyboard. */
  #matrix({ report, owns, tested }) {
    const { answers, confusion } = report;
    const names = confusion.map((_, index) => owns[index]?.name ?? `class ${index + 1}`);
    if (report === this.#shown.report && names.every((name, index) => name === this.#shown.names[index])) return;
    this.#shown = { report, names };
    const largest = confusion.flat().reduce((a, b) => Math.max(a, b), 1);
    const pictures = sorted(answers, tested, confusion.length);
    const title = (scope, name) => element("th", { scope }, element("span", {}, name));
    const head = element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "true ↓ said →"), ...names.map((name) => title("col", name))));
    $("confusion").classList.toggle("turned", names.reduce((sum, name) => sum + longest(name), 0) > BESIDE);
    const cell = (count, truth, said) => element("button", { type: "button", class: truth === said ? "cell right" : "cell wrong", disabled: count === 0,
      style: { "--share": String(count / largest) }, "aria-label": `${count} ${count === 1 ? "picture" : "pictures"} of ${names[truth]} called ${names[said]}`,
      onclick: (event) => this.#open(event.currentTarget, pictures[truth][said], `${names[truth]}, called ${names[said]}`) }, String(count));
    const rows = confusion.map((row, truth) => element("tr", {}, title("row", names[truth]), ...row.map((count, said) => element("td", {}, cell(count, truth, said)))));
    this.#replace(head, element("tbody", {}, ...rows));
  }

  /** The keyboard stays in the same cell of another matrix, if there is something in it. */
  #replace(...parts) {
    const cells = () => [...$("confusion").querySelectorAll(".cell")];
    const at = cells().indexOf(document.activeElement);
    $("confusion").replaceChildren(...parts);
    $("confusion-pictures").replaceChildren();
    cells()[at]?.focus();
  }

  #open(button, pictures, title) {
    for (const other of $("confusion").querySelectorAll("[aria-pressed]")) other.removeAttribute("aria-pressed");
    button.setAttribute("aria-pressed", "true");
    const shown = pictures.filter(({ picture }) => picture).map(({ answer, picture }) => {
      const copy = element("canvas", { width: picture.canvas.width, height: picture.canvas.height, role: "img", "aria-label": answer.image });
      copy.getContext("2d").drawImage(picture.canvas, 0, 0);
      return element("li", { class: "thumb", title: `${answer.image}: ${percent(Math.max(...answer.probabilities))}` }, copy);
    });
    const gone = shown.length ? null : element("p", { class: "muted small" }, "These pictures have changed since; start again to see them here.");
    $("confusion-pictures").replaceChildren(...[element("p", { class: "muted small" }, title), gone, element("ul", { class: "thumbs" }, ...shown)].filter(Boolean));
  }
}
