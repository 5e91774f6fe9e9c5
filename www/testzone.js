// Labelled test pictures, and the confusion matrix whose cells open them.
import { $, acceptDrops, element, percent } from "./dom.js";
import { droppedFiles, sort } from "./drops.js";
import { method } from "./methods.js";

const best = (probabilities) => probabilities.indexOf(Math.max(...probabilities));

export class TestZone {
  #classes;
  #run;
  /** The method that a person asked for; without one the best shows. */
  #picked = "";

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
    acceptDrops($("test-zone"), (event, entries) => {
      event.stopPropagation();
      droppedFiles(entries).then((files) => this.add(files));
    });
  }

  /** Dropped here, every folder is test pictures of the class of its name; loose pictures are of the chosen class. */
  async add(files) {
    const { classes, loose } = sort(files);
    for (const [name, { pictures, test }] of classes) await this.#classes.addFiles(this.#classes.find(name), [...pictures, ...test], "test");
    if (loose.length) await this.#addLoose(loose);
  }

  async #addLoose(files) {
    const own = this.#classes.list.find((known) => String(known.key) === $("test-class").value);
    if (own) await this.#classes.addFiles(own, files, "test");
  }

  refresh() {
    const chosen = $("test-class").value;
    $("test-class").replaceChildren(...this.#classes.list.map((own) => element("option", { value: String(own.key) }, own.name)));
    if (this.#classes.list.some((own) => String(own.key) === chosen)) $("test-class").value = chosen;
    const none = !this.#classes.list.length;
    $("test-class").disabled = $("test-files").disabled = none;
    $("test-class").parentElement.hidden = none;
    const count = this.#classes.count("test");
    $("test-count").textContent = count ? `${count} in ${this.#classes.list.filter((own) => own.test.length).length} classes` : "";
    $("test-clear").hidden = !count;
    this.draw();
  }

  draw() {
    const found = [...this.#run.found.values()].filter(({ report }) => report.answers?.length);
    $("confused").hidden = !found.length;
    if (!found.length) return;
    const select = $("confusion-method");
    select.replaceChildren(...found.map(({ report }) => element("option", { value: report.method }, `${method(report.method).label} (${percent(report.test_accuracy)})`)));
    const top = found.reduce((a, b) => (b.report.test_accuracy > a.report.test_accuracy ? b : a)).report.method;
    select.value = found.some(({ report }) => report.method === this.#picked) ? this.#picked : top;
    this.#matrix(found.find(({ report }) => report.method === select.value));
  }

  #matrix({ report: { answers, confusion }, owns, tested }) {
    const label = (index) => owns[index]?.name ?? `class ${index + 1}`;
    const largest = Math.max(1, ...confusion.flat());
    const head = element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "true ↓ said →"), ...confusion.map((_, index) => element("th", { scope: "col", title: label(index) }, label(index)))));
    const cell = (count, truth, said) => {
      // Answers come in the order of the test pictures.
      const pictures = answers.map((answer, index) => ({ answer, picture: tested[index] })).filter(({ answer }) => answer.class === truth && best(answer.probabilities) === said);
      return element("button", { type: "button", class: truth === said ? "cell right" : "cell wrong", disabled: count === 0, style: { "--share": String(count / largest) },
        "aria-label": `${count} pictures of ${label(truth)} were called ${label(said)}`,
        onclick: (event) => this.#open(event.currentTarget, pictures, `${label(truth)}, called ${label(said)}`) }, String(count));
    };
    const rows = confusion.map((row, truth) => element("tr", {}, element("th", { scope: "row", title: label(truth) }, label(truth)), ...row.map((count, said) => element("td", {}, cell(count, truth, said)))));
    $("confusion").replaceChildren(head, element("tbody", {}, ...rows));
    $("confusion-pictures").replaceChildren();
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
